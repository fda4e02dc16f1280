"""Whether a probe mistakes a passing look for a state: false calls among cells in mitosis, beside those in interphase.

In mitosis DynaCLR's infection sensor is inside the nucleus of every cell, infected or not (§3.2 of the paper). Wrong
calls of both states are counted, whichever is the rarer on the plate.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    """Of each rival, and of cells wrongly called each of the two states: the rate in the confounder, outside it, and
    the one less the other.

    Rows are the test cells annotated as the other state whose confounder is annotated too. Intervals are over tracks;
    the difference is on the same resamples.
    """
    rows = task.predictions
    annotated = joined_annotation(rows, states, confounder.column) if len(rows) else pd.Series(dtype=object)
    label = rows["label"].astype("boolean")
    scores = []
    for state, other, is_other, wrongly in (
        (task.positive, task.negative, ~label, lambda probability: probability >= DECISION),
        (task.negative, task.positive, label, lambda probability: probability < DECISION),
    ):
        kept = is_other.fillna(False).to_numpy(dtype=np.bool_)
        found = _FalseCalls(state, other, confounder, rows[kept], annotated[kept], wrongly)
        for rival in [
            one.of for one in task.scores if one.metric == "average_precision" and one.of != CHANCE
        ]:
            why = task.score("average_precision", rival).why_missing
            scores += found.scores(rival, why, settings)
    return scores


@dataclass(frozen=True)
class _FalseCalls:
    """Test cells annotated as `other`, any of which may wrongly be called `state`."""

    state: str
    other: str
    confounder: Confounder
    rows: pd.DataFrame
    annotated: pd.Series
    """The confounder's column, row by row."""
    wrongly: Callable[[FloatArray], BoolArray]
    """Which probabilities of the positive state are calls of `state`."""

    def scores(self, rival: str, why_missing: str | None, settings: EvaluationSettings) -> list[Score]:
        """Inside, outside, and the difference."""
        word, place = _plain(self.state), _plain(self.confounder.value)
        names = (
            f"false_{word}_in_{place}",
            f"false_{word}_not_in_{place}",
            f"false_{word}_excess_in_{place}",
        )
        column = probability_column(rival)
        if column not in self.rows:
            return [
                Score(name, rival, Estimate.missing(why_missing or "no probe could be fitted"))
                for name in names
            ]
        called = self.wrongly(self.rows[column].to_numpy(dtype=np.float64))
        known = self.annotated.notna().to_numpy(dtype=np.bool_)
        inside = known & (self.annotated.astype(str) == self.confounder.value).to_numpy()
        none = f"no test cell that is {self.other} is annotated as"
        within = _rate(called, inside, f"{none} {self.confounder.value}")
        without = _rate(called, known & ~inside, f"{none} other than {self.confounder.value}")
        asked = ((within, inside), (without, known & ~inside), (_difference(within, without), known))
        return [
            Score(name, rival, _estimate(self.rows, statistic, used, settings))
            for name, (statistic, used) in zip(names, asked, strict=True)
        ]


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
