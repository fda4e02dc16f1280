"""The study of relevance as it was published: from folders of cells and of how much each has to say to what it means.

Cells are read a few features at a time, plate by plate: memory is that of 64 features of one plate twice, and of a few
numbers for each well and feature. The tables are read twice, since a rule is known only after the first time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.dropped_cells import (
    BY_RELEVANCE,
    BY_RULE,
    DroppingStudy,
    KeptCells,
    PlateMeans,
    kept_by_relevance,
    kept_by_rule,
    study_dropping,
)
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileStudyParameters,
    RelevanceParameters,
    RuleParameters,
)
from cell_assets.evaluation.profiling.quality_rule import QualityRule, standardised
from cell_assets.evaluation.profiling.relevance_study import (
    FeatureCorrelation,
    correlations_over_wells,
    kept_cells,
    means_of_kept,
    rank_correlations,
)
from cell_assets.evaluation.profiling.relevance_table import RelevanceScore
from cell_assets.evaluation.profiling.relevant_cells import (
    RelevantCells,
    has_relevance,
    relevant_cells,
    why_without_relevance,
)
from cell_assets.evaluation.profiling.rule_distilling import drawn_cells, rule_of_examples
from cell_assets.evaluation.profiling.well_manifest import BATCH, PLATE_SPLIT, PlateSplit
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.units import BoolArray, FloatArray
from cell_assets.imaging.feature_tables.selection import select_features


@dataclass(frozen=True)
class RelevanceFolders:
    """Published folders of one plate."""

    profiles: Path
    """A method's, with the relevance of the plate's cells."""
    cells: Path
    """The plate's feature table."""


@dataclass(frozen=True)
class PlateRelevance:
    """Which cells of a plate were studied."""

    plate: str
    cells: int
    wells: int
    lacking: int
    """Cells with a relevance that lack a feature which is studied, and are left out."""


@dataclass(frozen=True)
class AppliedRule:
    """A rule that foretells the least relevant cells of some plates, and what it does on others."""

    rule: QualityRule
    foretells: RelevanceScore
    learned_on: tuple[str, ...]
    applied_to: tuple[str, ...]
    left_out: Estimate
    """Share of cells that it leaves out where it is applied: mean over wells."""
    least_relevant: Estimate
    """Share of these that are among the least relevant of their well."""
    kept_whole: int
    """Wells of which it would leave no cell, so that they keep all."""
    dropping: DroppingStudy


@dataclass(frozen=True)
class RelevanceStudy:
    """What the relevance of an experiment's cells means."""

    parameters: RelevanceParameters
    simulated: bool
    plates: tuple[PlateRelevance, ...]
    why_without: Mapping[str, str]
    """Plates of which no cell has a relevance, and why."""
    correlations: Mapping[RelevanceScore, tuple[FeatureCorrelation, ...]]
    """Of every feature, from the highest to the lowest; empty where no cell has a relevance."""
    dropping: DroppingStudy
    """Without a share of every well's cells, on all plates."""
    rule: AppliedRule | None
    why_no_rule: str | None

    def shown(self) -> tuple[str, ...]:
        """Features that go with the combined relevance most, and those that go against it most."""
        known = [
            one.feature
            for one in self.correlations.get(RelevanceScore.COMBINED, ())
            if one.correlation.value is not None
        ]
        n = self.parameters.features_shown
        return tuple(known) if len(known) <= 2 * n else (*known[:n], *known[-n:])

    @property
    def why_none_shown(self) -> str:
        """Where `shown` is empty."""
        if not self.correlations:
            return self.why_no_rule or ""
        return "no feature varies among the cells of any well"


def study_relevance(
    folders: Mapping[str, RelevanceFolders], parameters: ProfileReportParameters, asked: RelevanceParameters
) -> RelevanceStudy:
    """Read the cells of all plates (by name) and ask what their relevance means.

    Args:
        parameters: of the report that it is a part of.
        asked: what is asked of relevance.

    Raises:
        BadInputError: relevance cannot be read, is of other cells, or the plates have no feature in common.
    """
    why_without = {
        plate: next(iter(why_without_relevance(one.profiles).values()), "no well has a profile")
        for plate, one in sorted(folders.items())
        if not has_relevance(one.profiles)
    }
    tables = {plate: one.cells for plate, one in sorted(folders.items()) if plate not in why_without}
    features = select_features(tables).features if tables else ()
    opened = {
        plate: relevant_cells(plate, folders[plate].profiles, table, features)
        for plate, table in tables.items()
    }
    plates = tuple(
        PlateRelevance(one.plate, len(one), len(one.cells.count), one.lacking) for one in opened.values()
    )
    study = parameters.study
    if not opened:
        why = "no cell has a relevance: " + next(iter(why_without.values()), "there is no plate")
        nothing = DroppingStudy.missing(BY_RELEVANCE, (), why)
        return RelevanceStudy(asked, study.simulated, plates, why_without, {}, nothing, None, why)
    learned_on, applied_to = _sides(opened, study.batch_of_plate)
    share = -(-asked.rule.max_cells // max(len(learned_on), 1))
    found = {
        plate: _read(one, features, asked.rule, study.seed + place, share if plate in learned_on else 0)
        for place, (plate, one) in enumerate(opened.items())
    }
    means = {plate: one.means for plate, one in found.items()}
    dropping = study_dropping(means, BY_RELEVANCE, parameters.selection, study)
    rule, why_no_rule = None, None
    if learned_on and applied_to:
        try:
            distilled = _distilled([found[plate] for plate in learned_on], features, asked.rule)
        except BadInputError as error:
            why_no_rule = str(error)
        else:
            others = [opened[plate] for plate in applied_to]
            rule = _applied(distilled, learned_on, others, found, parameters, asked)
    else:
        why_no_rule = "there is one plate or batch, and a rule is judged on others than it was made of"
    return RelevanceStudy(
        asked,
        study.simulated,
        plates,
        why_without,
        _correlations(tuple(found.values()), features, study),
        dropping,
        rule,
        why_no_rule,
    )


@dataclass(frozen=True)
class _Plate:
    """What was found while the cells of one plate were read."""

    correlations: FloatArray
    """(S, W, D)."""
    means: PlateMeans
    mean: FloatArray
    """(D,) over all cells."""
    sd: FloatArray
    examples: NDArray[np.float32]
    """(q, D) cells that a rule may be learned from, in standard deviations from the mean."""
    least: Mapping[RelevanceScore, BoolArray]
    """(q,) which of these are the least relevant of their wells."""


@dataclass(frozen=True)
class _Distilled:
    rule: QualityRule
    foretells: RelevanceScore


def _read(
    cells: RelevantCells, features: Sequence[str], rule: RuleParameters, seed: int, examples_at_most: int
) -> _Plate:
    """Everything for which the cells are read once.

    Args:
        examples_at_most: cells that a rule may be learned from.
    """
    starts, scores = cells.starts, {one: cells.score(one) for one in RelevanceScore}
    table = np.stack(list(scores.values()), 1)
    kept = kept_by_relevance(scores, starts, rule.least_relevant, seed)
    drawn = drawn_cells(len(cells), examples_at_most, rule.seed)
    shape = (len(cells.wells), len(features))
    correlations, mean, sd = np.empty((len(scores), *shape)), np.empty(shape[1]), np.empty(shape[1])
    means = {one: np.empty(shape) for one in kept}
    examples = np.empty((len(drawn), shape[1]), np.float32)
    for columns, values in cells.columns(features):
        correlations[:, :, columns] = rank_correlations(table, values, starts)
        for one, rows in kept.items():
            means[one][:, columns] = means_of_kept(values, rows, starts)
        mean[columns] = values.mean(0, dtype=np.float64)
        sd[columns] = [column.astype(np.float64).std() for column in values.T]
        examples[:, columns] = standardised(values[drawn], mean[columns], sd[columns])
    least = {one: ~kept_cells(score, starts, rule.least_relevant)[drawn] for one, score in scores.items()}
    return _Plate(correlations, PlateMeans(cells.wells, tuple(features), means), mean, sd, examples, least)


def _correlations(
    plates: Sequence[_Plate], features: tuple[str, ...], study: ProfileStudyParameters
) -> dict[RelevanceScore, tuple[FeatureCorrelation, ...]]:
    return {
        score: correlations_over_wells(
            np.concatenate([one.correlations[place] for one in plates]),
            features,
            seed=study.seed,
            n_resamples=study.n_resamples,
        )
        for place, score in enumerate(RelevanceScore)
    }


def _sides(
    opened: Mapping[str, RelevantCells], batch_of_plate: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Plates that a rule is learned from, and those that it is applied to: those that the manifest holds out where
    there are any, else every second plate or, where study or manifest say batches, batch."""
    held_out = [
        plate
        for plate, one in opened.items()
        if PLATE_SPLIT in one.wells
        and (one.wells[PLATE_SPLIT] != PlateSplit.LEARNED.value).fillna(False).any()
    ]
    if held_out and len(held_out) < len(opened):
        return tuple(plate for plate in opened if plate not in held_out), tuple(held_out)
    batch = {
        plate: str(one.wells[BATCH].iloc[0])
        for plate, one in opened.items()
        if BATCH in one.wells and one.wells[BATCH].notna().all()
    } | dict(batch_of_plate)
    learned = set(sorted({batch.get(plate, plate) for plate in opened})[::2])
    sides = [
        tuple(plate for plate in opened if (batch.get(plate, plate) in learned) is side)
        for side in (True, False)
    ]
    return sides[0], sides[1]


def _distilled(plates: Sequence[_Plate], features: tuple[str, ...], parameters: RuleParameters) -> _Distilled:
    """The rule of the first score that a tree foretells: of the combined one, then its parts, then their lesser rank,
    whose rule gained less than sensitivity's where features hold no norm (.013 and .035 in
    `benchmarks/cytosummary_relevance`).

    Raises:
        BadInputError: there is none, and why.
    """
    examples = np.concatenate([one.examples for one in plates])
    for score in RelevanceScore:
        least = np.concatenate([one.least[score] for one in plates])
        rule = rule_of_examples(examples, least, features, parameters)
        if rule.clauses:
            return _Distilled(rule, score)
    raise BadInputError(
        f"no {parameters.max_depth} conditions on features pick cells of which more than "
        f"{parameters.min_precision:.0%} are among the least relevant {parameters.least_relevant:.0%} of their wells, "
        f"by any of {', '.join(RelevanceScore)}"
    )


def _applied(
    distilled: _Distilled,
    learned_on: tuple[str, ...],
    plates: Sequence[RelevantCells],
    found: Mapping[str, _Plate],
    parameters: ProfileReportParameters,
    asked: RelevanceParameters,
) -> AppliedRule:
    rule, score, study = distilled.rule, distilled.foretells, parameters.study
    means: dict[str, PlateMeans] = {}
    counts = []
    kept_whole = 0
    for place, cells in enumerate(plates):
        read = found[cells.plate]
        left_out = _left_out(rule, cells, read)
        kept = kept_by_rule(left_out, cells.starts, study.seed + place)
        least = ~kept_cells(cells.score(score), cells.starts, asked.rule.least_relevant)
        of_wells = [
            np.add.reduceat(one, cells.cells.starts, dtype=np.int64) for one in (left_out, left_out & least)
        ]
        counts.append(np.stack([cells.cells.count, *of_wells], 1))
        kept_whole += int((of_wells[0] == cells.cells.count).sum())
        without = {one: np.empty_like(read.means.values[KeptCells.ALL]) for one in kept}
        for columns, values in cells.columns(read.means.features):
            for one, rows in kept.items():
                without[one][:, columns] = means_of_kept(values, rows, cells.starts)
        whole = read.means.values[KeptCells.ALL]
        means[cells.plate] = PlateMeans(cells.wells, read.means.features, {KeptCells.ALL: whole, **without})
    n, left, right = np.concatenate(counts).astype(np.float64).T
    return AppliedRule(
        rule,
        score,
        learned_on,
        tuple(one.plate for one in plates),
        _over_wells(left / n, np.ones(len(n)), study.seed, study.n_resamples),
        _over_wells(right, left, study.seed, study.n_resamples),
        kept_whole,
        study_dropping(means, BY_RULE, parameters.selection, study),
    )


def _left_out(rule: QualityRule, cells: RelevantCells, read: _Plate) -> BoolArray:
    """(n,) which cells the rule leaves out."""
    place = {name: column for column, name in enumerate(read.means.features)}
    own = [place[name] for name in rule.features]
    ((_, values),) = cells.columns(rule.features)
    return rule.leaves_out(standardised(values, read.mean[own], read.sd[own]), rule.features)


def _over_wells(over: FloatArray, under: FloatArray, seed: int, n_resamples: int) -> Estimate:
    """Sum of one over that of the other, with the interval over wells."""

    def share(weights: FloatArray) -> FloatArray:
        total = weights @ under
        return np.divide(weights @ over, total, out=np.full(len(total), np.nan), where=total > 0)

    wells = np.arange(len(over)).astype(str)
    return bootstrap_interval(
        wells, Statistic(share, "the rule leaves out no cell"), seed=seed, n_resamples=n_resamples
    )
