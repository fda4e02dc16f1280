"""One yes-or-no task: the embedding's probe, its rivals through the same pipeline, and chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.errors import NotFoundError
from cell_assets.evaluation import metrics
from cell_assets.evaluation.probes import DECISION, Probe, ProbeData, fit_probe, why_no_probe
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.tasks import Exclusion, Labels
from cell_assets.evaluation.units import (
    BoolArray,
    FloatArray,
    IntArray,
    SplitRows,
    StrArray,
    plural,
    unit_ids,
)

EMBEDDING = "embedding"
CHANCE = "chance"
_NO_ROWS: IntArray = np.zeros(0, dtype=np.int64)
_GAIN = "gain_over"
METRICS = ("average_precision", "auroc", "accuracy", "f1")


@dataclass(frozen=True)
class Baseline:
    """Something simpler that may already answer the question; it goes through the same probe."""

    name: str
    """Suffix of its numbers' names, for example `length_alone`."""
    title: str
    """For people, for example `cell length alone`."""
    values: FloatArray
    """(N, D) or (N,)"""

    def reordered(self, order: IntArray) -> "Baseline":
        """The same baseline for rows taken in `order`."""
        return replace(self, values=self.values[order])


@dataclass(frozen=True)
class GivenPrediction:
    """A rival that names a probability of the positive state itself; no probe is fitted to it."""

    name: str
    title: str
    probability: FloatArray
    """(N,), NaN where it says nothing."""
    note: str
    """What a reader should know of it, without a full stop."""

    def reordered(self, order: IntArray) -> "GivenPrediction":
        """The same predictions for rows taken in `order`."""
        return replace(self, probability=self.probability[order])


@dataclass(frozen=True)
class Score:
    """One metric of one rival. `of` is `embedding`, `chance` or a rival's name."""

    metric: str
    of: str
    estimate: Estimate

    @property
    def name(self) -> str:
        """The number's name: the metric, with the rival as suffix unless it is the embedding."""
        return self.metric if self.of == EMBEDDING else f"{self.metric}_{self.of}"


@dataclass(frozen=True)
class Curve:
    """Precision against recall of one rival on the test rows."""

    of: str
    title: str
    points: metrics.PrecisionRecall
    average_precision: Estimate


@dataclass(frozen=True)
class TaskEvaluation:
    """Scores, curves and predictions of one task."""

    name: str
    positive: str
    negative: str
    rule: str
    excluded: tuple[Exclusion, ...]
    n_fit_rows: int
    n_fit_positive: int
    n_test_rows: int
    n_test_positive: int
    n_units_name: str
    """What `n` of its numbers counts, for example `tracks`."""
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    prevalence: Estimate
    predictions: pd.DataFrame
    """Every test row: plate, fov_name, track_id, t, `label` (missing where unknown), `probability` of the
    embedding's probe and `probability_<rival>`; empty when no rival says anything."""
    example_rows: IntArray
    """Rows of the caller's cell table, in order of time: the longest test track that holds a positive row;
    empty when there is none or no probe could be fitted."""
    notes: tuple[str, ...]

    def score(self, metric: str, of: str = EMBEDDING) -> Estimate:
        """The estimate of `metric` for one rival. Raises `KeyError` when there is none."""
        for score in self.scores:
            if (score.metric, score.of) == (metric, of):
                return score.estimate
        raise KeyError(f"task {self.name} has no {metric} of {of}")


@dataclass(frozen=True)
class _Rival:
    """What a fitted probe or a given prediction says of the test rows, or why it says nothing."""

    name: str
    title: str
    probability: FloatArray | None
    why_missing: str | None
    probe: Probe | None = None
    """None for a given prediction too."""
    note: str = ""

    def on(self, inside: BoolArray) -> "_Prediction":
        """What the probe says of those of its rows."""
        return _Prediction(
            self.name, None if self.probability is None else self.probability[inside], self.why_missing
        )


@dataclass(frozen=True)
class _Prediction:
    """What a rival says of the labelled test rows, or why it says nothing."""

    name: str
    probability: FloatArray | None
    why_missing: str | None


def evaluate_task(
    features: FloatArray,
    cells: pd.DataFrame,
    labels: Labels,
    baselines: Sequence[Baseline],
    split: SplitRows,
    *,
    bootstrap_unit: SplitUnit,
    seed: int,
    n_resamples: int,
    source_rows: IntArray,
    given: Sequence[GivenPrediction] = (),
) -> TaskEvaluation:
    """Probe `features` (N, D) and every baseline for `labels`, on the rows that the split gives to each side.

    What is `given` is scored on the same rows as it is. `source_rows` (N,) says which row of the caller's table each
    row is. Intervals are over `bootstrap_unit`s
    of the labelled test rows.
    """
    fit, scored = split.fit & labels.known, split.test & labels.known
    split_units = unit_ids(cells, split.statement.unit)
    candidates = [Baseline(EMBEDDING, "embedding", features), *baselines]
    rivals = [
        _fit_rival(candidate, labels, fit, split.test, scored, split_units, split.statement.unit, seed)
        for candidate in candidates
    ]
    rivals += [_given_rival(one, labels, split.test, scored) for one in given]
    label = labels.label[scored]
    table = _Scoring(label, unit_ids(cells[scored], bootstrap_unit), seed, n_resamples)
    said = [rival.on(scored[split.test]) for rival in rivals]
    scores = [score for prediction in said for score in table.rival(prediction)]
    scores += table.chance(labels.label[fit])
    scores += [table.gain("average_precision", said[0], other) for other in said[1:]]
    # A threshold of one half means the same for both only where no probe was fitted to balance the classes.
    scores += [table.gain("accuracy", said[0], other) for other in said[len(candidates) :]]
    curves = [
        Curve(rival.name, rival.title, points, table.estimate("average_precision", prediction))
        for rival, prediction in zip(rivals, said, strict=True)
        if prediction.probability is not None
        and (points := metrics.precision_recall(label, prediction.probability)) is not None
    ]
    return TaskEvaluation(
        name=labels.name,
        positive=labels.positive,
        negative=labels.negative,
        rule=labels.rule,
        excluded=labels.excluded,
        n_fit_rows=int(fit.sum()),
        n_fit_positive=int(labels.label[fit].sum()),
        n_test_rows=int(scored.sum()),
        n_test_positive=int(label.sum()),
        n_units_name=plural(bootstrap_unit),
        scores=tuple(scores),
        curves=tuple(curves),
        prevalence=table.prevalence(),
        predictions=_predictions(cells, labels, split.test, rivals),
        example_rows=_example(cells, labels, split.test, source_rows) if rivals[0].probe else _NO_ROWS,
        notes=_notes(labels, rivals, scores),
    )


def rescore(predictions: pd.DataFrame, name: str, *, seed: int, n_resamples: int) -> Estimate:
    """One number of a task from its published predictions alone, resampled over tracks as it was.

    Args:
        predictions: `TaskEvaluation.predictions`.
        name: the number's name, `Score.name`.

    Raises:
        NotFoundError: the predictions do not hold what this number is of, such as the labels of training rows.
    """
    scored = predictions[predictions["label"].notna().to_numpy()]
    label = scored["label"].to_numpy(dtype=np.bool_)
    table = _Scoring(label, unit_ids(scored, SplitUnit.TRACK), seed, n_resamples)
    if name == f"average_precision_{CHANCE}":
        return table.prevalence()
    gained, is_gain, over = name.partition(f"_{_GAIN}_")
    if is_gain and gained in METRICS:
        return table.gain(gained, _published(scored, EMBEDDING), _published(scored, over)).estimate
    for metric in METRICS:
        if name == metric or name.startswith(f"{metric}_"):
            rival = _published(scored, name.removeprefix(metric).removeprefix("_") or EMBEDDING)
            return table.estimate(metric, rival)
    raise NotFoundError(f"predictions do not tell {name}")


def _published(predictions: pd.DataFrame, of: str) -> _Prediction:
    column = "probability" if of == EMBEDDING else f"probability_{of}"
    if column not in predictions:
        raise NotFoundError(f"the predictions hold no probability of {of}")
    return _Prediction(of, predictions[column].to_numpy(dtype=np.float64), None)


def _fit_rival(
    candidate: Baseline,
    labels: Labels,
    fit: BoolArray,
    test: BoolArray,
    scored: BoolArray,
    split_units: StrArray,
    split_unit: SplitUnit,
    seed: int,
) -> _Rival:
    values = np.asarray(candidate.values, dtype=np.float64).reshape(len(labels.label), -1)
    unusable = np.asarray(~np.isfinite(values[fit | test]).all(axis=1))
    train = ProbeData(values[fit], labels.label[fit], split_units[fit])
    # Every test row is predicted, also those without a label, which no score counts.
    rows = ProbeData(values[test], labels.label[test], split_units[test])
    why = labels.why_none or why_no_probe(train, rows)
    if why is None and not scored.any():
        why = "no test row has a label"
    if why is None and unusable.any():
        why = f"{candidate.title} is not known for {int(unusable.sum())} of {len(unusable)} rows"
    if why is not None:
        return _Rival(candidate.name, candidate.title, None, why)
    probe = fit_probe(train, rows, split_unit=split_unit, seed=seed)
    return _Rival(candidate.name, candidate.title, probe.probability, None, probe)


def _given_rival(given: GivenPrediction, labels: Labels, test: BoolArray, scored: BoolArray) -> _Rival:
    probability = given.probability[test]
    unknown = int(np.isnan(given.probability[scored]).sum())
    why = labels.why_none
    if why is None and not scored.any():
        why = "no test row has a label"
    if why is None and unknown:
        why = f"{given.title} says nothing of {unknown} of {int(scored.sum())} labelled test rows"
    return _Rival(given.name, given.title, None if why else probability, why, note=given.note)


@dataclass(frozen=True)
class _Scoring:
    """The labelled test rows of one task; every score of the task resamples the same units the same way."""

    label: BoolArray
    units: StrArray
    seed: int
    n_resamples: int

    def rival(self, prediction: _Prediction) -> list[Score]:
        return [Score(metric, prediction.name, self.estimate(metric, prediction)) for metric in METRICS]

    def estimate(self, metric: str, prediction: _Prediction) -> Estimate:
        if prediction.probability is None:
            return Estimate.missing(prediction.why_missing or "", self._n_units)
        return self._interval(_statistic(metric, self.label, prediction.probability))

    def prevalence(self) -> Estimate:
        return self._interval(metrics.prevalence(self.label))

    def chance(self, fit_label: BoolArray) -> list[Score]:
        """What a guess that knows the class sizes alone gets: prevalence, one half, the majority's share."""
        half = Estimate.exact(0.5, self._n_units, "it is one half by definition")
        if not fit_label.size:
            majority = Estimate.missing("no training row has a label", self._n_units)
        else:
            positive_is_commoner = 2 * np.count_nonzero(fit_label) > fit_label.size
            commonest = np.full(self.label.shape, positive_is_commoner, dtype=np.bool_)
            majority = self._interval(metrics.accuracy(self.label, commonest))
        return [
            Score("average_precision", CHANCE, self.prevalence()),
            Score("auroc", CHANCE, half),
            Score("accuracy", "majority", majority),
        ]

    def gain(self, metric: str, first: _Prediction, other: _Prediction) -> Score:
        """A metric of the embedding less that of another rival, on the same resamples."""
        if first.probability is None or other.probability is None:
            estimate = Estimate.missing(first.why_missing or other.why_missing or "", self._n_units)
        else:
            estimate = self._interval(
                metrics.difference(
                    _statistic(metric, self.label, first.probability),
                    _statistic(metric, self.label, other.probability),
                )
            )
        return Score(f"{metric}_{_GAIN}", other.name, estimate)

    @property
    def _n_units(self) -> int:
        return len(np.unique(self.units))

    def _interval(self, statistic: Statistic) -> Estimate:
        return bootstrap_interval(self.units, statistic, seed=self.seed, n_resamples=self.n_resamples)


def _statistic(metric: str, label: BoolArray, probability: FloatArray) -> Statistic:
    if metric == "average_precision":
        return metrics.average_precision(label, probability)
    if metric == "auroc":
        return metrics.auroc(label, probability)
    predicted = probability >= DECISION
    return metrics.accuracy(label, predicted) if metric == "accuracy" else metrics.f1(label, predicted)


def _predictions(
    cells: pd.DataFrame, labels: Labels, test: BoolArray, rivals: Sequence[_Rival]
) -> pd.DataFrame:
    columns = [column for column in ("plate", "fov_name", "track_id", "t") if column in cells.columns]
    frame = cells.loc[test, columns].reset_index(drop=True)
    for column in frame.columns.intersection(["plate", "fov_name"]):
        frame[column] = frame[column].astype(str)  # plain text, whatever the table's categories were
    label = pd.array(labels.label[test], dtype="boolean")
    label[~labels.known[test]] = pd.NA
    frame["label"] = label
    for rival in rivals:
        if rival.probability is not None:
            suffix = "" if rival.name == EMBEDDING else f"_{rival.name}"
            frame[f"probability{suffix}"] = rival.probability
    return frame if any(rival.probability is not None for rival in rivals) else frame.iloc[:0]


def _example(cells: pd.DataFrame, labels: Labels, test: BoolArray, source_rows: IntArray) -> IntArray:
    tracks = unit_ids(cells, SplitUnit.TRACK)
    positive = np.unique(tracks[test & labels.known & labels.label])
    if not len(positive):
        return _NO_ROWS
    names, sizes = np.unique(tracks[np.isin(tracks, positive)], return_counts=True)
    rows = np.flatnonzero(tracks == names[np.argmax(sizes)])
    return source_rows[rows[np.argsort(cells["t"].to_numpy()[rows], kind="stable")]]


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


def _notes(labels: Labels, rivals: Sequence[_Rival], scores: Sequence[Score]) -> tuple[str, ...]:
    notes = [f"{labels.name}: {out.n_rows} rows left out, because {out.reason}." for out in labels.excluded]
    for rival in rivals:
        if rival.probe is not None:
            notes.append(f"{labels.name}, {rival.title}: {rival.probe.how_chosen}.")
            if not rival.probe.converged:
                notes.append(f"{labels.name}, {rival.title}: the regression stopped before it converged.")
        elif rival.probability is not None:
            notes.append(
                f"{labels.name}, {rival.title}: its own probability is used as it is, without a probe; {rival.note}."
            )
    return (*notes, *score_notes(labels.name, scores))
