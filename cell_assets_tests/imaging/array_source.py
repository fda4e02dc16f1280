"""Fields of view held in arrays, for tests of the FOV chain that need no acquisition on disk."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.track_tables import TRACK_COLUMNS
from cell_assets.ledger.records import WellDraft

POSITION = "A/1/000"


@dataclass(frozen=True)
class ArraySource:
    """A position as arrays: `image` (T, C, Z, Y, X), `labels` (T, Z, Y, X)."""

    image: NDArray[np.generic]
    labels: NDArray[np.integer] | None = None
    tracks: pd.DataFrame | None = None

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        return self.image[t]

    def has_labels(self, position: str) -> bool:
        return self.given_labels(position, 0) is not None

    def has_tracks(self, position: str) -> bool:
        return self.given_tracks(position) is not None

    def given_labels(self, position: str, t: int) -> NDArray[np.integer] | None:
        return None if self.labels is None else self.labels[t]

    def given_tracks(self, position: str) -> pd.DataFrame | None:
        return self.tracks


def fov_of(
    image: NDArray[np.generic],
    channels: tuple[str, ...] | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    well: WellDraft | None = None,
) -> FieldOfView:
    shape = tuple(image.shape)
    assert len(shape) == 5
    return FieldOfView(
        position=POSITION,
        shape=shape,
        dtype=image.dtype,
        channel_names=channels or tuple(f"GFP{c}" for c in range(shape[1])),
        voxel_size_um=spacing,
        interval_min=30.0,
        well=well or WellDraft("A/1"),
    )


def track_table(rows: list[tuple[int, int, int, float, float]]) -> pd.DataFrame:
    """From rows (track_id, t, parent_track_id, y, x) in order of track and time."""
    records = []
    last_id: dict[int, int] = {}
    for row_id, (track, t, parent, y, x) in enumerate(rows, start=1):
        before = last_id.get(track, last_id.get(parent, -1))
        records.append((POSITION, track, t, row_id, parent, before, 0.0, y, x))
        last_id[track] = row_id
    return pd.DataFrame(records, columns=list(TRACK_COLUMNS))


def square(labels: NDArray[np.integer], value: int, y: int, x: int, half: int = 3) -> None:
    """Paint a square of side 2 `half` + 1 around (y, x) into a `(Z, Y, X)` volume."""
    labels[:, y - half : y + half + 1, x - half : x + half + 1] = value


def dividing_movie() -> tuple[NDArray[np.uint16], NDArray[np.uint32], pd.DataFrame]:
    """Five frames of bright squares: track 1 drifts right, track 2 becomes 3 and 4 after t=2.

    Returns image (5, 1, 1, 64, 64), labels (5, 1, 64, 64) and tracks.
    """
    labels = np.zeros((5, 1, 64, 64), np.uint32)
    rows: list[tuple[int, int, int, float, float]] = []
    for t in range(5):
        square(labels[t], 1, 14, 12 + 2 * t)
        rows.append((1, t, -1, 14.0, 12.0 + 2 * t))
    for t in range(3):
        square(labels[t], 2, 44, 30, half=4)
        rows.append((2, t, -1, 44.0, 30.0))
    for track, x in ((3, 25), (4, 35)):
        for t in range(3, 5):
            square(labels[t], track, 44, x)
            rows.append((track, t, 2, 44.0, float(x)))
    image = np.where(labels > 0, 3000, 100).astype(np.uint16)
    image += np.random.default_rng(0).integers(0, 50, image.shape, dtype=np.uint16)
    return image[:, None], labels, track_table(rows)
