"""Which cells the animated page shows of a study, and by what they are coloured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.state_calls import time_axis
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.evaluation.studies.independent_study import INDEPENDENT_SUFFIX
from cell_assets.evaluation.units import FloatArray, IntArray, unit_ids
from cell_assets.reporting.dynamics_page import MovingCells, render_dynamics_page
from cell_assets.reporting.embedding_figures import Colouring, Projection

PREDICTED = "predicted"
"""Ends the title of a colouring by what probes say."""
_KEYS = ["plate", "fov_name", "track_id", "t"]


def dynamics_page(study: EmbeddingStudy, projections: Sequence[Projection], title: str) -> str | None:
    """The animated page of a study's test cells, coloured by annotation and by what the probe says.

    Cells of independent plates stand beside them, in the test cells' principal components alone: a UMAP of one set
    says nothing of another. None where there is a single time point.

    Args:
        projections: of all cells of the study.
    """
    settings, cells = study.evaluation.settings, study.embedded.cells
    rows = np.flatnonzero((cells["split"].astype(str) == settings.test_split).to_numpy())
    if settings.interval_min is None or cells["t"].iloc[rows].nunique() < 2:
        return None
    hours, time_title = hours_of(cells, settings.interval_min)
    colourings = states_seen_and_predicted(cells, rows, study.annotations, study.evaluation.tasks)
    if not colourings:
        colourings = (Colouring("condition", cells["condition"].iloc[rows]),)
    strangers = _independent_cells(study, time_title)
    if strangers is not None and study.independent is not None:
        projections = [_shared_axes(study.independent.own_pca)]
    test = MovingCells(
        title="Test cells",
        track=unit_ids(cells, SplitUnit.TRACK)[rows],
        plate=unit_ids(cells, SplitUnit.PLATE)[rows],
        time=hours[rows],
        interval=settings.interval_min / 60,
        projections=tuple(Projection(one.name, one.xy[rows], one.axis_titles) for one in projections),
        colourings=colourings,
    )
    return render_dynamics_page(
        title,
        [test] if strangers is None else [test, strangers],
        time_title=time_title,
        is_simulated=settings.simulated,
        seed=settings.seed,
    )


def _independent_cells(study: EmbeddingStudy, time_title: str) -> MovingCells | None:
    """None where there are none, or where their hours count from something else than those of the test cells."""
    found = study.independent
    if found is None or found.interval_min is None:
        return None
    hours, counted_from = hours_of(found.cells, found.interval_min)
    if counted_from != time_title:
        return None
    tasks = [replace(task, name=task.name.removesuffix(INDEPENDENT_SUFFIX)) for task in found.tasks]
    rows = np.arange(len(found.cells))
    colourings = states_seen_and_predicted(found.cells, rows, found.annotations, tasks)
    return MovingCells(
        title=f"Independent plates {', '.join(found.plates)}",
        track=unit_ids(found.cells, SplitUnit.TRACK),
        plate=unit_ids(found.cells, SplitUnit.PLATE),
        time=hours,
        interval=found.interval_min / 60,
        projections=(_shared_axes(found.pca),),
        colourings=colourings or (Colouring("condition", found.cells["condition"].astype(str)),),
    )


def _shared_axes(pca: FloatArray) -> Projection:
    return Projection("PCA", pca, ("PC 1", "PC 2"))


def hours_of(cells: pd.DataFrame, interval_min: float) -> tuple[FloatArray, str]:
    """Time of every row (N,) in hours, and since when: the perturbation where it is known, else the first frame."""
    axis = time_axis(cells, interval_min)
    if axis.unit == "h":
        return axis.values, axis.title
    return np.round(axis.values / 60.0, 6), "hours since the first frame"


def states_seen_and_predicted(
    cells: pd.DataFrame, rows: IntArray, annotations: Mapping[str, pd.Series], tasks: Sequence[TaskEvaluation]
) -> tuple[Colouring, ...]:
    """Two colourings of `rows` for every annotated column that a probe predicts, or for divisions where none is.

    Args:
        annotations: every column, of all cells.
    """
    found: list[Colouring] = []
    for column, values in annotations.items():
        about = [task for task in tasks if task.name in (column, f"{column}_{task.positive}")]
        predicted = _predicted(cells.iloc[rows], about)
        if predicted is not None:
            found += [
                Colouring(f"{column}, annotated", values.iloc[rows]),
                Colouring(f"{column}, {PREDICTED}", predicted),
            ]
    if found:
        return tuple(found)
    for task in tasks:
        predicted = _predicted(cells.iloc[rows], [task])
        if predicted is not None:
            joined = _joined(cells.iloc[rows], task)
            known = joined["label"].map({True: task.positive, False: task.negative})
            called = Colouring(f"{task.name}, {PREDICTED}", predicted)
            return (
                (Colouring(f"{task.name}, as tracked", known), called) if known.notna().any() else (called,)
            )
    return ()


def _predicted(cells: pd.DataFrame, tasks: Sequence[TaskEvaluation]) -> pd.Series | None:
    """State that the probe sees in every row: of several states the likeliest. None where there is no probe."""
    tasks = [task for task in tasks if "probability" in task.predictions and len(task.predictions)]
    if not tasks:
        return None
    seen = np.column_stack([_joined(cells, task)["probability"].to_numpy(dtype=np.float64) for task in tasks])
    known = np.isfinite(seen).all(axis=1)
    if len(tasks) == 1:
        states = np.where(seen[:, 0] >= DECISION, tasks[0].positive, tasks[0].negative)
    else:
        states = np.array([task.positive for task in tasks])[np.argmax(np.nan_to_num(seen), axis=1)]
    return pd.Series([state if is_known else None for state, is_known in zip(states, known, strict=True)])


def _joined(cells: pd.DataFrame, task: TaskEvaluation) -> pd.DataFrame:
    plain = cells[_KEYS].astype({"plate": str, "fov_name": str})
    return plain.merge(task.predictions, on=_KEYS, how="left", validate="one_to_one")
