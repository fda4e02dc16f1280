"""Films of square nuclei on a noisy ground, some bright and some dark, whose state is how bright they are."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.methods.state_segmentation.fovs import SegmentedFov, SegmentedFovs, States
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.state_segmentation.targets import STATE_A, STATE_B

STATES = States("brightness", a="dark", b="bright")
SIDE, NUCLEUS = 48, 6
SPLITS = ("train", "train", "val", "test")
"""Of tracks 1, 2, 3, 4, 5 and so on, in turn."""


def small(**changes: object) -> StateSegmentationParameters:
    """A training of a second or two."""
    values = {
        "tile_px": 32,
        "base_width": 8,
        "depth": 2,
        "batch_size": 4,
        "max_epochs": 12,
        "max_steps": None,
    }
    return StateSegmentationParameters.named("quick", {**values, "column": STATES.column, **changes})


def film(
    seed: int = 0, n_tracks: int = 12, n_frames: int = 3, plate: str = "P1"
) -> tuple[pd.DataFrame, NDArray[np.float32], NDArray[np.int64]]:
    """Cells, grey values (T, 1, Y, X) and labels (T, 1, Y, X); a label is its track's id times ten."""
    rng = np.random.default_rng(seed)
    images = rng.normal(100, 5, (n_frames, 1, SIDE, SIDE)).astype(np.float32)
    labels = np.zeros((n_frames, 1, SIDE, SIDE), np.int64)
    rows = []
    for place in range(n_tracks):
        y, x = 3 + place // 4 * 14, 3 + place % 4 * 11
        track, is_bright = place + 1, rng.integers(2) == 1 if place >= 8 else place % 8 >= 4
        for t in range(n_frames):
            here = (slice(y + t, y + t + NUCLEUS), slice(x, x + NUCLEUS))
            images[t, 0][here] += 60 if is_bright else 20
            labels[t, 0][here] = 10 * track
            middle = (NUCLEUS - 1) / 2
            rows.append((plate, "A/1/000", track, t, y + t + middle, x + middle, 10 * track, is_bright))
    columns = ["plate", "fov_name", "track_id", "t", "y", "x", "label", "is_bright"]
    cells = pd.DataFrame(rows, columns=columns).astype({"label": "Int64"})
    cells["split"] = [SPLITS[(track - 1) % len(SPLITS)] for track in cells["track_id"]]
    cells["state"] = np.where(cells["is_bright"], STATE_B, STATE_A)
    return cells.sort_values(["track_id", "t"], ignore_index=True), images, labels


def fov_of(cells: pd.DataFrame, images: NDArray[np.float32], labels: NDArray[np.int64]) -> SegmentedFov:
    return SegmentedFov(
        cells,
        np.array([100], np.float32),
        np.array([40], np.float32),
        radius_px=2.5,
        read_image=lambda t: images[t],
        read_labels=lambda t: labels[t],
    )


def toy_fovs(n_fovs: int = 2, seed: int = 0) -> SegmentedFovs:
    """Plates P1, P2 and so on, one FOV each."""
    fovs = tuple(fov_of(*film(seed + n, plate=f"P{n + 1}")) for n in range(n_fovs))
    return SegmentedFovs(fovs, ("RFP",))
