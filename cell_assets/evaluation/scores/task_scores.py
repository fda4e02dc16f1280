"""One yes-or-no task: the embedding's probe, its rivals through the same pipeline, and chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.probe_splits import Part, ProbeSplit
from cell_assets.evaluation.scores.probes import (
    ProbeData,
    fit_joined,
    fit_probe,
    why_no_probe,
    why_not_joined,
)
from cell_assets.evaluation.scores.scoring import (
    EMBEDDING,
    METRICS,
    Prediction,
    Score,
    Scoring,
    probability_column,
    resampled_unit,
    score_notes,
    units_note,
)
from cell_assets.evaluation.scores.tasks import Exclusion, Labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray, plural, unit_ids

_NO_ROWS: IntArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Baseline:
    """Something simpler that may already answer the question; it goes through the same probe."""

    name: str
    """Suffix of its numbers' names, for example `length_alone`."""
    title: str
    """For people, for example `cell length alone`."""
    values: FloatArray
    """(N, D) or (N,)"""
    adds_to: str | None = None
    """Name of the baseline that it extends by the embedding: its gain over that one is stated, and not the
    embedding's gain over it."""
    beside: FloatArray | None = None
    """(N, K) of that baseline, which `values`, the embedding, are joined to, see `fit_joined`."""

    def reordered(self, order: IntArray) -> "Baseline":
        """The same baseline for rows taken in `order`."""
        beside = None if self.beside is None else self.beside[order]
        return replace(self, values=self.values[order], beside=beside)


def combined(features: FloatArray, baseline: Baseline, name: str, title: str) -> Baseline:
    """The embedding (N, D) and a baseline together: what the one adds to the other."""
    beside = np.asarray(baseline.values, dtype=np.float64).reshape(len(features), -1)
    return Baseline(name, title, features, adds_to=baseline.name, beside=beside)


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
    split: str
    """Which rows were scored, as its numbers carry it, for example `test tracks`."""
    n_units_name: str
    """What `n` of its numbers counts and what their intervals resample, for example `tracks`."""
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    prevalence: Estimate
    predictions: pd.DataFrame
    """Every test row: plate, fov_name, track_id, t, (lineage_root, where it is resampled,) `label` (missing where
    unknown), `probability` of the embedding's probe and `probability_<rival>`; empty when no rival says anything."""
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
    """What a rival's probes, or the rival itself, say of the test rows, or why there is nothing."""

    name: str
    title: str
    probability: FloatArray | None
    """(N,), of the test rows; NaN elsewhere."""
    why_missing: str | None
    """Why there is no score: that of `probability`, or that no row it speaks of has a label."""
    how_chosen: tuple[str, ...] = ()
    """Of each probe; empty where none was fitted."""
    converged: bool = True
    note: str = ""

    def on(self, rows: BoolArray) -> Prediction:
        """What the probes say of those rows, which are to be scored."""
        if self.probability is None or self.why_missing is not None:
            return Prediction(self.name, None, self.why_missing)
        return Prediction(self.name, self.probability[rows], None)


def evaluate_task(
    features: FloatArray,
    cells: pd.DataFrame,
    labels: Labels,
    baselines: Sequence[Baseline],
    split: ProbeSplit,
    *,
    seed: int,
    n_resamples: int,
    source_rows: IntArray,
    names: Sequence[str] = METRICS,
    given: Sequence[GivenPrediction] = (),
) -> TaskEvaluation:
    """Probe `features` (N, D) and every baseline for `labels`, on the rows that the split gives to each side.

    What is `given` is scored on the same rows as it is. `source_rows` (N,) says which row of the caller's table each
    row is. Intervals are over the coarsest of `split.resampled` of which the labelled test rows have enough. `names`
    are the metrics that are stated.
    """
    fit, test = split.fit & labels.known, split.test
    scored = test & labels.known
    split_units = unit_ids(cells, split.unit)
    candidates = [Baseline(EMBEDDING, "embedding", features), *baselines]
    rivals = [_fit_rival(candidate, labels, split, split_units, seed) for candidate in candidates]
    rivals += [_given_rival(one, labels, split) for one in given]
    label = labels.label[scored]
    unit = resampled_unit(cells[scored], split.resampled)
    table = Scoring(label, unit_ids(cells[scored], unit), seed, n_resamples)
    said = {rival.name: rival.on(scored) for rival in rivals}
    scores = [score for prediction in said.values() for score in table.rival(prediction, names)]
    scores += table.chance(labels.label[fit], names)
    for baseline in baselines:
        first, over = (
            (EMBEDDING, baseline.name) if baseline.adds_to is None else (baseline.name, baseline.adds_to)
        )
        scores += table.gains(said[first], said[over], names)
    for one in given:
        scores += table.gains(said[EMBEDDING], said[one.name], names)
    curves = [
        Curve(rival.name, rival.title, points, table.estimate("average_precision", prediction))
        for rival, prediction in zip(rivals, said.values(), strict=True)
        if prediction.probability is not None
        and (points := metrics.precision_recall(label, prediction.probability)) is not None
    ]
    n_wished = len(np.unique(unit_ids(cells[scored], split.resampled[0])))
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
        split=split.name,
        n_units_name=plural(unit),
        scores=tuple(scores),
        curves=tuple(curves),
        prevalence=table.prevalence(),
        predictions=_predictions(cells, labels, test, rivals, unit),
        example_rows=_NO_ROWS
        if rivals[0].probability is None
        else _example(cells, labels, test, source_rows),
        notes=_notes(labels, rivals, scores, units_note(labels.name, unit, split.resampled, n_wished)),
    )


def _fit_rival(
    candidate: Baseline, labels: Labels, split: ProbeSplit, split_units: StrArray, seed: int
) -> _Rival:
    values = np.asarray(candidate.values, dtype=np.float64).reshape(len(labels.label), -1)
    why = split.why_none or labels.why_none
    if why is None:
        why = next(
            (
                said
                for part in split.parts
                if (said := why_no_probe(*_sides(values, labels, part, split_units)))
            ),
            None,
        )
    if why is None and candidate.beside is not None:
        learned = (_sides(values, labels, part, split_units)[0] for part in split.parts)
        why = next((said for train in learned if (said := why_not_joined(train))), None)
    used = split.test | (split.fit & labels.known)
    unusable = np.asarray(~np.isfinite(values[used]).all(axis=1))
    if candidate.beside is not None:
        unusable |= ~np.isfinite(candidate.beside[used]).all(axis=1)
    if why is None and unusable.any():
        why = f"{candidate.title} is not known for {int(unusable.sum())} of {len(unusable)} rows"
    if why is not None:
        return _Rival(candidate.name, candidate.title, None, why)
    unscored = None if (split.test & labels.known).any() else labels.why_unscored or "no test row has a label"
    probability = np.full(len(labels.label), np.nan)
    chosen, converged = [], True
    for part in split.parts:
        train, rows = _sides(values, labels, part, split_units)
        if candidate.beside is None:
            probe = fit_probe(train, rows, split_unit=split.unit, seed=seed)
        else:
            beside = candidate.beside[part.fit & labels.known], candidate.beside[part.test]
            probe = fit_joined(train, rows, *beside, split_unit=split.unit, seed=seed)
        probability[part.test] = probe.probability
        chosen.append(probe.how_chosen)
        converged &= probe.converged
    return _Rival(candidate.name, candidate.title, probability, unscored, tuple(chosen), converged)


def _sides(
    values: FloatArray, labels: Labels, part: Part, split_units: StrArray
) -> tuple[ProbeData, ProbeData]:
    """What is learned from, and every test row: also those without a label are predicted, which no score counts."""
    fit, test = part.fit & labels.known, part.test
    return (
        ProbeData(values[fit], labels.label[fit], split_units[fit]),
        ProbeData(values[test], labels.label[test], split_units[test]),
    )


def _given_rival(given: GivenPrediction, labels: Labels, split: ProbeSplit) -> _Rival:
    scored = split.test & labels.known
    unknown = int(np.isnan(given.probability[scored]).sum())
    why = split.why_none or labels.why_none
    if why is None and not scored.any():
        why = labels.why_unscored or "no test row has a label"
    if why is None and unknown:
        why = f"{given.title} says nothing of {unknown} of {int(scored.sum())} labelled test rows"
    probability = None if why else np.where(split.test, given.probability, np.nan)
    return _Rival(given.name, given.title, probability, why, note=given.note)


def _predictions(
    cells: pd.DataFrame, labels: Labels, test: BoolArray, rivals: Sequence[_Rival], unit: SplitUnit
) -> pd.DataFrame:
    wanted = ["plate", "fov_name", "track_id", "t", *(["lineage_root"] if unit is SplitUnit.LINEAGE else [])]
    frame = cells.loc[test, [column for column in wanted if column in cells.columns]].reset_index(drop=True)
    for column in frame.columns.intersection(["plate", "fov_name"]):
        frame[column] = frame[column].astype(str)  # plain text, whatever the table's categories were
    label = pd.array(labels.label[test], dtype="boolean")
    label[~labels.known[test]] = pd.NA
    frame["label"] = label
    for rival in rivals:
        if rival.probability is not None:
            frame[probability_column(rival.name)] = rival.probability[test]
    return frame if any(rival.probability is not None for rival in rivals) else frame.iloc[:0]


def _example(cells: pd.DataFrame, labels: Labels, test: BoolArray, source_rows: IntArray) -> IntArray:
    tracks = unit_ids(cells, SplitUnit.TRACK)
    positive = np.unique(tracks[test & labels.known & labels.label])
    if not len(positive):
        return _NO_ROWS
    names, sizes = np.unique(tracks[np.isin(tracks, positive)], return_counts=True)
    rows = np.flatnonzero(tracks == names[np.argmax(sizes)])
    return source_rows[rows[np.argsort(cells["t"].to_numpy()[rows], kind="stable")]]


def _notes(
    labels: Labels, rivals: Sequence[_Rival], scores: Sequence[Score], about_units: str | None
) -> tuple[str, ...]:
    notes = [f"{labels.name}: {out.n_rows} rows left out, because {out.reason}." for out in labels.excluded]
    notes += [] if about_units is None else [about_units]
    for rival in rivals:
        if rival.how_chosen:
            chosen = "; ".join(dict.fromkeys(rival.how_chosen))
            notes.append(f"{labels.name}, {rival.title}: {chosen}.")
            if not rival.converged:
                notes.append(f"{labels.name}, {rival.title}: the regression stopped before it converged.")
        elif rival.probability is not None:
            notes.append(
                f"{labels.name}, {rival.title}: its own probability is used as it is, without a probe; {rival.note}."
            )
    return (*notes, *score_notes(labels.name, scores))
