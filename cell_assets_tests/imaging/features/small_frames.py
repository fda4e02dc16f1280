"""Small labelled frames, and their features by the parameters that tests share."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.features.frame_features import frame_features
from cell_assets.imaging.features.parameters import FeatureParameters

PARAMETERS = FeatureParameters(
    ring_width_um=1.0,
    background_percentile=0.0,
    radial_rings=2,
    texture_distance_px=1,
    texture_levels=2,
    neighbour_radius_um=10.0,
)


def features_of(
    labels: NDArray[np.integer],
    *images: NDArray[np.generic],
    names: tuple[str, ...] = ("mCherry", "Phase"),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    parameters: FeatureParameters = PARAMETERS,
) -> pd.DataFrame:
    """Of `(Y, X)` or `(Z, Y, X)` labels and images, one for each channel."""
    volumes = np.stack([np.atleast_3d(i) if i.ndim == 3 else i[None] for i in images])
    stack = labels if labels.ndim == 3 else labels[None]
    return frame_features(stack, volumes, names[: len(images)], spacing, parameters)


def random_frame(
    seed: int, n_cells: int = 6, side: int = 64
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Disks that touch here and there, at least 12 pixels from the edge, on an image of noise; ground 10 to 19."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint32)
    for label in rng.choice(np.arange(1, 50), n_cells, replace=False):
        (cy, cx), radius = rng.integers(18, side - 18, 2), rng.integers(2, 6)
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = label
    image = np.where(labels > 0, rng.integers(100, 900, labels.shape), rng.integers(10, 20, labels.shape))
    # The outermost pixels are ground alike, so that rolling the frame brings in nothing new.
    return labels, image.astype(np.uint16)
