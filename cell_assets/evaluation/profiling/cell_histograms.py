"""Histograms of a well's cells, in bins that hold equally many of the plate's control cells each."""

from collections.abc import Sequence

import numpy as np

from cell_assets.evaluation.units import BoolArray, FloatArray
from cell_assets.imaging.feature_tables.well_statistics import CellsByWell


def histogram_names(features: Sequence[str], bins: int) -> tuple[str, ...]:
    """Names of the D · bins columns, feature by feature."""
    return tuple(f"{name}_bin{place}" for name in features for place in range(bins))


def cell_histograms(
    cells: CellsByWell, features: Sequence[str], is_control: BoolArray, bins: int
) -> FloatArray:
    """Share (W, D · bins) of every well's cells in each bin of each feature.

    Edges are quantiles of the cells of all wells that `is_control` (W,) names; where many of these have one value,
    edges coincide and a bin between them stays empty everywhere. A value on an edge counts above it.
    """
    of_well = np.repeat(np.arange(len(cells.count)), cells.count)
    of_control = is_control[of_well]
    found = np.empty((len(cells.count), len(features), bins))
    quantiles = np.arange(1, bins) / bins
    for columns, values in cells.columns(features):
        edges = np.quantile(values[of_control], quantiles, axis=0)
        for column in range(values.shape[1]):
            place = np.searchsorted(edges[:, column], values[:, column], side="right")
            counts = np.bincount(of_well * bins + place, minlength=len(cells.count) * bins)
            found[:, columns.start + column] = counts.reshape(-1, bins) / cells.count[:, None]
    return found.reshape(len(cells.count), -1)
