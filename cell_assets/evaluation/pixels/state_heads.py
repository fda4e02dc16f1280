"""Linear heads on a representation: the probe that a report states, of every annotation column of two states."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.scores.probes import LinearHead, ProbeData, fit_probe, why_no_probe
from cell_assets.evaluation.scores.tasks import Labels, joined_annotation
from cell_assets.evaluation.studies.embedding_study import state_tasks
from cell_assets.evaluation.studies.evaluate import EvaluationSettings, canonical_order
from cell_assets.evaluation.studies.published_study import StudiedCells
from cell_assets.evaluation.units import (
    BoolArray,
    FloatArray,
    SplitRows,
    SplitStatement,
    split_rows,
    unit_ids,
)

_KEYS = {"plate", "fov_name", "track_id", "t"}


@dataclass(frozen=True)
class StateHead:
    """A fitted head and the states that it tells apart."""

    column: str
    positive: str
    negative: str
    linear: LinearHead
    how_chosen: str
    label: BoolArray
    """(N,) whether the cell is in the positive state, meaningful where `known`."""
    known: BoolArray
    """(N,) whether somebody said which state the cell is in."""
    logit: FloatArray
    """(N,) what the head says of the published features."""


@dataclass(frozen=True)
class StateHeads:
    """All heads of an experiment over its N cell images."""

    cells: pd.DataFrame
    """N rows in canonical order: `plate, fov_name, track_id, t, split, …`."""
    test: BoolArray
    """(N,) rows that no head learned from."""
    split: SplitStatement
    heads: tuple[StateHead, ...]
    without: Mapping[str, str]
    """By annotation column that has no head: why."""


def fit_state_heads(studied: StudiedCells, experiment: str, seed: int) -> StateHeads:
    """`possible_heads`, of which there must be one.

    Raises:
        BadInputError: no column gives a head; the sentence says why each does not.
    """
    found = possible_heads(studied, seed)
    if not found.heads:
        why = "; ".join(f"{column}: {reason}" for column, reason in found.without.items())
        raise BadInputError(
            f"attribution of {experiment} needs an annotation column of two states, from which a head can be learned: "
            f"{why or 'no cell is annotated'}; hand in annotations of both states with `cell-assets annotate`"
        )
    return found


def possible_heads(studied: StudiedCells, seed: int) -> StateHeads:
    """Fit heads as the report fits its probes: same rows, same folds, same seed."""
    order = canonical_order(studied.embedded.cells)
    cells = studied.embedded.cells.iloc[order].reset_index(drop=True)
    features = studied.embedded.features[order]
    split = split_rows(
        cells, studied.manifest.split_unit, EvaluationSettings.fit_splits, EvaluationSettings.test_split
    )
    heads: list[StateHead] = []
    without: dict[str, str] = {}
    states = studied.known.states if studied.known.states is not None else pd.DataFrame()
    for column in sorted(set(states.columns) - _KEYS):
        if pd.api.types.is_numeric_dtype(states[column]):
            continue  # A measurement has no states; the report does not probe it either.
        labels = _labels(cells, states, column)
        head = labels if isinstance(labels, str) else _fit(features, cells, split, labels, column, seed)
        if isinstance(head, str):
            without[column] = head
        else:
            heads.append(head)
    return StateHeads(cells, split.test, split.statement, tuple(heads), without)


def _labels(cells: pd.DataFrame, states: pd.DataFrame, column: str) -> Labels | str:
    """The column's one question, or why it is none of two states."""
    values = joined_annotation(cells, states, column)
    tasks = state_tasks(cells, states, column, values)
    if len(tasks) == 1:
        return tasks[0]
    named = sorted(str(value) for value in values.dropna().unique())
    if not named:
        return "none of its cells is embedded"
    if len(named) == 1:
        return f"every annotated cell is {named[0]}, so there is nothing to tell apart"
    return f"it has {len(named)} states, and a head tells two apart"


def _fit(
    features: FloatArray, cells: pd.DataFrame, split: SplitRows, labels: Labels, column: str, seed: int
) -> StateHead | str:
    units = unit_ids(cells, split.statement.unit)
    fit = split.fit & labels.known
    train = ProbeData(features[fit], labels.label[fit], units[fit])
    rows = ProbeData(features[split.test], labels.label[split.test], units[split.test])
    why = labels.why_none or why_no_probe(train, rows)
    if why is None and not (split.test & labels.known).any():
        why = "no test row has a label"
    if why is not None:
        return why
    probe = fit_probe(train, rows, split_unit=split.statement.unit, seed=seed)
    return StateHead(
        column=column,
        positive=labels.positive,
        negative=labels.negative,
        linear=probe.head,
        how_chosen=probe.how_chosen,
        label=labels.label,
        known=labels.known,
        logit=probe.head.logit(features),
    )
