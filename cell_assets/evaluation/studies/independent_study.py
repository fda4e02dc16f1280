"""A model and its probes on plates of other experiments, from which nothing was learned (DynaCLR, section 3.2).

Every probe is the one of the experiment's own scores and dynamics: fitted on the same rows, in the same order, with
the same seed. The two sets of plates may have been filmed at different intervals, so that frames do not compare:
onsets are compared in hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.cell_features import CellFeatures
from cell_assets.evaluation.features.remodelling import (
    Remodelling,
    remodelling_numbers,
    study_remodelling,
    unseen_channels,
)
from cell_assets.evaluation.resampling import stated_split
from cell_assets.evaluation.scores.predicted_states import (
    INDEPENDENT_SPLIT,
    PredictedStates,
    given_predictions,
)
from cell_assets.evaluation.scores.probe_splits import Part, ProbeSplit
from cell_assets.evaluation.scores.task_scores import GivenPrediction, TaskEvaluation, evaluate_task
from cell_assets.evaluation.scores.tasks import (
    INDEPENDENT_SUFFIX,
    Labels,
    annotation_labels,
    joined_annotation,
)
from cell_assets.evaluation.splits import Split, SplitUnit
from cell_assets.evaluation.states.state_calls import StateCalls, call_states
from cell_assets.evaluation.states.state_dynamics import (
    StateDynamics,
    dynamics_notes,
    dynamics_numbers,
    dynamics_of,
)
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, state_tasks
from cell_assets.evaluation.studies.evaluate import canonical_order
from cell_assets.evaluation.studies.independent_rivals import length_of_both, ratios_of_both
from cell_assets.evaluation.units import BoolArray, FloatArray
from cell_assets.ledger.records import NumberDraft

INDEPENDENT = "independent plates"
"""Their numbers' split."""


@dataclass(frozen=True)
class IndependentCells:
    """Embedded cells of plates that nothing was learned from."""

    embedded: EmbeddedCells
    states: pd.DataFrame | None
    """As `study_embeddings` takes them."""
    interval_min: float | None
    """Minutes between time points; None for a single one."""
    simulated: bool
    notes: tuple[str, ...] = ()
    features: CellFeatures | None = None
    """Measured, of the same cells; a report of an earlier version read none."""

    @property
    def plates(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(sorted(self.embedded.cells["plate"].astype(str).unique()))


@dataclass(frozen=True)
class IndependentStudy:
    """What the experiment's model and probes make of them."""

    cells: pd.DataFrame
    """M cell images."""
    features: FloatArray
    """(M, D)"""
    plates: tuple[str, ...]
    interval_min: float | None
    tasks: tuple[TaskEvaluation, ...]
    """One for each of the experiment's questions about an annotation, its name ending in `_independent`."""
    dynamics: tuple[StateDynamics, ...]
    """Of every annotation column of two states; calibration tracks are the experiment's own train and val tracks."""
    numbers: tuple[NumberDraft, ...]
    notes: tuple[str, ...]
    remodelling: tuple[Remodelling, ...]
    """Of channels that the network did not see, around the onset of every state (Fig. 6)."""
    own_pca: FloatArray
    """(N, 2) of the experiment's own cells, fitted on them."""
    pca: FloatArray
    """(M, 2) on the same axes."""
    annotations: Mapping[str, pd.Series]
    """(M,) by column."""


@dataclass(frozen=True)
class _Joined:
    """Own and independent rows together, in canonical order."""

    features: FloatArray
    cells: pd.DataFrame
    is_independent: BoolArray
    order: np.ndarray
    """Places of the rows in own cells followed by independent ones."""


def study_independent(
    study: EmbeddingStudy,
    own_states: pd.DataFrame | None,
    independent: IndependentCells,
    own_features: CellFeatures | None = None,
    predicted: PredictedStates | None = None,
) -> EmbeddingStudy:
    """`study` with what its model and probes make of independent plates, and their numbers behind its own.

    Args:
        own_states: what `study` was made with; so are `own_features`.
        predicted: of the cells of both, by the segmentation that was trained on the experiment's own.

    Raises:
        BadInputError: the plates share a name with the experiment's own, their embeddings have other features, or the
            segmentation learned from another split.
    """
    settings = study.evaluation.settings
    joined = _join(study.embedded, independent.embedded)
    asked = [
        (column, _asked_of_both(study.embedded.cells, own_states, one, column, independent))
        for column, values in study.annotations.items()
        if own_states is not None
        for one in state_tasks(study.embedded.cells, own_states, column, values)
    ]
    labels = [(column, one.reordered(joined.order)) for column, one in asked]
    lengths = length_of_both(study.embedded.cells, independent.embedded.cells)
    ratios, ratio_notes = (
        ([], ())
        if own_features is None or independent.features is None
        else ratios_of_both(own_features, independent.features)
    )
    rivals = [one.reordered(joined.order) for one in (*lengths, *ratios)]
    given = _given(joined, predicted, [one for _, one in labels])
    tasks = tuple(
        evaluate_task(
            joined.features,
            joined.cells,
            one,
            rivals,
            _split(study, joined),
            seed=settings.seed,
            n_resamples=settings.n_resamples,
            source_rows=joined.order,
            given=[given[one.name]] if one.name in given else [],
        )
        for _, one in labels
    )
    dynamics = tuple(
        _dynamics(study, joined, one, independent.interval_min)
        for column, one in labels
        if one.name == f"{column}{INDEPENDENT_SUFFIX}"
    )
    seen = study.embedded.channels
    remodelling = (
        ()
        if independent.features is None or seen is None
        else study_remodelling(
            replace(settings, interval_min=independent.interval_min),
            independent.embedded.cells,
            independent.features,
            dynamics,
            unseen_channels(independent.features, seen),
        )
    )
    simulated = settings.simulated or independent.simulated
    split = stated_split(INDEPENDENT, simulated)
    numbers = (
        *_task_numbers(tasks, settings.method, split),
        *dynamics_numbers(dynamics, settings.method, split),
        *remodelling_numbers(remodelling, settings.method, split),
    )
    notes = (
        _statement(study, independent),
        *independent.notes,
        *ratio_notes,
        *(note for task in tasks for note in task.notes),
        *dynamics_notes(dynamics),
    )
    pca = PCA(2, svd_solver="full").fit(study.embedded.features)
    found = IndependentStudy(
        cells=independent.embedded.cells,
        features=independent.embedded.features,
        plates=independent.plates,
        interval_min=independent.interval_min,
        tasks=tasks,
        dynamics=dynamics,
        numbers=numbers,
        notes=notes,
        remodelling=remodelling,
        own_pca=pca.transform(study.embedded.features),
        pca=pca.transform(independent.embedded.features),
        annotations={
            column: joined_annotation(independent.embedded.cells, independent.states, column)
            for column in study.annotations
            if independent.states is not None and column in independent.states.columns
        },
    )
    evaluation = replace(
        study.evaluation,
        numbers=(*study.evaluation.numbers, *numbers),
        notes=(*study.evaluation.notes, *notes),
    )
    return replace(study, evaluation=evaluation, independent=found)


def _join(own: EmbeddedCells, independent: EmbeddedCells) -> _Joined:
    shared = set(own.cells["plate"].astype(str)) & set(independent.cells["plate"].astype(str))
    if shared:
        raise BadInputError(
            f"plate {min(shared)} is one of the experiment's own; leave it out of independent_plates"
        )
    widths = (own.features.shape[1], independent.features.shape[1])
    if widths[0] != widths[1]:
        raise BadInputError(
            f"embeddings of the independent plates have {widths[1]} features and the experiment's own {widths[0]}; "
            "make them again with one checkpoint"
        )
    # Their own split is of no meaning here; `call_states` scores what is called test.
    strangers = independent.cells.assign(split=Split.TEST.value)
    cells = pd.concat([own.cells, strangers], ignore_index=True)
    order = canonical_order(cells)
    return _Joined(
        np.concatenate([own.features, independent.features])[order],
        cells.iloc[order].reset_index(drop=True),
        np.arange(len(cells))[order] >= len(own.cells),
        order,
    )


def _asked_of_both(
    own: pd.DataFrame,
    own_states: pd.DataFrame,
    asked: Labels,
    column: str,
    independent: IndependentCells,
) -> Labels:
    """The question `asked` of own cells, put to own and then independent ones; counts are of the latter."""
    cells, states = independent.embedded.cells, independent.states
    nothing = np.zeros(len(cells), dtype=np.bool_)
    if states is None or column not in states.columns:
        why = f"nobody annotated {column} on the independent plates"
        theirs = replace(asked, label=nothing, known=nothing, excluded=(), why_unscored=why)
    else:
        negative = asked.negative if asked.name == column else None
        theirs = annotation_labels(cells, states, column, asked.positive, negative, asked.name)
    return replace(
        theirs,
        name=f"{asked.name}{INDEPENDENT_SUFFIX}",
        label=np.concatenate([asked.label, theirs.label]),
        known=np.concatenate([asked.known, theirs.known]),
        why_none=asked.why_none or theirs.why_none,
    )


def _given(
    joined: _Joined, predicted: PredictedStates | None, tasks: Sequence[Labels]
) -> dict[str, GivenPrediction]:
    if predicted is None:
        return {}
    split = joined.cells["split"].astype(str).mask(joined.is_independent, INDEPENDENT_SPLIT)
    return given_predictions(predicted, joined.cells.assign(split=split), tasks, independent=True)


def _split(study: EmbeddingStudy, joined: _Joined) -> ProbeSplit:
    """Intervals are over FOVs where there are enough of them: every FOV of these plates is new."""
    settings = study.evaluation.settings
    learned = joined.cells["split"].astype(str).isin(list(settings.fit_splits)).to_numpy()
    part = Part(learned & ~joined.is_independent, joined.is_independent)
    resampled = (SplitUnit.FOV, SplitUnit.TRACK)
    return ProbeSplit(INDEPENDENT, (part,), settings.split_unit, resampled, len(joined.cells))


def _dynamics(
    study: EmbeddingStudy, joined: _Joined, labels: Labels, interval_min: float | None
) -> StateDynamics:
    settings = study.evaluation.settings
    own_min = settings.interval_min
    if own_min is None or interval_min is None:
        which = "the experiment's own" if own_min is None else "the independent"
        why = f"{which} plates have a single time point or no time interval"
        return StateDynamics(labels.name, None, why_missing=why, why_no_onset=why)
    called = call_states(
        joined.features,
        joined.cells,
        labels,
        interval_min=own_min,
        split_unit=settings.split_unit,
        seed=settings.seed,
    )
    if isinstance(called, str):
        return StateDynamics(labels.name, None, why_missing=called, why_no_onset=called)
    strangers = frozenset(joined.cells.loc[joined.is_independent, "plate"].astype(str))
    calls = _in_hours(called, strangers, own_min, interval_min)
    # Own test rows took part only so that the probe leaves out the same relatives as the experiment's own.
    kept = calls.rows["plate"].isin(strangers) | (calls.rows["split"] != Split.TEST.value)
    calls = replace(calls, rows=calls.rows[kept].reset_index(drop=True))
    return dynamics_of(calls, settings.seed, settings.n_resamples, calibrated_at=own_min / 60)


def _in_hours(
    calls: StateCalls, strangers: frozenset[str], own_min: float, interval_min: float
) -> StateCalls:
    """Hours post perturbation as they stand where all plates know them; else hours since each first frame."""
    if calls.time_unit == "h":
        return replace(calls, interval=interval_min / 60)
    per_frame = np.where(calls.rows["plate"].isin(strangers), interval_min, own_min)
    hours = np.round(calls.rows["t"].to_numpy(dtype=np.float64) * per_frame / 60, 6)
    return replace(
        calls,
        rows=calls.rows.assign(time=hours),
        time_unit="h",
        time_title="hours since the first frame",
        interval=interval_min / 60,
    )


def _task_numbers(tasks: Sequence[TaskEvaluation], method: str, split: str) -> list[NumberDraft]:
    return [
        score.estimate.as_number(
            report=f"{method}/{task.name}",
            name=score.name,
            split=split,
            unit=task.n_units_name,
        )
        for task in tasks
        for score in task.scores
    ]


def _statement(study: EmbeddingStudy, independent: IndependentCells) -> str:
    settings = study.evaluation.settings

    def filmed(interval_min: float | None) -> str:
        return "at one time point" if interval_min is None else f"every {interval_min:g} min"

    return (
        f"Independent plates {', '.join(independent.plates)} ({len(independent.embedded.cells)} cell images, filmed "
        f"{filmed(independent.interval_min)}; the experiment's own {filmed(settings.interval_min)}): the model and "
        f"the probes learned nothing from them. Every annotated cell is scored; whether cells are about to divide is "
        "not asked of them, as it depends on how often they are filmed. Intervals of onset are calibrated on the "
        "experiment's own train and val tracks, in hours, and promise their coverage for such tracks alone."
    )
