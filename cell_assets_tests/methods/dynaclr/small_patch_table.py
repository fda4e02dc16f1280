"""A real patch table on disk, made from a movie of blobs with known tracks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.channels import ChannelKind
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.patches import ChannelChoice, PatchRequest, resolve_patches, write_patch_table
from cell_assets.ledger.records import WellDraft
from cell_assets_tests.methods.dynaclr.synthetic_cells import CHANNELS, cell_rows


class BlobMovie:
    """(T, C, Z, Y, X) of 64 x 64 pixels in memory, read as an acquisition is."""

    def __init__(self, frames: NDArray[np.uint16]) -> None:
        self.frames = frames

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        return self.frames[t]

    def has_labels(self, position: str) -> bool:
        return self.given_labels(position, 0) is not None

    def has_tracks(self, position: str) -> bool:
        return self.given_tracks(position) is not None

    def given_labels(self, position: str, t: int) -> NDArray[np.generic] | None:
        return None

    def given_tracks(self, position: str) -> pd.DataFrame | None:
        return None


def write_table(
    folder: Path,
    position: str,
    n_tracks: int = 6,
    n_frames: int = 3,
    seed: int = 0,
    fluorescence: Sequence[str] = CHANNELS[1:],
    phase: Sequence[str] = CHANNELS[:1],
    n_planes: int = 1,
) -> Path:
    """Writes tracks and patches below `folder`; gives the patch table's folder."""
    names = (*phase, *fluorescence)
    generator = np.random.default_rng(seed)
    centres = generator.uniform(8, 56, (n_tracks, 2))
    y, x = np.mgrid[:64, :64]
    signal = np.zeros((n_frames, len(names), n_planes, 64, 64))
    for track, (cy, cx) in enumerate(centres):
        for t in range(n_frames):
            blob = np.exp(-((y - cy - t) ** 2 + (x - cx) ** 2) / (4 + 3 * track))
            labels = [blob ** (2 + i) * (1 + track) for i in range(len(fluorescence))]
            signal[t] += np.stack([blob for _ in phase] + labels)[:, None]
    noisy = 500 + 1000 * signal + generator.normal(0, 20, signal.shape)
    frames = noisy.clip(0, 65535).astype(np.uint16)
    tracks = cell_rows(n_tracks, n_frames).drop(columns=["row", "is_control"])
    tracks["y"] = centres[tracks["track_id"] - 1, 0] + tracks["t"]
    tracks["x"] = centres[tracks["track_id"] - 1, 1]
    tracks["fov_name"] = position
    made, table = folder / "tracks", folder / "table"
    made.mkdir(parents=True)
    table.mkdir()
    tracks.to_parquet(made / "tracks.parquet", index=False)
    fov = FieldOfView(
        position=position,
        shape=frames.shape,
        dtype=frames.dtype,
        channel_names=names,
        voxel_size_um=(None, 0.5, 0.5),
        interval_min=30.0,
        well=WellDraft(name="A/1", perturbation="DENV", perturbation_type="virus", is_control=False),
    )
    choices = tuple(
        ChannelChoice(name=name, kind=ChannelKind.PHASE if name in phase else ChannelKind.FLUORESCENCE)
        for name in names
    )
    request = PatchRequest(side_px=40, channels=choices)
    write_patch_table(BlobMovie(frames), fov, made, resolve_patches(fov, request), table)
    return table
