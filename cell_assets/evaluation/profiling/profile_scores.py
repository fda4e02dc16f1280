"""How well each representation answers a task, and how much better than the reference it does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind_from_stats

from cell_assets.evaluation.profiling.profile_tasks import RankedTask, Task
from cell_assets.evaluation.profiling.significance import TESTED, Significance, significance
from cell_assets.evaluation.profiling.well_manifest import (
    BATCH,
    COMPOUND,
    COMPOUND_SPLIT,
    DOSE_SPLIT,
    PLATE_SPLIT,
    DoseSplit,
    PlateSplit,
    holds_doses_out,
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
    batch: str | None = None

    @property
    def name(self) -> str:
        """In words, for example `test compounds on held out plates` or `learned plates of batch week 1`."""
        named = [
            f"{joint}{value} {noun}"
            for joint, value, noun in (
                ("", self.compounds, "compounds"),
                ("at ", self.doses, "doses"),
                ("on ", self.plates, "plates"),
            )
            if value is not None
        ]
        if self.batch is not None:
            named.append(f"of batch {self.batch}")
        words = " ".join(named)
        return words.removeprefix("at ").removeprefix("on ").removeprefix("of ") or ALL_COMPOUNDS

    @property
    def is_of_plates(self) -> bool:
        """Whether it is a group of plates, whatever their compounds and doses, as in Table 1 of CytoSummaryNet."""
        of_plates = self.plates is not None or self.batch is not None
        return of_plates and self.compounds is None and self.doses is None

    def rows(self, known: pd.DataFrame) -> BoolArray:
        """Which of Q profiles are in it."""
        inside = np.ones(len(known), bool)
        for column, value in (
            (COMPOUND_SPLIT, self.compounds),
            (PLATE_SPLIT, self.plates),
            (DOSE_SPLIT, self.doses),
            (BATCH, self.batch),
        ):
            if value is not None:
                inside &= (known[column].astype("string") == str(value)).fillna(False).to_numpy(np.bool_)
        return inside


EVERYONE = Stratum()
_OF_COMPOUNDS = tuple(Stratum(split) for split in Split)
_ALWAYS = (PlateSplit.LEARNED, PlateSplit.HELD_OUT)
"""Asked for where there are no such plates, too."""
_BY_DOSE = tuple(Stratum(split, doses=doses) for split in (None, *Split) for doses in DoseSplit)
DOSE_TASKS = (
    Task.MECHANISM,
    Task.MECHANISM_WITHIN_DOSES,
    Task.REPLICATE_ON_PLATE,
    Task.REPLICATE_OTHER_PLATE,
)
"""Asked for learned and held-out doses apart."""
_CROSSED_TASKS = (Task.MECHANISM_OF_PLATES, Task.REPLICATE_ON_PLATE)
"""Asked for compounds and plates, crossed."""
PLATE_TASKS = (
    Task.REPLICATE_ON_PLATE,
    Task.REPLICATE_OTHER_PLATE,
    Task.MECHANISM_ON_PLATE,
    Task.MECHANISM_OF_PLATES,
)
"""Of which each profile that asks is of one plate: asked by what plates are for and by batch (Table 1)."""

_SAME = 1e-12
"""Average precisions that differ by less are rounded differently."""


@dataclass(frozen=True)
class Welch:
    """Welch's t-test (unequal variances, two-sided, not paired) of average precisions against the reference's."""

    over: str
    """`plates` or `compounds`: the precisions of each are averaged first, and each counts once."""
    n: int
    p_value: float | None
    why_missing: str | None


@dataclass(frozen=True)
class Gain:
    """What a representation has over the reference, on the same profiles and resamples."""

    absolute: Estimate
    """Difference of mean average precisions over the profiles that ask: a plate or compound counts by how many do."""
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
    significance: Significance | None
    """None where it is not tested."""

    @property
    def is_whole(self) -> bool:
        """Whether it is of all compounds on all plates."""
        return self.stratum == EVERYONE


@dataclass(frozen=True)
class PlateScore:
    """How well one representation answers a task on one plate."""

    task: Task
    representation: str
    plate: str
    n_queries: int
    mean_average_precision: Estimate
    gain: Gain | None
    """None of the reference itself."""
    significance: Significance


def strata_of(task: Task, wells: pd.DataFrame) -> tuple[Stratum, ...]:
    """Whom a task is asked for, all together first: by split where a manifest has one, by batch where there are
    several.

    Args:
        wells: of all plates, as a well manifest has them; the columns of its splits and of batches may lack.
    """
    has_splits = COMPOUND_SPLIT in wells.columns and PLATE_SPLIT in wells.columns
    of_compounds = _OF_COMPOUNDS if has_splits and task is Task.MECHANISM else ()
    plates: tuple[Stratum, ...] = ()
    crossed: tuple[Stratum, ...] = ()
    if has_splits:
        used = set(wells[PLATE_SPLIT].dropna())
        kinds = [kind for kind in PlateSplit if kind in _ALWAYS or kind.value in used]
        if task in PLATE_TASKS:
            plates = tuple(Stratum(plates=kind) for kind in kinds)
        if task in _CROSSED_TASKS:
            crossed = tuple(Stratum(split, kind) for kind in kinds for split in Split)
    by_dose = _BY_DOSE if has_splits and holds_doses_out(wells) and task in DOSE_TASKS else ()
    by_batch = _batches(wells, has_splits) if BATCH in wells.columns and task in PLATE_TASKS else ()
    return (EVERYONE, *of_compounds, *plates, *crossed, *by_dose, *by_batch)


def _batches(wells: pd.DataFrame, has_splits: bool) -> tuple[Stratum, ...]:
    """Every batch, followed by what its plates are for; nothing that would name the same wells again."""
    batches = sorted(set(wells[BATCH].dropna().astype(str)))
    if len(batches) < 2:
        return ()
    found = []
    for batch in batches:
        found.append(Stratum(batch=batch))
        if has_splits:
            used = set(wells.loc[wells[BATCH].astype(str) == batch, PLATE_SPLIT].dropna())
            kinds = [kind for kind in PlateSplit if kind.value in used]
            found.extend(Stratum(plates=kind, batch=batch) for kind in kinds if len(kinds) > 1)
    return tuple(found)


def scores(
    ranked: RankedTask,
    representations: Sequence[str],
    reference: int,
    strata: Sequence[Stratum],
    seed: int,
    n_resamples: int,
) -> Iterator[Score]:
    """Of every representation, for each stratum.

    Args:
        reference: place of the one that the others are compared with.
    """
    for stratum in strata:
        rows = stratum.rows(ranked.known) if len(ranked.known) else np.zeros(0, bool)
        why = ranked.why_missing or f"no profile of {stratum.name} has a partner"
        known = ranked.known[rows]
        draw = _Draw(known, why, seed, n_resamples)
        precision, nearest = ranked.average_precision[rows], ranked.nearest[rows]
        tested: Sequence[Significance | None] = [None] * len(representations)
        if ranked.task in TESTED and (stratum == EVERYONE or stratum.is_of_plates):
            tested = significance(ranked.task, known, precision, why, seed, n_resamples)
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
                tested[place],
            )


def plate_scores(
    ranked: RankedTask, representations: Sequence[str], reference: int, seed: int, n_resamples: int
) -> Iterator[PlateScore]:
    """Of a task within plates: mean average precision on every plate, with the interval over its compounds.

    Args:
        reference: place of the one that the others are compared with.
    """
    plates = ranked.known[PLATE].astype(str).to_numpy(str)
    for plate in sorted({*plates, *ranked.unanswered}):
        rows = plates == plate
        known, precision, why = (
            ranked.known[rows],
            ranked.average_precision[rows],
            ranked.unanswered.get(plate, ""),
        )
        draw = _Draw(known, why, seed, n_resamples)
        tested = significance(ranked.task, known, precision, why, seed, n_resamples)
        for place, representation in enumerate(representations):
            own = precision[:, place]
            yield PlateScore(
                ranked.task,
                representation,
                plate,
                len(known),
                draw.mean(own),
                None if place == reference else _gain(draw, own, precision[:, reference]),
                tested[place],
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
    """Absolute and relative gain pool all Q profiles that ask; Welch's tests are of the means of plates and of
    compounds, so that where these ask unequally often a test is not of the very gain beside it.

    Args:
        own: (Q,) average precisions.
        reference: (Q,), on the same profiles.
    """
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
