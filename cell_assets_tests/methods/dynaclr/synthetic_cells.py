"""Small in-memory patch tables with a known signal: every track has its own look, which drifts in time."""

import numpy as np
import pandas as pd

from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.cells import IntArray
from cell_assets.methods.dynaclr.patches import OpenTable, PatchArray, PatchSource

CHANNELS = ("Phase", "RFP")
KINDS = (ChannelKind.PHASE, ChannelKind.FLUORESCENCE)


def cell_rows(n_tracks: int, n_frames: int) -> pd.DataFrame:
    """Founders without divisions, rows ordered by track and time, in Ultrack's columns."""
    track = np.repeat(np.arange(1, n_tracks + 1), n_frames)
    t = np.tile(np.arange(n_frames), n_tracks)
    n = len(track)
    return pd.DataFrame(
        {
            "fov_name": "A/1/000",
            "track_id": track,
            "t": t,
            "id": np.arange(1, n + 1),
            "parent_track_id": -1,
            "parent_id": -1,
            "z": 0.0,
            "y": track * 1.5,
            "x": t * 0.5,
            "label": track,
            "area": 50,
            "length_um": 7.5,
            "lineage_root": track,
            "is_control": track % 2 == 0,
            "row": np.arange(n),
        }
    )


def open_table(
    plate: str = "P1",
    n_tracks: int = 12,
    n_frames: int = 4,
    depth: int = 1,
    side: int = 40,
    interval_min: float | None = 30.0,
    seed: int = 0,
) -> OpenTable:
    """A table whose tracks differ in the frequency and direction of a grating, u16 around 1000."""
    cells = cell_rows(n_tracks, n_frames)
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")) - side / 2
    track, t = cells["track_id"].to_numpy(), cells["t"].to_numpy()
    radius = np.hypot(*grid)
    blob = np.exp(-((radius[None] / (2 + track[:, None, None] % 5 * 2)) ** 2))
    wave = np.sin(radius[None] * (0.2 + 0.1 * (track[:, None, None] % 7)) + 0.1 * t[:, None, None])
    pixels = np.stack([wave, blob * 2], axis=1)[:, :, None]  # (N, 2, 1, Y, X)
    pixels = np.broadcast_to(pixels, (len(cells), 2, depth, side, side))
    stored = (1000 + 200 * (pixels + 0.1 * generator.normal(size=pixels.shape))).clip(0).astype(np.uint16)

    def read(rows: IntArray) -> PatchArray:
        return stored[rows]

    return OpenTable(
        plate=plate,
        fov_name="A/1/000",
        cells=cells,
        channel_names=CHANNELS,
        kinds=KINDS,
        patch_shape=(depth, side, side),
        interval_min=interval_min,
        offset=np.full((len(cells), 2), 1000, np.float32),
        scale=np.full((len(cells), 2), 200, np.float32),
        read=read,
    )


def manifest_of(source: PatchSource, val_share: int = 4) -> FrozenCells:
    """Every `val_share`-th track is validation, the others are training."""
    parts = [
        table.cells[["track_id", "lineage_root"]]
        .drop_duplicates()
        .assign(plate=table.plate, fov_name=table.fov_name)
        for table in source.tables
    ]
    tracks = pd.concat(parts, ignore_index=True)
    return FrozenCells(tracks.assign(split=np.where(tracks["track_id"] % val_share == 0, "val", "train")))
