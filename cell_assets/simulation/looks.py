"""How each cell looks, drawn once per cell: outline, brightness, nucleus shape, the texture it carries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cell_assets.simulation.population import CellHistory, Floats

OUTLINE_WAVES = np.array([2, 3, 4, 5])
TEXTURE_SIDE, TEXTURE_DEPTH = 64, 16
"""Periods of 25.6 µm, wider than a cell, and 16 µm; larger ones took most of the time of tiny fields."""
TEXTURE_STEP_UM = (1.0, 0.4, 0.4)


@dataclass(frozen=True)
class CellLooks:
    """Arrays over the cells of one field, (N,) or (N, …)."""

    outline_amplitude: Floats
    """(N, 4), relative to the radius, for 2 to 5 waves around the cell."""
    outline_phase: Floats
    body_offset: Floats
    """(N, 2), of the cell body from its nucleus along and across the long axis, in radii."""
    nucleus_aspect: Floats
    nucleoli: Floats
    """(N, 3, 2), centres in nuclear semi-axes."""
    density: Floats
    """Dry mass density relative to the mean cell."""
    expression: Floats
    """Sensor brightness relative to the median cell."""
    resting_nuclear_share: Floats
    """Share of sensor signal in the nucleus of a clean spread cell."""
    infected_nuclear_share: Floats
    mitotic_nuclear_share: Floats
    depth_um: Floats
    """Height of the nucleus above the middle of the stack."""
    texture_shift: NDArray[np.int64]
    """(N, 3), where in the texture volumes the cell lies."""


@dataclass(frozen=True)
class Textures:
    """Periodic volumes of mean 0 and standard deviation 1, sampled in cell coordinates."""

    granules: NDArray[np.float32]
    reticulum: NDArray[np.float32]


def draw_looks(history: CellHistory, n_planes: int, rng: np.random.Generator) -> CellLooks:
    """Draw every cell's looks; daughters keep most of their mother's brightness."""
    n = len(history.parent)
    expression = np.exp(rng.normal(0, 0.45, n))
    change = np.exp(rng.normal(0, 0.08, n))
    for cell in np.flatnonzero(history.parent >= 0):
        expression[cell] = expression[history.parent[cell]] * change[cell]
    return CellLooks(
        outline_amplitude=rng.normal(0, 1, (n, 4)) * (0.05, 0.05, 0.035, 0.025) + (0.12, 0, 0, 0),
        # The two-wave term points along the nucleus: spread cells are longer than wide.
        outline_phase=rng.uniform(0, 2 * np.pi, (n, 4)) * (0, 1, 1, 1),
        body_offset=rng.normal(0, 1, (n, 2)) * (0.16, 0.08),
        nucleus_aspect=np.clip(rng.normal(1.22, 0.1, n), 1.0, 1.6),
        nucleoli=rng.uniform(-0.55, 0.55, (n, 3, 2)),
        density=np.exp(rng.normal(0, 0.1, n)),
        expression=expression,
        resting_nuclear_share=np.clip(rng.normal(0.24, 0.07, n), 0.08, 0.42),
        infected_nuclear_share=np.clip(rng.normal(0.64, 0.1, n), 0.42, 0.85),
        mitotic_nuclear_share=np.clip(rng.normal(0.64, 0.08, n), 0.45, 0.85),
        # A single plane is focused on every nucleus: it has no depth to tell them apart by.
        depth_um=rng.normal(0, 0.4, n) * (n_planes > 1),
        texture_shift=rng.integers(0, TEXTURE_SIDE, (n, 3)),
    )


def draw_textures(rng: np.random.Generator) -> Textures:
    """Draw the two textures of a field: granules of about 0.6 µm, a coarser reticulum for the ER."""
    return Textures(granules=_band(rng, (0.5, 0.8, 0.8)), reticulum=_band(rng, (0.9, 1.6, 1.6)))


def _band(rng: np.random.Generator, sigma: tuple[float, float, float]) -> NDArray[np.float32]:
    noise = rng.standard_normal((TEXTURE_DEPTH, TEXTURE_SIDE, TEXTURE_SIDE), dtype=np.float32)
    smooth = gaussian_filter(noise, sigma, mode="wrap")
    # Taking off a wider blur leaves a band: no cell-wide gradients.
    band = smooth - gaussian_filter(noise, tuple(3 * value for value in sigma), mode="wrap")
    return np.asarray((band - band.mean()) / band.std(), dtype=np.float32)
