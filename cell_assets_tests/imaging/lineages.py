"""Sound track tables of any shape, for property tests."""

import pandas as pd
from hypothesis import strategies as st

from cell_assets.imaging.track_tables import NO_PARENT, TRACK_COLUMNS, ImageExtent

EXTENT = ImageExtent(t=12, z=3, y=50, x=60)


@st.composite
def lineages(draw: st.DrawFn, min_tracks: int = 1) -> pd.DataFrame:
    """One FOV: tracks with gaps, any number of children, ids and track ids in no order; centroids of any float."""
    n_tracks = draw(st.integers(min_tracks, 8))
    names = draw(st.lists(st.integers(0, 10**6), min_size=n_tracks, max_size=n_tracks, unique=True))
    lives: list[list[int]] = []
    parents: list[int] = []
    for number in range(n_tracks):
        candidates = [other for other in range(number) if lives[other][-1] < EXTENT.t - 1]
        parent = draw(st.sampled_from([NO_PARENT, *candidates]))
        earliest = 0 if parent == NO_PARENT else lives[parent][-1] + 1
        times = st.lists(st.integers(earliest, EXTENT.t - 1), min_size=1, max_size=4, unique=True)
        lives.append(sorted(draw(times)))
        parents.append(parent)
    n_rows = sum(len(life) for life in lives)
    ids = iter(draw(st.lists(st.integers(0, 2**40), min_size=n_rows, max_size=n_rows, unique=True)))
    rows = []
    last: dict[int, int] = {}
    for number, (life, parent) in enumerate(zip(lives, parents, strict=True)):
        before = NO_PARENT if parent == NO_PARENT else last[parent]
        for t in life:
            row_id = next(ids)
            centroid = {
                axis: draw(st.floats(-0.5, length - 0.5))
                for axis, length in (("z", EXTENT.z), ("y", EXTENT.y), ("x", EXTENT.x))
            }
            rows.append(
                {
                    "fov_name": "A/1/0",
                    "track_id": names[number],
                    "t": t,
                    "id": row_id,
                    "parent_track_id": NO_PARENT if parent == NO_PARENT else names[parent],
                    "parent_id": before,
                    **centroid,
                }
            )
            before = last[number] = row_id
    return pd.DataFrame(rows)[list(TRACK_COLUMNS)]
