"""Whether a probe mistakes a passing look for a state: false calls among cells in mitosis, beside those in interphase.

In mitosis DynaCLR's infection sensor is inside the nucleus of every cell, infected or not (§3.2 of the paper).
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.scores.scoring import CHANCE, Score, probability_column, score_notes
from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.evaluation.scores.tasks import joined_annotation
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation, EvaluationSettings, number_of
from cell_assets.evaluation.studies.study_parameters import Confounder
from cell_assets.evaluation.units import BoolArray, FloatArray, plural, unit_ids

USUAL = Confounder(column="division_state", value="mitosis")
"""What is looked at where nothing else was named and the column is there."""


def find_confounder(states: pd.DataFrame | None, named: Confounder | None) -> Confounder | None:
    """What was named, or else `USUAL` where its column is annotated; None where there is nothing to look at.

    Raises:
        BadInputError: a confounder was named whose column nobody annotated.
    """
    columns = [] if states is None else list(states.columns)
    if named is None:
        return USUAL if USUAL.column in columns else None
    if named.column not in columns:
        raise BadInputError(
            f"report: the confounder {named.column} = {named.value} names a column that is not annotated; "
            f"name one of {', '.join(sorted(columns)) or 'those that you annotate'}"
        )
    return named


def with_confounder(
    evaluation: EmbeddingEvaluation,
    states: pd.DataFrame | None,
    two_state_columns: Sequence[str],
    confounder: Confounder | None,
) -> EmbeddingEvaluation:
    """`evaluation` with the rate of false calls of every two-state column inside and outside the confounder.

    Args:
        states: annotations, as tasks were made from.
        two_state_columns: names of the tasks to look at.
        confounder: one of its columns; None changes nothing.
    """
    if states is None or confounder is None:
        return evaluation
    numbers, notes = list(evaluation.numbers), list(evaluation.notes)
    for task in evaluation.tasks:
        if task.name in two_state_columns and task.name != confounder.column:
            scores = false_calls(task, states, confounder, evaluation.settings)
            tracks = plural(SplitUnit.TRACK)
            numbers += [
                number_of(score, f"{task.name}_confounded", tracks, task.split, evaluation.settings)
                for score in scores
            ]
            notes += score_notes(f"{task.name} with {confounder.column} = {confounder.value}", scores)
    return replace(evaluation, numbers=tuple(numbers), notes=tuple(notes))


def false_calls(
    task: TaskEvaluation, states: pd.DataFrame, confounder: Confounder, settings: EvaluationSettings
) -> list[Score]:
    """Of each rival: false-positive rate in the confounder, outside it, and the one less the other.

    Rows are the test cells annotated as not positive whose confounder is annotated too. Intervals are over tracks;
    the difference is on the same resamples.
    """
    word, place = _plain(task.positive), _plain(confounder.value)
    names = (f"false_{word}_in_{place}", f"false_{word}_not_in_{place}", f"false_{word}_excess_in_{place}")
    rivals = [score.of for score in task.scores if score.metric == "average_precision" and score.of != CHANCE]
    rows = task.predictions
    annotated = joined_annotation(rows, states, confounder.column) if len(rows) else pd.Series(dtype=object)
    negative = (~rows["label"].astype("boolean")).fillna(False).to_numpy(dtype=np.bool_)
    rows, annotated = rows[negative], annotated[negative]
    known = annotated.notna().to_numpy(dtype=np.bool_)
    inside = known & (annotated.astype(str) == confounder.value).to_numpy()
    scores = []
    for rival in rivals:
        why = task.score("average_precision", rival).why_missing
        column = probability_column(rival)
        if column not in rows:
            scores += [
                Score(name, rival, Estimate.missing(why or "no probe could be fitted")) for name in names
            ]
            continue
        called = rows[column].to_numpy(dtype=np.float64) >= DECISION
        within = _rate(
            called, inside, f"no test cell that is not {task.positive} is annotated as {confounder.value}"
        )
        without = _rate(
            called,
            known & ~inside,
            f"no test cell that is not {task.positive} is annotated as other than {confounder.value}",
        )
        for name, statistic, used in (
            (names[0], within, inside),
            (names[1], without, known & ~inside),
            (names[2], _difference(within, without), known),
        ):
            scores.append(Score(name, rival, _estimate(rows, statistic, used, settings)))
    return scores


def _rate(called: BoolArray, among: BoolArray, why_none: str) -> Statistic:
    inside, hit = among.astype(np.float64), (among & called).astype(np.float64)

    def function(weights: FloatArray) -> FloatArray:
        below = weights @ inside
        return np.divide(weights @ hit, below, out=np.full(len(weights), np.nan), where=below > 0)

    return Statistic(function, why_none)


def _difference(within: Statistic, without: Statistic) -> Statistic:
    return Statistic(
        metrics.difference(within, without).function, f"{within.undefined_when}, or {without.undefined_when}"
    )


def _estimate(
    rows: pd.DataFrame, statistic: Statistic, used: BoolArray, settings: EvaluationSettings
) -> Estimate:
    """Over the tracks that the rate is of, which `n` counts."""
    if not used.any():
        return Estimate.missing(statistic.undefined_when)
    tracks = unit_ids(rows, SplitUnit.TRACK)
    return bootstrap_interval(
        tracks[used],
        Statistic(lambda weights: statistic.function(_spread(weights, used)), statistic.undefined_when),
        seed=settings.seed,
        n_resamples=settings.n_resamples,
    )


def _spread(weights: FloatArray, used: BoolArray) -> FloatArray:
    """Weights of the used rows (B, M) as weights of all rows (B, N)."""
    everywhere = np.zeros((len(weights), len(used)))
    everywhere[:, used] = weights
    return everywhere


def _plain(name: str) -> str:
    """Part of a number's name."""
    return re.sub(r"[^\w.+-]+", "_", name)
