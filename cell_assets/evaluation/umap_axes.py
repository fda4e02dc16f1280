"""UMAP coordinates of embedded cells: for looking at, and for displacement as the eye sees it there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = 15
FIT_CELLS = 5000
COMPONENTS = 50
"""Principal components that UMAP is fitted on."""


@dataclass(frozen=True)
class UmapAxes:
    """Coordinates and how they were made, or why there are none."""

    xy: NDArray[np.float32] | None
    """(N, 2)"""
    note: str


def umap_axes(
    components: NDArray[np.floating], *, seed: int, neighbors: int = NEIGHBORS, fit_cells: int = FIT_CELLS
) -> UmapAxes:
    """UMAP of principal components (N, D), fitted on at most `fit_cells` rows; the others are placed among them.

    The same rows in the same order and the same seed give the same coordinates, on one thread. Cost grows linearly
    with the rows that are placed, about a millisecond each.
    """
    n = len(components)
    if n < neighbors + 2:
        return UmapAxes(None, f"UMAP was left out: {n} cells are too few for {neighbors} neighbours")
    # Importing umap compiles with numba for seconds; only this function needs it.
    from umap import UMAP

    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    chosen = np.arange(n)
    if n > fit_cells:
        chosen = np.sort(generator.choice(n, fit_cells, replace=False))
    reducer = UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1)
    placed = np.empty((n, 2), np.float32)
    placed[chosen] = reducer.fit_transform(components[chosen])
    others = np.setdiff1d(np.arange(n), chosen)
    if len(others):
        placed[others] = reducer.transform(components[others])
    return UmapAxes(placed, f"fitted on the principal components of {len(chosen)} of {n} cells")
