"""The same questions on other splits: folds of lineages where nothing is held out, half of the test as in Table 1."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd

from cell_assets.evaluation.scores.probe_splits import ProbeSplit, half_of_test_tracks, lineage_folds
from cell_assets.evaluation.scores.scoring import METRICS
from cell_assets.evaluation.scores.task_scores import Baseline, TaskEvaluation, evaluate_task
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.studies.evaluate import (
    EmbeddingEvaluation,
    canonical_order,
    number_of,
)
from cell_assets.evaluation.units import FloatArray

TABLE_1 = ("balanced_accuracy", "accuracy", "f1")
"""Metrics of DynaCLR's Table 1, and the one that a rare class cannot flatter."""


def study_further_splits(
    evaluation: EmbeddingEvaluation,
    features: FloatArray,
    cells: pd.DataFrame,
    tasks: Sequence[Labels],
    baselines: Sequence[Baseline],
    *,
    folds: int | None,
    halved: Collection[str],
) -> tuple[TaskEvaluation, ...]:
    """Every task by folds of lineages where `folds` are asked for; those named in `halved` by half of the test.

    Args:
        features: (N, D), finite.
        cells: N rows: `plate, fov_name, track_id, lineage_root, t, split`, in any order.
        halved: names of tasks whose labels people gave.
    """
    order = canonical_order(cells)
    cells, features = cells.iloc[order].reset_index(drop=True), features[order]
    settings = evaluation.settings
    ordered = [baseline.reordered(order) for baseline in baselines]

    def evaluated(labels: Labels, split: ProbeSplit, suffix: str, names: Sequence[str]) -> TaskEvaluation:
        found = evaluate_task(
            features,
            cells,
            replace(labels, name=f"{labels.name}_{suffix}"),
            ordered,
            split,
            seed=settings.seed,
            n_resamples=settings.n_resamples,
            source_rows=order,
            names=names,
        )
        return found if split.note is None else replace(found, notes=(split.note, *found.notes))

    found = []
    used = cells["split"].astype(str).isin(list(Split)).to_numpy()
    test = (cells["split"].astype(str) == settings.test_split).to_numpy()
    for labels in (task.reordered(order) for task in tasks):
        if folds is not None:
            split = lineage_folds(cells, labels, used, folds)
            found.append(evaluated(labels, split, "by_lineage_folds", METRICS))
        if labels.name in halved:
            split = half_of_test_tracks(cells, labels, test, settings.seed)
            found.append(evaluated(labels, split, "half_of_test", TABLE_1))
    return tuple(found)


def with_further_splits(
    evaluation: EmbeddingEvaluation, found: Sequence[TaskEvaluation]
) -> EmbeddingEvaluation:
    """`evaluation` with these tasks, their numbers and notes behind its own."""
    numbers = [
        number_of(score, task.name, task.n_units_name, task.split, evaluation.settings)
        for task in found
        for score in task.scores
    ]
    return replace(
        evaluation,
        numbers=(*evaluation.numbers, *numbers),
        notes=(*evaluation.notes, *(note for task in found for note in task.notes)),
        further=(*evaluation.further, *found),
    )
