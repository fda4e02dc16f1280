"""Detectors of disrupted steps: what they learn on fitted tracks, and how well they do on held-out ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.scoring import CHANCE, EMBEDDING, Score
from cell_assets.evaluation.scores.task_scores import Curve
from cell_assets.evaluation.units import BoolArray, FloatArray, StrArray

STEP_METRICS = ("average_precision", "auroc", "precision", "recall", "f1")
_GAIN = "average_precision_gain"
_LINEAR_TO = 5.0


@dataclass(frozen=True)
class DetectorSteps:
    """Steps with what is known of them; the same K steps for every detector."""

    disrupted: BoolArray
    """(K,)"""
    is_test: BoolArray
    """(K,); thresholds and weights are learned where it is False."""
    units: StrArray
    """(K,) independent units, for intervals."""


@dataclass(frozen=True)
class Detector:
    """One way of scoring steps; `score` is None exactly when `why_missing` says why."""

    name: str
    title: str
    score: FloatArray | None
    """(K,), higher is more suspicious."""
    threshold: float | None = None
    """A step is called disrupted from this score on; None where no fitted step is disrupted."""
    why_missing: str | None = None


def best_threshold(disrupted: BoolArray, score: FloatArray) -> float | None:
    """The score from which on calling steps disrupted gives the highest F1; the highest of equals.

    None where no step is disrupted.
    """
    n_disrupted = int(disrupted.sum())
    if not n_disrupted:
        return None
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last_of_equals = np.append(ranked[1:] != ranked[:-1], True)
    found = np.cumsum(disrupted[order])
    f1 = 2.0 * found / (np.arange(1, len(order) + 1) + n_disrupted)
    return float(ranked[np.argmax(np.where(last_of_equals, f1, -1.0))])


def fit_detector(name: str, title: str, score: FloatArray, steps: DetectorSteps) -> Detector:
    """A detector of this score whose threshold is the best on fitted steps."""
    fit = ~steps.is_test
    return Detector(name, title, score, best_threshold(steps.disrupted[fit], score[fit]))


def combine_detectors(name: str, title: str, parts: Sequence[Detector], steps: DetectorSteps) -> Detector:
    """All `parts` weighed by a class-balanced logistic regression on fitted steps, with a threshold from there too.

    Scores enter as they are up to about `_LINEAR_TO` and as their logarithms beyond: robust z have heavy tails, and one
    step must not set all weights.
    """
    for part in parts:
        if part.score is None:
            return Detector(name, title, None, why_missing=part.why_missing)
    fit = ~steps.is_test
    if not steps.disrupted[fit].any() or steps.disrupted[fit].all():
        return Detector(name, title, None, why_missing="fitted steps are all disrupted, or none of them is")
    raw = np.column_stack([part.score for part in parts if part.score is not None])
    columns = _LINEAR_TO * np.arcsinh(raw / _LINEAR_TO)
    model = LogisticRegression(class_weight="balanced").fit(columns[fit], steps.disrupted[fit])
    return fit_detector(name, title, model.decision_function(columns), steps)


def score_detectors(
    detectors: Sequence[Detector], steps: DetectorSteps, *, seed: int, n_resamples: int
) -> tuple[Score, ...]:
    """Every metric of every detector on held-out steps, chance, and differences on the same resamples.

    The first detector is compared with every other one, and the last (a combination) with all before it.
    """
    scoring = _Scoring(steps.disrupted[steps.is_test], steps.units[steps.is_test], seed, n_resamples)
    held_out = {one.name: _held_out(one, steps) for one in detectors}
    scores = [
        Score(metric, name, scoring.estimate(metric, one))
        for name, one in held_out.items()
        for metric in STEP_METRICS
    ]
    scores.append(Score("average_precision", CHANCE, scoring.interval(metrics.prevalence(scoring.disrupted))))
    first, *between = detectors
    last = between[-1]
    pairs = [(first, other) for other in between if other is not last]
    pairs += [(last, other) for other in detectors if other is not last]
    for one, other in pairs:
        metric = f"{_GAIN}_over_{other.name}" if one is first else f"{_GAIN}_of_{one.name}_over_{other.name}"
        scores.append(Score(metric, EMBEDDING, scoring.gain(held_out, one, other)))
    return tuple(scores)


def step_curves(
    detectors: Sequence[Detector], steps: DetectorSteps, scores: Sequence[Score]
) -> tuple[Curve, ...]:
    """Precision against recall on held-out steps of every detector that has a score."""
    average = {score.of: score.estimate for score in scores if score.metric == "average_precision"}
    disrupted = steps.disrupted[steps.is_test]
    return tuple(
        Curve(one.name, one.title, points, average[one.name])
        for one in detectors
        if one.score is not None
        and (points := metrics.precision_recall(disrupted, one.score[steps.is_test])) is not None
    )


def recall_among(
    detector: Detector, steps: DetectorSteps, among: BoolArray, seed: int, n_resamples: int
) -> Estimate:
    """Share of the disrupted held-out steps `among` (K,) these that the detector calls disrupted."""
    chosen = steps.is_test & steps.disrupted & among
    n_units = len(np.unique(steps.units[chosen]))
    if detector.score is None or detector.threshold is None:
        return Estimate.missing(_why_no_call(detector), n_units)
    if not chosen.any():
        return Estimate.missing("no held-out step is so")
    called = detector.score[chosen] >= detector.threshold
    found = metrics.recall(np.full(len(called), True), called)
    return bootstrap_interval(steps.units[chosen], found, seed=seed, n_resamples=n_resamples)


def _held_out(detector: Detector, steps: DetectorSteps) -> Detector:
    score = None if detector.score is None else detector.score[steps.is_test]
    return Detector(detector.name, detector.title, score, detector.threshold, detector.why_missing)


def _why_no_call(detector: Detector) -> str:
    return detector.why_missing or "no fitted step is disrupted, so there is no threshold"


@dataclass(frozen=True)
class _Scoring:
    """Held-out steps; every score resamples the same units the same way."""

    disrupted: BoolArray
    units: StrArray
    seed: int
    n_resamples: int

    def interval(self, statistic: Statistic) -> Estimate:
        return bootstrap_interval(self.units, statistic, seed=self.seed, n_resamples=self.n_resamples)

    def estimate(self, metric: str, detector: Detector) -> Estimate:
        score = detector.score
        if score is None:
            return self._missing(detector.why_missing or "")
        if metric == "average_precision":
            return self.interval(metrics.average_precision(self.disrupted, score))
        if metric == "auroc":
            return self.interval(metrics.auroc(self.disrupted, score))
        if detector.threshold is None:
            return self._missing(_why_no_call(detector))
        called = score >= detector.threshold
        if metric == "precision":
            return self.interval(metrics.precision(self.disrupted, called))
        if metric == "recall":
            return self.interval(metrics.recall(self.disrupted, called))
        return self.interval(metrics.f1(self.disrupted, called))

    def gain(self, held_out: Mapping[str, Detector], one: Detector, other: Detector) -> Estimate:
        left, right = held_out[one.name].score, held_out[other.name].score
        if left is None or right is None:
            return self._missing(one.why_missing or other.why_missing or "")
        return self.interval(
            metrics.difference(
                metrics.average_precision(self.disrupted, left),
                metrics.average_precision(self.disrupted, right),
            )
        )

    def _missing(self, why: str) -> Estimate:
        return Estimate.missing(why, len(np.unique(self.units)))
