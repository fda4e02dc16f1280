"""What a well's cells covary in, as a sketch: 1,324 features have 875,826 pairs, too many for a profile."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from cell_assets.evaluation.units import FloatArray
from cell_assets.imaging.feature_tables.well_statistics import CellsByWell

SKETCH = "Cells_CovarianceSketch"
"""pycytominer takes for a feature what begins with a compartment."""


def sketch_names(size: int) -> tuple[str, ...]:
    """Names of the K = size · (size + 1) / 2 columns of a sketch."""
    return tuple(f"{SKETCH}_{row}_{column}" for row, column in zip(*np.triu_indices(size), strict=True))


def covariance_sketches(
    cells: CellsByWell, features: Sequence[str], centre: FloatArray, scale: FloatArray, size: int, seed: int
) -> FloatArray:
    """Sketch (W, K) of the covariance of every well's cells, in place of all that Rohban et al. (2019) join to medians.

    Cells (n, D) are standardised and projected to (n, size) by random signs over √D; the covariance of the projections
    is a linear map of all D · (D + 1) / 2 covariances, which keeps distances between them roughly. The signs of a
    feature depend on its name and the seed alone, so that plates can be compared. Memory is 4 · size bytes a cell,
    beside that of `CellsByWell.columns`.

    Args:
        centre, scale: (D,) by which cells are standardised: those of the plate's control cells.
    """
    projected = np.zeros((len(cells.rows), size), np.float32)
    signs = np.stack([_signs(name, size, seed) for name in features]) / np.sqrt(len(features))
    for columns, values in cells.columns(features):
        standard = (values - centre[columns].astype(np.float32)) / scale[columns].astype(np.float32)
        projected += standard @ signs[columns].astype(np.float32)
    upper = np.triu_indices(size)
    found = np.empty((len(cells.count), len(upper[0])))
    for well, (start, n) in enumerate(zip(cells.starts, cells.count, strict=True)):
        own = projected[start : start + n].astype(np.float64)
        around = own - own.mean(0)
        found[well] = (around.T @ around / n)[upper]
    return found


def _signs(name: str, size: int, seed: int) -> FloatArray:
    random = np.random.default_rng([seed, crc32(name.encode())])
    return random.choice([-1.0, 1.0], size)
