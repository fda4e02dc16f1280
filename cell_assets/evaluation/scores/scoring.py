"""Scores of yes-or-no predictions: every one of a task resamples the same units in the same way."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.errors import NotFoundError
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, StrArray, plural, unit_ids

EMBEDDING = "embedding"
CHANCE = "chance"
BOTH = "both"
"""The embedding and cell length together."""
METRICS = ("average_precision", "auroc", "balanced_accuracy", "accuracy", "f1")
GAINED = ("average_precision", "balanced_accuracy", "accuracy")
"""Metrics in which a rival is held against another on the same resamples."""

ENOUGH_COARSE_UNITS = 10
"""From so many FOVs (or founders) on they are resampled instead of tracks: cells of one FOV share more than their
track. For a mean of normal values the percentile interval of 10 units covers 90 %, that of 5 units 85 %."""

_GAIN = re.compile(rf"(?P<metric>{'|'.join(GAINED)})_gain(?:_of_(?P<of>.+))?_over_(?P<over>.+)")


@dataclass(frozen=True)
class Score:
    """One metric of one rival. `of` is `embedding`, `chance` or a baseline's name."""

    metric: str
    of: str
    estimate: Estimate

    @property
    def name(self) -> str:
        """The number's name: the metric, with the rival as suffix unless it is the embedding."""
        return self.metric if self.of == EMBEDDING else f"{self.metric}_{self.of}"


@dataclass(frozen=True)
class Prediction:
    """What a rival says of the labelled test rows, or why it says nothing."""

    name: str
    probability: FloatArray | None
    why_missing: str | None


def resampled_unit(scored: pd.DataFrame, candidates: Sequence[SplitUnit]) -> SplitUnit:
    """What intervals are over: the first of `candidates` of which the scored rows have enough, or else the last."""
    for unit in candidates[:-1]:
        if len(np.unique(unit_ids(scored, unit))) >= ENOUGH_COARSE_UNITS:
            return unit
    return candidates[-1]


def coarse_units(split_unit: SplitUnit) -> tuple[SplitUnit, ...]:
    """What may be resampled under a split, coarsest first: FOVs where it keeps FOVs whole, and tracks."""
    if split_unit in (SplitUnit.FOV, SplitUnit.WELL, SplitUnit.PLATE):
        return (SplitUnit.FOV, SplitUnit.TRACK)
    return (SplitUnit.TRACK,)


def units_note(about: str, unit: SplitUnit, candidates: Sequence[SplitUnit], n_coarse: int) -> str | None:
    """What a reader should know when intervals are over less than was wished for, or None."""
    wished = candidates[0]
    if unit is wished:
        return None
    return (
        f"{about}: intervals are over {plural(unit)}, because the scored cells are of {n_coarse} {plural(wished)} "
        f"and {ENOUGH_COARSE_UNITS} are needed to resample those; how {plural(wished)} differ from each other is "
        "not in them."
    )


@dataclass(frozen=True)
class Scoring:
    """The labelled test rows of one task."""

    label: BoolArray
    units: StrArray
    seed: int
    n_resamples: int

    def rival(self, prediction: Prediction, names: Sequence[str] = METRICS) -> list[Score]:
        """Every metric of one rival."""
        return [Score(metric, prediction.name, self.estimate(metric, prediction)) for metric in names]

    def estimate(self, metric: str, prediction: Prediction) -> Estimate:
        """One metric of one rival."""
        if prediction.probability is None:
            return Estimate.missing(prediction.why_missing or "", self._n_units)
        return self._interval(_statistic(metric, self.label, prediction.probability))

    def prevalence(self) -> Estimate:
        """Share of positive rows."""
        return self._interval(metrics.prevalence(self.label))

    def half(self) -> Estimate:
        """What a guess gets in AUROC and balanced accuracy."""
        return Estimate.exact(0.5, self._n_units, "it is one half by definition")

    def chance(self, fit_label: BoolArray, names: Sequence[str] = METRICS) -> list[Score]:
        """What a guess that knows the class sizes alone gets: prevalence, one half, the majority's share."""
        if not fit_label.size:
            majority = Estimate.missing("no training row has a label", self._n_units)
        else:
            positive_is_commoner = 2 * np.count_nonzero(fit_label) > fit_label.size
            commonest = np.full(self.label.shape, positive_is_commoner, dtype=np.bool_)
            majority = self._interval(metrics.accuracy(self.label, commonest))
        scores = (
            Score("average_precision", CHANCE, self.prevalence()),
            Score("auroc", CHANCE, self.half()),
            Score("balanced_accuracy", CHANCE, self.half()),
            Score("accuracy", "majority", majority),
        )
        return [score for score in scores if score.metric in names]

    def gains(self, first: Prediction, other: Prediction, names: Sequence[str] = METRICS) -> list[Score]:
        """Every metric of `GAINED` of one rival less that of another, on the same resamples."""
        of = "" if first.name == EMBEDDING else f"_of_{first.name}"
        return [
            Score(f"{metric}_gain{of}_over", other.name, self.gain(metric, first, other))
            for metric in GAINED
            if metric in names
        ]

    def gain(self, metric: str, first: Prediction, other: Prediction) -> Estimate:
        """One metric of `first` less that of `other`."""
        if first.probability is None or other.probability is None:
            return Estimate.missing(first.why_missing or other.why_missing or "", self._n_units)
        return self._interval(
            metrics.difference(
                _statistic(metric, self.label, first.probability),
                _statistic(metric, self.label, other.probability),
            )
        )

    @property
    def _n_units(self) -> int:
        return len(np.unique(self.units))

    def _interval(self, statistic: Statistic) -> Estimate:
        return bootstrap_interval(self.units, statistic, seed=self.seed, n_resamples=self.n_resamples)


def rescore(
    predictions: pd.DataFrame,
    name: str,
    *,
    seed: int,
    n_resamples: int,
    units: str = plural(SplitUnit.TRACK),
) -> Estimate:
    """One number of a task from its published predictions alone, resampled as it was.

    Args:
        predictions: `TaskEvaluation.predictions`.
        name: the number's name, `Score.name`.
        units: what was resampled, `TaskEvaluation.n_units_name`.

    Raises:
        NotFoundError: the predictions do not hold what this number is of, such as the labels of training rows.
    """
    unit = next((one for one in SplitUnit if plural(one) == units), None)
    if unit is None:
        raise NotFoundError(f"predictions do not tell what {units} are")
    scored = predictions[predictions["label"].notna().to_numpy()]
    label = scored["label"].to_numpy(dtype=np.bool_)
    table = Scoring(label, unit_ids(scored, unit), seed, n_resamples)
    if name == f"average_precision_{CHANCE}":
        return table.prevalence()
    if name in (f"auroc_{CHANCE}", f"balanced_accuracy_{CHANCE}"):
        return table.half()
    gain = _GAIN.fullmatch(name)
    if gain is not None:
        first, other = (_published(scored, gain[key] or EMBEDDING) for key in ("of", "over"))
        return table.gain(gain["metric"], first, other)
    for metric in METRICS:
        if name == metric or name.startswith(f"{metric}_"):
            rival = _published(scored, name.removeprefix(metric).removeprefix("_") or EMBEDDING)
            return table.estimate(metric, rival)
    raise NotFoundError(f"predictions do not tell {name}")


def probability_column(rival: str) -> str:
    """Where the predictions hold what a rival says."""
    return "probability" if rival == EMBEDDING else f"probability_{rival}"


def _published(predictions: pd.DataFrame, of: str) -> Prediction:
    column = probability_column(of)
    if column not in predictions:
        raise NotFoundError(f"the predictions hold no probability of {of}")
    return Prediction(of, predictions[column].to_numpy(dtype=np.float64), None)


def _statistic(metric: str, label: BoolArray, probability: FloatArray) -> Statistic:
    if metric == "average_precision":
        return metrics.average_precision(label, probability)
    if metric == "auroc":
        return metrics.auroc(label, probability)
    predicted = probability >= DECISION
    if metric == "balanced_accuracy":
        return metrics.balanced_accuracy(label, predicted)
    return metrics.accuracy(label, predicted) if metric == "accuracy" else metrics.f1(label, predicted)


def score_notes(about: str, scores: Sequence[Score]) -> list[str]:
    """What a reader should know of values without interval and of resamples that were left out."""
    notes = [
        f"{about}, {score.name}: undefined in {score.estimate.n_undefined} of {score.estimate.n_resamples} "
        "resamples, which the interval leaves out."
        for score in scores
        if score.estimate.n_undefined
    ]
    bare = [(s.name, s.estimate.why_no_interval) for s in scores if s.estimate.value is not None]
    reasons = dict.fromkeys(why for _, why in bare if why is not None)
    for reason in reasons:
        names = ", ".join(name for name, why in bare if why == reason)
        notes.append(f"{about}, {names}: no interval, because {reason}.")
    return notes
