"""What makes a track table sound, on generated lineages that are sound and on each way to break one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_tables import (
    NO_PARENT,
    TRACK_COLUMNS,
    ImageExtent,
    check_tracks,
    division_count,
    lineage_roots,
)
from cell_assets_tests.imaging.lineages import EXTENT, lineages


@given(lineages())
def test_generated_lineages_are_sound(table: pd.DataFrame) -> None:
    check_tracks(table, "table", EXTENT)


@given(lineages())
def test_roots_are_found_by_walking(table: pd.DataFrame) -> None:
    parent = dict(zip(table["track_id"], table["parent_track_id"], strict=True))

    def founder(track: int) -> int:
        while parent[track] != NO_PARENT:
            track = parent[track]
        return track

    assert lineage_roots(table).tolist() == [founder(track) for track in table["track_id"]]


@given(lineages())
def test_divisions_are_tracks_with_two_children(table: pd.DataFrame) -> None:
    children: dict[int, set[int]] = {}
    for track, parent in zip(table["track_id"], table["parent_track_id"], strict=True):
        if parent != NO_PARENT:
            children.setdefault(parent, set()).add(track)
    assert division_count(table) == sum(len(found) >= 2 for found in children.values())


@given(lineages(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table: pd.DataFrame, random: np.random.RandomState) -> None:
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.iloc[order]
    check_tracks(shuffled, "table", EXTENT)
    assert division_count(shuffled) == division_count(table)
    assert lineage_roots(shuffled).sort_index().tolist() == lineage_roots(table).tolist()


@given(lineages(min_tracks=2), st.data())
def test_any_loop_is_refused(table: pd.DataFrame, data: st.DataObject) -> None:
    """Make a founder the child of any track of its own lineage."""
    roots = lineage_roots(table)
    track = data.draw(st.sampled_from(sorted(table["track_id"].unique())))
    root = roots[table["track_id"] == track].iloc[0]
    table.loc[table["track_id"] == root, "parent_track_id"] = track
    with pytest.raises(BadInputError, match="form a cycle"):
        check_tracks(table, "table", EXTENT)


def table_of(*rows: tuple[int, int, int, int, int, float, float, float]) -> pd.DataFrame:
    columns = ["track_id", "t", "id", "parent_track_id", "parent_id", "z", "y", "x"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(fov_name="A/1/0")[list(TRACK_COLUMNS)]


SOUND = [
    (1, 0, 10, -1, -1, 0.0, 2.5, 3.5),
    (1, 1, 11, -1, 10, 0.0, 2.5, 3.5),
    (2, 2, 12, 1, 11, 0.0, 1.0, 3.5),
    (3, 3, 13, 1, 11, 0.0, 4.0, 3.5),
]


@pytest.mark.parametrize(
    ("row", "changed", "expected"),
    [
        (1, {"t": 0}, "track 1 is given twice at t=0"),
        (1, {"id": 10, "parent_id": -1}, "id 10 is given twice"),
        (0, {"t": -1}, "track 1 has t=-1, outside the image (the image has t 0 to 3)"),
        (3, {"t": 4}, "track 3 has t=4, outside the image (the image has t 0 to 3)"),
        (2, {"y": 7.51}, "track 2 at t=2 has y=7.51, outside the image (y 0 to 7)"),
        (2, {"x": -0.51}, "track 2 at t=2 has x=-0.51, outside the image (x 0 to 7)"),
        (2, {"z": 0.75}, "track 2 at t=2 has z=0.75, outside the image (z 0 to 0)"),
        (2, {"x": np.nan}, "track 2 at t=2 has x=nan; give a number"),
        (2, {"track_id": -2}, "track_id is -2; track ids start at 0"),
        (2, {"parent_track_id": 9}, "parent 9 of track 2 does not exist in the table"),
        (2, {"t": 1}, "track 2 begins at t=1, but its parent 1 still lives at t=1"),
        (1, {"parent_track_id": 3}, "track 1 has parent_track_id 3 here and -1 in an earlier row"),
        (2, {"parent_id": 99}, "parent_id 99 of track 2 at t=2 is no id of the table"),
        (2, {"parent_id": 13}, "parent_id 13 of track 2 at t=2 names a row at t=3; it must be earlier"),
        (3, {"parent_id": 12}, "parent_id 12 of track 3 at t=3 is a row of track 2, which is neither"),
    ],
)
def test_one_fault_in_a_sound_table(row: int, changed: dict[str, float], expected: str) -> None:
    table = table_of(*SOUND)
    check_tracks(table, "tracks", ImageExtent(4, 1, 8, 8))
    for column, value in changed.items():
        table[column] = table[column].astype(type(value)) if isinstance(value, float) else table[column]
        table.loc[row, column] = value
    with pytest.raises(BadInputError) as caught:
        check_tracks(table, "tracks", ImageExtent(4, 1, 8, 8), lines=np.arange(2, 6))
    assert str(caught.value).startswith(f"tracks, line {row + 2}: {expected}")


def test_no_rows_are_sound() -> None:
    empty = table_of()
    check_tracks(empty, "tracks", ImageExtent(1, 1, 8, 8))
    assert division_count(empty) == 0
    assert lineage_roots(empty).tolist() == []


def test_a_long_chain_of_parents() -> None:
    n = 5000
    table = table_of(*((i, i, i, i - 1, i - 1, 0.0, 0.0, 0.0) for i in range(n)))
    check_tracks(table, "tracks")
    assert set(lineage_roots(table)) == {0}
