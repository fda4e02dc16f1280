"""Edge effects: what a well's value owes to its row, its column and the plate's outer ring.

Median polish: Tukey (1977), Exploratory Data Analysis, chapter 11; on plates, as the B score: Brideau, Gunter,
Pikounis & Liaw (2003), J. Biomol. Screen. 8:634. A perturbation laid out by rows or columns is a row or
column effect here, too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-9
_MAX_ROUNDS = 100


@dataclass(frozen=True)
class MedianPolish:
    """value = overall + row + column + residual."""

    overall: float
    row: NDArray[np.float64]
    """(rows,); NaN for a row without values."""
    column: NDArray[np.float64]
    """(columns,); NaN for a column without values."""
    residual: NDArray[np.float64]
    """(rows, columns); NaN where there was no value."""


@dataclass(frozen=True)
class EdgeEffect:
    """Position effects of one plate, or why they cannot be told."""

    n_edge: int
    """Wells with a value in the outer ring of the plate."""
    n_interior: int
    edge_median: float | None = None
    interior_median: float | None = None
    row_range: float | None = None
    """Largest less smallest row effect, in the values' unit."""
    column_range: float | None = None
    position_share: float | None = None
    """Share of the wells' absolute deviation from the overall median that rows and columns take away, at least
    0; with few rows or columns a part of any noise is theirs. None where all wells are equal."""
    why_missing: str | None = None


def median_polish(values: NDArray[np.float64]) -> MedianPolish:
    """Additive row and column effects of (rows, columns) `values`; NaN is a missing well.

    Sweeps rows, then columns, until nothing moves by more than 1e-9 of the largest value, at most 100 times.
    Raises ValueError without any value.
    """
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("median polish needs at least one value")
    has_row, has_column = np.asarray(known.any(axis=1)), np.asarray(known.any(axis=0))
    core = values[np.ix_(has_row, has_column)]
    residual, overall = core.copy(), 0.0
    row, column = np.zeros(core.shape[0]), np.zeros(core.shape[1])
    small = _TOLERANCE * float(np.nanmax(np.abs(core)))
    for _ in range(_MAX_ROUNDS):
        of_rows = np.nanmedian(residual, axis=1)
        residual -= of_rows[:, None]
        row += of_rows
        shift = float(np.median(column))
        column -= shift
        overall += shift
        of_columns = np.nanmedian(residual, axis=0)
        residual -= of_columns[None, :]
        column += of_columns
        shift = float(np.median(row))
        row -= shift
        overall += shift
        if max(np.abs(of_rows).max(), np.abs(of_columns).max()) <= small:
            break
    return MedianPolish(
        overall,
        _spread(row, has_row),
        _spread(column, has_column),
        _spread_grid(residual, has_row, has_column),
    )


def edge_effect(values: NDArray[np.float64]) -> EdgeEffect:
    """Position effects of a plate's (rows, columns) `values`, all wells of the plate; NaN is a missing well."""
    ring = np.zeros(values.shape, bool)
    ring[[0, -1], :] = ring[:, [0, -1]] = True
    known = np.isfinite(values)
    edge, interior = values[ring & known], values[~ring & known]
    if not len(edge) or not len(interior):
        where = "in the outer ring" if not len(edge) else "inside the outer ring"
        return EdgeEffect(len(edge), len(interior), why_missing=f"no well with a value lies {where}")
    if (known.any(axis=1).sum() < 2) or (known.any(axis=0).sum() < 2):
        return EdgeEffect(
            len(edge),
            len(interior),
            why_missing="wells lie in one row or column; both effects need two of each",
        )
    polish = median_polish(values)
    spread = float(np.abs(values[known] - np.median(values[known])).sum())
    left = float(np.abs(polish.residual[known]).sum())
    return EdgeEffect(
        len(edge),
        len(interior),
        float(np.median(edge)),
        float(np.median(interior)),
        float(np.nanmax(polish.row) - np.nanmin(polish.row)),
        float(np.nanmax(polish.column) - np.nanmin(polish.column)),
        max(0.0, 1 - left / spread) if spread > 0 else None,
    )


def _spread(effects: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    every = np.full(len(present), np.nan)
    every[present] = effects
    return every


def _spread_grid(
    residual: NDArray[np.float64], rows: NDArray[np.bool_], columns: NDArray[np.bool_]
) -> NDArray[np.float64]:
    every = np.full((len(rows), len(columns)), np.nan)
    every[np.ix_(rows, columns)] = residual
    return every
