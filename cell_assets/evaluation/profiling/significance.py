"""Which compounds or mechanisms are found beyond a random order's luck.

A test is of all that one question asks in one place (on a plate, on the plates of a batch, in all), and p is corrected
among these tests alone. Where few are ranked, see `random_orders`; of compounds among all, as copairs tests them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, MOA
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.retrieval.random_orders import order_tests
from cell_assets.evaluation.retrieval.retrieval import AVERAGE_PRECISION, permutation_test
from cell_assets.evaluation.units import FloatArray, StrArray
from cell_assets.imaging.feature_tables.columns import PLATE

SIGNIFICANT = 0.05
"""Corrected p (Benjamini-Hochberg) below which a compound or mechanism counts as found."""
TESTED = (Task.MECHANISM_ON_PLATE, Task.REPLICATE_ON_PLATE, Task.REPLICATE_OTHER_PLATE)
"""Tasks of which this is asked by plate and by group of plates; mechanisms among all plates are tested compound by
compound, see `FoundCompounds`."""
CORRECTED_P = "corrected_p_value"


@dataclass(frozen=True)
class Significance:
    """How many of what is asked for are found by one representation."""

    of_what: str
    """`compounds` or `mechanisms`."""
    share: Estimate
    """Of these, with a corrected p below `SIGNIFICANT`; the interval is over them."""


def tested_of(task: Task) -> str:
    """Column of what is tested: compounds find their replicates, mechanisms their compounds."""
    return MOA if task.of_mechanisms else COMPOUND


def permutation_tests(
    known: pd.DataFrame, average_precision: FloatArray, unit: str, seed: int
) -> tuple[pd.DataFrame, ...]:
    """Of each of R representations, a row for every unit, by copairs, see `retrieval.permutation_test`.

    Args:
        known: Q profiles that ask, as `RankedTask.known` has them.
        average_precision: (Q, R), of at least one profile.
    """
    with TemporaryDirectory() as nulls:
        return tuple(
            permutation_test(known.assign(**{AVERAGE_PRECISION: own}), unit, seed, Path(nulls))
            for own in average_precision.T
        )


def share_found(corrected_p: FloatArray, units: StrArray, seed: int, n_resamples: int) -> Estimate:
    """Share of the units (U,) whose corrected p (U,) says that they are found."""
    is_found = (corrected_p < SIGNIFICANT).astype(np.float64)
    share = Statistic(lambda weights: weights @ is_found / weights.sum(1), "nothing is drawn")
    return bootstrap_interval(units, share, seed=seed, n_resamples=n_resamples)


def significance(
    task: Task,
    known: pd.DataFrame,
    average_precision: FloatArray,
    why_missing: str,
    seed: int,
    n_resamples: int,
) -> Sequence[Significance]:
    """Of each of R representations, on Q profiles that ask, by `random_orders.order_tests`; plates of tasks within
    plates are lucky apart.

    Args:
        known: as `RankedTask.known` has them.
        average_precision: (Q, R).
        why_missing: where none asks.
    """
    unit = tested_of(task)
    of_what = "mechanisms" if unit == MOA else "compounds"
    if not len(known):
        return [Significance(of_what, Estimate.missing(why_missing))] * average_precision.shape[1]
    _, corrected = order_tests(
        known, average_precision, unit, seed, apart=PLATE if task.within_plates else None
    )
    units = np.unique(known[unit].to_numpy(str))
    return [Significance(of_what, share_found(own, units, seed, n_resamples)) for own in corrected.T]
