"""How well each representation answers a task, and how much better than the reference it does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind_from_stats

from cell_assets.evaluation.profiling.profile_tasks import RankedTask, Task
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DOSE_SPLIT,
    PLATE_SPLIT,
    DoseSplit,
    PlateSplit,
)
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.retrieval.retrieval import CHANCE, PREVALENCE
from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.units import BoolArray, FloatArray, StrArray
from cell_assets.imaging.feature_tables.columns import PLATE

ALL_COMPOUNDS = "all compounds"
"""Name of the stratum that leaves nobody out."""


@dataclass(frozen=True)
class Stratum:
    """Which of the profiles ask; they are ranked against all, whatever split those are of."""

    compounds: Split | None = None
    plates: PlateSplit | None = None
    doses: DoseSplit | None = None

    @property
    def name(self) -> str:
        """In words, for example `test compounds on held out plates`."""
        named = [
            f"{joint}{value} {noun}"
            for joint, value, noun in (
                ("", self.compounds, "compounds"),
                ("at ", self.doses, "doses"),
                ("on ", self.plates, "plates"),
            )
            if value is not None
        ]
        return " ".join(named).removeprefix("at ").removeprefix("on ") or ALL_COMPOUNDS

    def rows(self, known: pd.DataFrame) -> BoolArray:
        """Which of Q profiles are in it."""
        inside = np.ones(len(known), bool)
        for column, value in (
            (COMPOUND_SPLIT, self.compounds),
            (PLATE_SPLIT, self.plates),
            (DOSE_SPLIT, self.doses),
        ):
            if value is not None:
                inside &= (known[column].astype("string") == value.value).fillna(False).to_numpy(np.bool_)
        return inside


EVERYONE = Stratum()
_OF_COMPOUNDS = tuple(Stratum(split) for split in Split)
_CROSSED = (
    *(Stratum(plates=plates) for plates in PlateSplit),
    *(Stratum(split, plates) for plates in PlateSplit for split in Split),
)
_BY_DOSE = tuple(Stratum(split, doses=doses) for split in (None, *Split) for doses in DoseSplit)
DOSE_TASKS = (
    Task.MECHANISM,
    Task.MECHANISM_WITHIN_DOSES,
    Task.REPLICATE_ON_PLATE,
    Task.REPLICATE_OTHER_PLATE,
)
"""Asked for learned and held-out doses apart."""
_STRATA = {
    Task.MECHANISM: _OF_COMPOUNDS,
    Task.MECHANISM_OF_PLATES: _CROSSED,
    Task.REPLICATE_ON_PLATE: _CROSSED,
}

_SAME = 1e-12
"""Average precisions that differ by less are rounded differently."""


@dataclass(frozen=True)
class Welch:
    """Welch's t-test (unequal variances, two-sided, not paired) of average precisions against the reference's."""

    over: str
    """`plates` or `compounds`: the precisions of each are averaged first."""
    n: int
    p_value: float | None
    why_missing: str | None


@dataclass(frozen=True)
class Gain:
    """What a representation has over the reference, on the same profiles and resamples."""

    absolute: Estimate
    """Difference of mean average precisions."""
    relative: Estimate
    """That difference as a share of the reference's mean average precision."""
    welch: tuple[Welch, ...]


@dataclass(frozen=True)
class Score:
    """How well one representation answers one task for some of the profiles."""

    task: Task
    stratum: Stratum
    representation: str
    n_queries: int
    """Profiles that ask."""
    mean_average_precision: Estimate
    """Over these, with the interval over compounds."""
    nearest: Estimate
    """Share of those whose nearest neighbour is a right one."""
    chance: Estimate
    """Mean average precision of a random order."""
    prevalence: Estimate
    """Share of right ones among those that are ranked, which is chance for `nearest`."""
    gain: Gain | None
    """None of the reference itself."""


@dataclass(frozen=True)
class PlateScore:
    """How well one representation answers a task on one plate."""

    task: Task
    representation: str
    plate: str
    mean_average_precision: Estimate


def scores(
    ranked: RankedTask,
    representations: Sequence[str],
    reference: int,
    has_splits: bool,
    holds_doses_out: bool,
    seed: int,
    n_resamples: int,
) -> Iterator[Score]:
    """Of every representation, over all profiles and by split where a manifest has one.

    Args:
        reference: place of the one that the others are compared with.
        holds_doses_out: whether the manifest holds out doses, too.
    """
    strata = _STRATA.get(ranked.task, ()) if has_splits else ()
    by_dose = _BY_DOSE if holds_doses_out and ranked.task in DOSE_TASKS else ()
    for stratum in (EVERYONE, *strata, *by_dose):
        rows = stratum.rows(ranked.known) if len(ranked.known) else np.zeros(0, bool)
        why = ranked.why_missing or f"no profile of {stratum.name} has a partner"
        known = ranked.known[rows]
        draw = _Draw(known, why, seed, n_resamples)
        precision, nearest = ranked.average_precision[rows], ranked.nearest[rows]
        for place, representation in enumerate(representations):
            own = precision[:, place]
            yield Score(
                ranked.task,
                stratum,
                representation,
                len(known),
                draw.mean(own),
                draw.mean(nearest[:, place]),
                draw.exact(CHANCE),
                draw.exact(PREVALENCE),
                None if place == reference else _gain(draw, own, precision[:, reference]),
            )


def plate_scores(
    ranked: RankedTask, representations: Sequence[str], seed: int, n_resamples: int
) -> Iterator[PlateScore]:
    """Of a task within plates: mean average precision on every plate, with the interval over its compounds."""
    plates = ranked.known[PLATE].astype(str).to_numpy(str)
    for plate in sorted({*plates, *ranked.unanswered}):
        rows = plates == plate
        draw = _Draw(ranked.known[rows], ranked.unanswered.get(plate, ""), seed, n_resamples)
        for place, representation in enumerate(representations):
            yield PlateScore(
                ranked.task, representation, plate, draw.mean(ranked.average_precision[rows, place])
            )


@dataclass(frozen=True)
class _Draw:
    """Estimates over the compounds of some profiles; equal numbers of compounds are drawn alike."""

    known: pd.DataFrame
    why_missing: str
    seed: int
    n_resamples: int

    @property
    def units(self) -> StrArray:
        return self.known[COMPOUND].astype(str).to_numpy(str)

    def mean(self, values: FloatArray) -> Estimate:
        return self.of(Statistic(lambda weights: weights @ values / weights.sum(1), "no profile is drawn"))

    def of(self, statistic: Statistic) -> Estimate:
        if not len(self.known):
            return Estimate.missing(self.why_missing)
        return bootstrap_interval(self.units, statistic, seed=self.seed, n_resamples=self.n_resamples)

    def exact(self, column: str) -> Estimate:
        if not len(self.known):
            return Estimate.missing(self.why_missing)
        n_units = len(set(self.units))
        return Estimate.exact(float(self.known[column].mean()), n_units, "it is counted, not estimated")


def _gain(draw: _Draw, own: FloatArray, reference: FloatArray) -> Gain:
    difference = own - reference

    def relative(weights: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            share = weights @ difference / (weights @ reference)
        return np.where(np.isfinite(share), share, np.nan)

    by = {"compounds": draw.units}
    if PLATE in draw.known.columns:
        by["plates"] = draw.known[PLATE].astype(str).to_numpy(str)
    return Gain(
        draw.mean(difference),
        draw.of(Statistic(relative, "the reference's mean average precision is 0")),
        tuple(_welch(over, units, own, reference, draw.why_missing) for over, units in by.items()),
    )


def _welch(
    over: str, units: StrArray, own: FloatArray, reference: FloatArray, why_without_units: str
) -> Welch:
    means = pd.DataFrame({"own": own, "reference": reference}).groupby(units).mean()
    if len(means) < 2:
        why = f"{len(means)} {over} are too few for a test" if len(means) else why_without_units
        return Welch(over, len(means), None, why)
    if np.ptp(means.to_numpy(), axis=0).max() < _SAME:
        return Welch(over, len(means), None, f"average precision does not vary between {over}")
    n, (mean, sd) = len(means), (means.mean(), means.std(ddof=1))
    p_value = ttest_ind_from_stats(
        mean["own"], sd["own"], n, mean["reference"], sd["reference"], n, equal_var=False
    ).pvalue
    return Welch(over, n, float(p_value), None)
