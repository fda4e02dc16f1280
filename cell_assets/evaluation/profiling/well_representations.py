"""What a well is told by without learning: averages, spreads, covariances and histograms of its cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.evaluation.profiling.cell_covariance import SKETCH, covariance_sketches, sketch_names
from cell_assets.evaluation.profiling.cell_histograms import cell_histograms, histogram_names
from cell_assets.evaluation.profiling.quality_rule import Condition
from cell_assets.evaluation.units import BoolArray, FloatArray
from cell_assets.imaging.feature_tables.well_statistics import (
    CellsByWell,
    WellProfiles,
    WellStatistic,
    well_profiles,
)


class Representation(StrEnum):
    """What profiles are made of."""

    MEAN = "mean"
    MEDIAN = "median"
    DISPERSION = "dispersion"
    """Mean and standard deviation."""
    FUSION = "fusion"
    """Median, median absolute deviation and covariances (Rohban et al. 2019). Covariances are a sketch of fixed seed,
    and the three stand side by side, each weighing the same: divided by the root of its number of features. Reports
    also fuse the similarities of the three, as the paper does."""
    HISTOGRAM = "histogram"
    """Shares of the cells in bins of each feature."""


class ProfileParameters(BaseModel):
    """How the profiles of a plate's wells are made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    representations: tuple[Representation, ...] = Field(default=tuple(Representation), min_length=1)
    """What profiles are made of, each a file of its own."""
    max_missing_share: float = Field(default=0.05, ge=0, lt=1)
    """A feature that more of the plate's cells lack is left out; of any other, the cells that lack it are."""
    blocklist: bool = True
    """Whether features that pycytominer's list names as noisy are left out."""
    leave_out: tuple[tuple[Condition, ...], ...] = ()
    """Cells in which all conditions of a clause hold are left out: the clauses of the `quality_rule.json` that a report
    on learned profiles distilled. Thresholds are in standard deviations from the mean of all cells of the plate."""
    sketch_size: int = Field(default=48, ge=2, le=256)
    """Side of the sketch of covariances: 48 makes 1,176 features."""
    sketch_seed: int = Field(default=0, ge=0)
    """Of the sketch's random signs; plates of one seed can be compared."""
    bins: int = Field(default=8, ge=2, le=64)
    """Of the histogram of each feature; each holds equally many of the plate's control cells."""


@dataclass(frozen=True)
class Block:
    """P features (W, P) of one kind."""

    names: tuple[str, ...]
    values: FloatArray


_MAD = "_mad"
"""Ending of the names of median absolute deviations."""

_NEEDS: dict[Representation, tuple[WellStatistic, ...]] = {
    Representation.MEAN: (WellStatistic.MEAN,),
    Representation.MEDIAN: (WellStatistic.MEDIAN,),
    Representation.DISPERSION: (WellStatistic.MEAN, WellStatistic.SD),
    Representation.FUSION: (WellStatistic.MEDIAN, WellStatistic.MAD, WellStatistic.MEAN, WellStatistic.SD),
    Representation.HISTOGRAM: (),
}


def representations_of(
    cells: CellsByWell, features: Sequence[str], is_control: BoolArray, parameters: ProfileParameters
) -> dict[Representation, tuple[Block, ...]]:
    """Every representation that is asked for, of the same wells, not normalised.

    Reads the table up to three times: for statistics, covariances and histograms.

    Args:
        is_control: (W,).
    """
    asked = parameters.representations
    needed = dict.fromkeys(one for representation in asked for one in _NEEDS[representation])
    statistics = well_profiles(cells, features, list(needed))
    blocks: dict[Representation, tuple[Block, ...]] = {}
    for representation in asked:
        if representation is Representation.MEAN:
            blocks[representation] = (_block(statistics, WellStatistic.MEAN),)
        elif representation is Representation.MEDIAN:
            blocks[representation] = (_block(statistics, WellStatistic.MEDIAN),)
        elif representation is Representation.DISPERSION:
            sd = _block(statistics, WellStatistic.SD, "_sd")
            blocks[representation] = (_block(statistics, WellStatistic.MEAN), sd)
        elif representation is Representation.FUSION:
            mad = _block(statistics, WellStatistic.MAD, _MAD)
            sketch = _sketch(cells, statistics, is_control, parameters)
            blocks[representation] = (_block(statistics, WellStatistic.MEDIAN), mad, sketch)
        else:
            values = cell_histograms(cells, features, is_control, parameters.bins)
            blocks[representation] = (Block(histogram_names(features, parameters.bins), values),)
    return blocks


def kinds_of_fusion(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Columns of medians, of median absolute deviations and of covariances, by the names of the features of
    `Representation.FUSION`; those of which no feature is left are missing."""
    is_sketch = np.array([name.startswith(SKETCH) for name in names])
    is_mad = np.array([name.endswith(_MAD) for name in names]) & ~is_sketch
    return tuple(
        tuple(np.flatnonzero(columns).tolist())
        for columns in (~(is_mad | is_sketch), is_mad, is_sketch)
        if columns.any()
    )


def _block(statistics: WellProfiles, which: WellStatistic, suffix: str = "") -> Block:
    return Block(tuple(f"{name}{suffix}" for name in statistics.features), statistics.values[which])


def _sketch(
    cells: CellsByWell, statistics: WellProfiles, is_control: BoolArray, parameters: ProfileParameters
) -> Block:
    """Of those features that vary among the control cells, standardised by these."""
    weight = (cells.count * is_control / (cells.count * is_control).sum())[:, None]
    mean, sd = statistics.values[WellStatistic.MEAN], statistics.values[WellStatistic.SD]
    centre = (weight * mean).sum(0)
    scale = np.sqrt((weight * (sd**2 + (mean - centre) ** 2)).sum(0))
    varies = scale > 0
    features = [name for name, one in zip(statistics.features, varies, strict=True) if one]
    values = covariance_sketches(
        cells,
        features,
        centre[varies],
        scale[varies],
        parameters.sketch_size,
        parameters.sketch_seed,
    )
    return Block(sketch_names(parameters.sketch_size), values)
