"""A plate of smooth structure and camera noise, for benchmarks that read patches, and its frames as a source."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.ndimage as ndi
from numpy.typing import NDArray

from cell_assets.imaging.ome_zarr_plate import ImageWriter, NewImage, Spacing, create_plate, open_image
from cell_assets.imaging.track_tables import NO_PARENT
from cell_assets.imaging.tracking import CELL_COLUMNS


class PlateFrames:
    """The plate's frames, as an acquisition gives them."""

    def __init__(self, plate: Path, positions: Sequence[str]) -> None:
        self._images = {position: open_image(plate, position) for position in positions}

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        return np.asarray(self._images[position][t].read().result())

    def has_labels(self, position: str) -> bool:
        return False

    def has_tracks(self, position: str) -> bool:
        return False

    def given_labels(self, position: str, t: int) -> None:
        return None

    def given_tracks(self, position: str) -> None:
        return None


def make_plate(
    path: Path,
    positions: Sequence[str],
    channels: Sequence[str],
    shape: tuple[int, int, int, int, int],
    interval_min: float,
    random: np.random.Generator,
) -> None:
    """Write an OME-Zarr plate of positions `(T, C, Z, Y, X)`, Z a multiple of 3, Y and X of 16, 16 bits."""
    images = [NewImage(position, shape, np.dtype(np.uint16)) for position in positions]
    create_plate(path, list(channels), Spacing(0.25, 0.15, 0.15, interval_min), images)
    _, _, z, y, x = shape
    for position in positions:
        writer = ImageWriter(path, position)
        for t in range(shape[0]):
            for channel in range(shape[1]):
                # Smooth structure and camera noise compress to about half, as real 12-bit images do.
                coarse = random.random((z // 3, y // 16, x // 16), np.float32)
                smooth = ndi.zoom(coarse, (3, 16, 16), order=1)
                noise = random.integers(0, 64, (z, y, x), dtype=np.uint16)
                writer.write(t, channel, (smooth * 2000).astype(np.uint16) + noise)


def unplaced_cells(position: str, n_tracks: int, n_times: int) -> pd.DataFrame:
    """Tracks without divisions, each seen at every time, ordered by track and time; y and x are still 0."""
    n = n_tracks * n_times
    cells = pd.DataFrame({name: np.zeros(n, np.int64) for name in CELL_COLUMNS})
    cells["fov_name"] = position
    cells["track_id"] = cells["lineage_root"] = np.repeat(np.arange(1, n_tracks + 1), n_times)
    cells["t"] = np.tile(np.arange(n_times), n_tracks)
    cells["id"] = np.arange(n)
    cells["parent_track_id"] = cells["parent_id"] = NO_PARENT
    return cells.assign(z=7.0)
