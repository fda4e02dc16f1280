"""Which cells the animated page shows of a study, and by what they are coloured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class _Film:
    """Cells of one set, filmed at one interval."""

    title: str
    cells: pd.DataFrame
    rows: IntArray
    """Of `cells`, which are shown."""
    interval_min: float
    annotations: Mapping[str, pd.Series]
    """By column, of all `cells`."""
    tasks: Sequence[TaskEvaluation]
    projections: Sequence[Projection]
    """Of all `cells`."""


def dynamics_page(
    study: EmbeddingStudy, projections: Sequence[Projection], title: str, joint_umap: Projection | None = None
) -> str | None:
    """The animated page of a study's test cells, coloured by annotation and by what the probe says.

    Cells of independent plates stand beside them, in the principal components of the experiment's own cells and in the
    UMAP of both: a UMAP of one set says nothing of another. None where the test cells have a single time point.

    Args:
        projections: of all cells of the study.
        joint_umap: of all cells of the study, followed by those of the independent plates.
    """
    settings, cells, found = study.evaluation.settings, study.embedded.cells, study.independent
    rows = np.flatnonzero((cells["split"].astype(str) == settings.test_split).to_numpy())
    if settings.interval_min is None or cells["t"].iloc[rows].nunique() < 2:
        return None
    own = _Film(
        "Test cells",
        cells,
        rows,
        settings.interval_min,
        study.annotations,
        study.evaluation.tasks,
        projections,
    )
    films, notes = [own], []
    if found is not None:
        name = f"Independent plates {', '.join(found.plates)}"
        if found.interval_min is None:
            notes.append(f"{name} are not shown: they have a single time point or no time interval.")
        else:
            films = [
                replace(own, projections=_projections(found.own_pca, joint_umap, slice(len(cells)))),
                _Film(
                    name,
                    found.cells,
                    np.arange(len(found.cells)),
                    found.interval_min,
                    found.annotations,
                    [replace(task, name=task.name.removesuffix(INDEPENDENT_SUFFIX)) for task in found.tasks],
                    _projections(found.pca, joint_umap, slice(len(cells), None)),
                ),
            ]
    axes = [time_axis(film.cells, film.interval_min) for film in films]
    is_known = [axis.unit == "h" for axis in axes]
    if any(is_known) and not all(is_known):
        notes.append(
            "Hours count from the first frame: when cells were perturbed is not known of all plates that are shown."
        )
    return render_dynamics_page(
        title,
        [
            _moving(film, axis.values if all(is_known) else _hours_since_first_frame(film))
            for film, axis in zip(films, axes, strict=True)
        ],
        time_title=axes[0].title if all(is_known) else "hours since the first frame",
        is_simulated=settings.simulated,
        notes=notes,
        seed=settings.seed,
    )


def _projections(pca: FloatArray, joint_umap: Projection | None, which: slice) -> tuple[Projection, ...]:
    shared = Projection("PCA", pca, ("PC 1", "PC 2"))
    if joint_umap is None:
        return (shared,)
    return shared, replace(joint_umap, xy=joint_umap.xy[which])


def _hours_since_first_frame(film: _Film) -> FloatArray:
    return np.round(film.cells["t"].to_numpy(dtype=np.float64) * film.interval_min / 60, 6)


def _moving(film: _Film, hours: FloatArray) -> MovingCells:
    """`hours` (N,) are those of all cells of the film."""
    cells, rows = film.cells, film.rows
    colourings = states_seen_and_predicted(cells, rows, film.annotations, film.tasks)
    return MovingCells(
        title=film.title,
        track=unit_ids(cells, SplitUnit.TRACK)[rows],
        plate=unit_ids(cells, SplitUnit.PLATE)[rows],
        time=hours[rows],
        interval=film.interval_min / 60,
        projections=tuple(replace(one, xy=one.xy[rows]) for one in film.projections),
        colourings=colourings or (Colouring("condition", cells["condition"].iloc[rows]),),
    )


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
