"""What a report shows of independent plates: where their cells lie, how well probes do, and states over time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.evaluation.scores.tasks import INDEPENDENT_SUFFIX
from cell_assets.evaluation.states.onset import COVERAGE
from cell_assets.evaluation.states.onset_scores import Onsets
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.states.state_dynamics import StateDynamics
from cell_assets.evaluation.states.state_fraction import ConditionFraction
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.evaluation.studies.independent_study import IndependentStudy
from cell_assets.reporting.dynamics_figures import fraction_figure
from cell_assets.reporting.dynamics_report import by_track
from cell_assets.reporting.embedding_figures import Colouring, Projection, scatter_figure
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.moving_cells import PREDICTED, states_seen_and_predicted
from cell_assets.reporting.remodelling_figures import remodelling_figures
from cell_assets.reporting.wording import estimate_text, title_text, value_text

HEADING = "Independent plates"
TRACKS = "tracks of independent plates"


def independent_figures(study: EmbeddingStudy, umap: Projection | None = None) -> tuple[ReportFigure, ...]:
    """Figures under a heading of their own; none where no plates were chosen.

    `umap` holds the experiment's own cells, followed by those of the independent plates (Fig. 3a).
    """
    found = study.independent
    if found is None:
        return ()
    return (
        _scatter(study, found, umap),
        *_over_time(found),
        *remodelling_figures(found.remodelling, f"{HEADING}: ", TRACKS),
    )


def _scatter(study: EmbeddingStudy, found: IndependentStudy, umap: Projection | None) -> ReportFigure:
    n_own = len(found.own_pca)
    own, theirs = "the experiment's own", HEADING.lower()
    colourings = [Colouring("plates", pd.Series([own] * n_own + [theirs] * len(found.pca)))]
    colourings += [
        Colouring(title_text(column), pd.concat([study.annotations[column], values], ignore_index=True))
        for column, values in found.annotations.items()
        if not pd.api.types.is_numeric_dtype(study.annotations[column])
    ]
    colourings += predicted_of_both(study, found)
    xy = np.concatenate([found.own_pca, found.pca])
    sentences = [
        f"One point per cell and time point of the experiment's own plates and of {', '.join(found.plates)}, which the "
        "model was not trained on, on principal axes of the former"
        + (" and in a UMAP of all." if umap is not None else "."),
        f"What is predicted is shown of the latter and of the experiment's {study.evaluation.settings.test_split} "
        "cells, whose predictions the scores are of; grey are cells that the probes learned from.",
        *(_scored(task) for task in found.tasks),
    ]
    return ReportFigure(
        "independent_projection",
        f"{HEADING}: where their cells lie",
        " ".join(sentences),
        scatter_figure(
            [Projection("PCA", xy, ("PC 1", "PC 2")), *([] if umap is None else [umap])], colourings
        ),
    )


def predicted_of_both(study: EmbeddingStudy, found: IndependentStudy) -> tuple[Colouring, ...]:
    """What probes say of the experiment's own cells (N), test cells alone, followed by the independent ones (M).

    One of each question that both are asked (DynaCLR, Fig. 3b).
    """
    cells = study.embedded.cells
    own = {
        one.title: one.values
        for one in states_seen_and_predicted(
            cells, np.arange(len(cells)), study.annotations, study.evaluation.tasks
        )
    }
    tasks = [replace(task, name=task.name.removesuffix(INDEPENDENT_SUFFIX)) for task in found.tasks]
    return tuple(
        Colouring(title_text(one.title), pd.concat([own[one.title], one.values], ignore_index=True))
        for one in states_seen_and_predicted(
            found.cells, np.arange(len(found.cells)), found.annotations, tasks
        )
        if one.title.endswith(PREDICTED) and one.title in own
    )


def _scored(task: TaskEvaluation) -> str:
    about = title_text(task.name.removesuffix("_independent"))
    accuracy, f1 = task.score("accuracy"), task.score("f1")
    if accuracy.value is None:
        return f"{about}: no score, because {accuracy.why_missing}."
    return (
        f"{about}, by the probe of the experiment's own scores: accuracy {estimate_text(accuracy)}, F1 "
        f"{'not defined' if f1.value is None else estimate_text(f1)}, on {task.n_test_rows} annotated cell images."
    )


def _over_time(found: IndependentStudy) -> Sequence[ReportFigure]:
    return [
        ReportFigure(
            name=f"{one.calls.column}_over_time",
            title=f"{HEADING}: fraction {title_text(one.calls.direction.state)} over time",
            caption=" ".join(_caption(found, one, one.calls)),
            png=fraction_figure(one.calls, one),
        )
        for one in found.dynamics
        if one.calls is not None
    ]


def _caption(found: IndependentStudy, one: StateDynamics, calls: StateCalls) -> list[str]:
    filmed = "" if found.interval_min is None else f", filmed every {found.interval_min:g} min"
    return [
        f"Fraction of the cells of {', '.join(found.plates)}{filmed} that a probe of annotated train and "
        f"val tracks of the experiment's own plates calls {calls.direction.state}.",
        *(_growth(fraction, calls) for fraction in one.fractions),
        *by_track(one),
        f"No onsets: {one.why_no_onset}." if one.onsets is None else _onsets(one.onsets),
    ]


def _growth(one: ConditionFraction, calls: StateCalls) -> str:
    growth = one.growth
    if growth.plateau.value is None or growth.plateau_time.value is None:
        return f"{one.condition}: no plateau, because {growth.plateau.why_missing}."
    return (
        f"{one.condition}: plateaus at {estimate_text(growth.plateau)}, reached at "
        f"{estimate_text(growth.plateau_time)} {calls.time_title}."
    )


def _onsets(onsets: Onsets) -> str:
    if onsets.radius.value is None:
        return f"No intervals of onset: {onsets.radius.why_missing}."
    if onsets.coverage.value is None:
        held = f"whether they hold cannot be told, because {onsets.coverage.why_missing}"
    else:
        held = f"here they hold a share of {estimate_text(onsets.coverage)}"
    return (
        f"Intervals of onset of ± {value_text(onsets.radius.value)} {onsets.error_unit} around the middle between two "
        f"frames, calibrated to hold {100 * COVERAGE:g} % on {onsets.radius.n_units} train and val tracks of the "
        "experiment's own plates, thinned to these plates' frames, promise nothing for other plates: "
        f"{held}. Where between two frames an onset lies nobody saw; every place counts as likely."
    )
