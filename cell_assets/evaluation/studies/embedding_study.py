"""From published embeddings and annotations to one evaluation: which questions are asked, against which rivals."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.cell_features import CellFeatures, ratio_baselines
from cell_assets.evaluation.features.feature_correlation import (
    FeatureCorrelations,
    correlate_features,
    with_feature_correlations,
)
from cell_assets.evaluation.features.remodelling import (
    Remodelling,
    study_remodelling,
    unseen_channels,
    with_remodelling,
)
from cell_assets.evaluation.manifest import condition_of
from cell_assets.evaluation.motion.disruption_study import TrackDisruptions
from cell_assets.evaluation.motion.division_steps import (
    DivisionSteps,
    study_division_steps,
    with_division_steps,
)
from cell_assets.evaluation.motion.separation import with_identity
from cell_assets.evaluation.scores.confounder import find_confounder, with_confounder
from cell_assets.evaluation.scores.further_splits import study_further_splits, with_further_splits
from cell_assets.evaluation.scores.predicted_states import PredictedStates, given_predictions
from cell_assets.evaluation.scores.scoring import BOTH
from cell_assets.evaluation.scores.task_scores import Baseline, combined
from cell_assets.evaluation.scores.tasks import Labels, about_to_divide, annotation_labels, joined_annotation
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.state_dynamics import (
    StateDynamics,
    study_state_dynamics,
    with_state_dynamics,
)
from cell_assets.evaluation.studies.evaluate import (
    EmbeddingEvaluation,
    EvaluationSettings,
    Space,
    canonical_order,
    evaluate_embedding,
)
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.evaluation.umap_axes import COMPONENTS, umap_axes
from cell_assets.evaluation.units import FloatArray

if TYPE_CHECKING:
    from cell_assets.evaluation.studies.independent_study import IndependentStudy

MOST_CLASSES = 6
"""A column with more values than this is no state but a measurement or a name, and is not probed."""

LENGTH_ALONE = "length_alone"


@dataclass(frozen=True)
class EmbeddedCells:
    """The embeddings of all plates of an experiment, row by row."""

    features: FloatArray
    """(N, D)"""
    cells: pd.DataFrame
    """N rows: `plate, fov_name, track_id, t, split`, conditions, …"""
    pca: FloatArray
    """(N, 2), fitted on all rows."""
    umap: FloatArray | None
    """(N, 2); as it is read, None for several plates, whose own were fitted apart and do not compare."""
    channels: tuple[str, ...] | None = None
    """That the network saw, of any plate; None where the embeddings are older than their word of it."""
    projections: FloatArray | None = None
    """(N, P): what the loss saw; None where the embeddings hold none."""


@dataclass(frozen=True)
class EmbeddingStudy:
    """An evaluation and the cells that it is about."""

    embedded: EmbeddedCells
    evaluation: EmbeddingEvaluation
    annotations: Mapping[str, pd.Series]
    """Every annotation column, aligned with the cells."""
    dynamics: tuple[StateDynamics, ...] = ()
    """Of every annotation column of two states; their numbers stand among those of the evaluation."""
    disruptions: TrackDisruptions | None = None
    """Of tracks whose centroids are known in µm."""
    divisions: DivisionSteps | None = None
    correlations: FeatureCorrelations | None = None
    """Of the first principal components with measured features, where these were given."""
    remodelling: tuple[Remodelling, ...] = ()
    """Of channels that the network did not see, around the onset of every state."""
    independent: "IndependentStudy | None" = None
    """On plates of other experiments, where some were chosen; its numbers stand among those of the evaluation."""


def read_embeddings(folders: Sequence[Path]) -> EmbeddedCells:
    """Join the `embeddings.zarr` of several folders, one per plate.

    Raises:
        BadInputError: there is none, none has a cell, or their features differ in number.
    """
    if not folders:
        raise BadInputError("no embeddings were given: materialise them for at least one plate")
    tables = [anndata.read_zarr(folder / "embeddings.zarr") for folder in folders]
    widths = sorted({table.n_vars for table in tables})
    if len(widths) > 1:
        raise BadInputError(
            f"embeddings have {' and '.join(map(str, widths))} features: make them again with one checkpoint"
        )
    if not any(table.n_obs for table in tables):
        raise BadInputError("no plate's embeddings hold a cell: every cell image is left out by thresholds")
    features = np.concatenate([np.asarray(table.X, dtype=np.float64) for table in tables])
    cells = pd.concat([table.obs for table in tables if table.n_obs], ignore_index=True)
    cells = cells.assign(condition=condition_of(cells))
    umap = tables[0].obsm.get("X_umap") if len(tables) == 1 else None
    return EmbeddedCells(
        features=features,
        cells=cells,
        pca=PCA(2, svd_solver="full").fit_transform(features) if len(features) > 1 else features[:, :2],
        umap=None if umap is None else np.asarray(umap, dtype=np.float64),
        projections=_projections(tables),
        channels=_channels(tables),
    )


def _projections(tables: Sequence[anndata.AnnData]) -> FloatArray | None:
    if not all("X_projection" in table.obsm for table in tables):
        return None
    return np.concatenate([np.asarray(table.obsm["X_projection"], dtype=np.float64) for table in tables])


def _channels(tables: Sequence[anndata.AnnData]) -> tuple[str, ...] | None:
    if not all("channels" in table.uns for table in tables):
        return None
    return tuple(sorted({name for table in tables for name in json.loads(str(table.uns["channels"]))}))


def study_embeddings(
    embedded: EmbeddedCells,
    states: pd.DataFrame | None,
    *,
    tracks: pd.DataFrame,
    method: str,
    split_unit: SplitUnit,
    interval_min: float | None,
    simulated: bool,
    parameters: StudyParameters,
    features: CellFeatures | None = None,
    predicted: PredictedStates | None = None,
) -> EmbeddingStudy:
    """Ask whether the embedding knows which cells are about to divide, and every annotated state.

    Cell length alone answers beside it where every cell has one: a probe on some of the cells would not compare.
    So does the nuclear over the cytoplasmic mean of each fluorescence channel, where features were measured.

    Args:
        tracks: `plate, fov_name, track_id, parent_track_id, t`, with the last time point of every track, also where
            that is left out of the embeddings.
        states: `plate, fov_name, track_id, t` and one column per annotation; None when nothing is annotated.
        features: measured features of the same cells.
        predicted: by a segmentation that was trained on the same annotations, for the task of its column.
    """
    confounder = find_confounder(states, parameters.confounder)
    cells = embedded.cells
    if embedded.umap is None and cells["plate"].nunique() > 1:
        embedded = replace(embedded, umap=joint_umap(embedded.features, cells, parameters.seed))
    horizon = parameters.horizon_min or interval_min or 1.0
    tasks = [about_to_divide(cells, interval_min, horizon, tracks)]
    annotations: dict[str, pd.Series] = {}
    two_states: list[Labels] = []
    if states is not None:
        for column in sorted(set(states.columns) - {"plate", "fov_name", "track_id", "t"}):
            annotations[column] = joined_annotation(cells, states, column)
            about_column = state_tasks(cells, states, column, annotations[column])
            tasks += about_column
            two_states += about_column if len(about_column) == 1 else []
    length = length_alone(cells)
    ratios, notes = ([], ()) if features is None else ratio_baselines(features)
    rivals = [*length, *_with_length(embedded.features, length), *ratios]
    evaluation = evaluate_embedding(
        embedded.features,
        cells,
        tasks,
        EvaluationSettings(
            method=method,
            split_unit=split_unit,
            interval_min=interval_min,
            simulated=simulated,
            seed=parameters.seed,
            n_resamples=parameters.n_resamples,
            max_lag=parameters.max_lag,
        ),
        baselines=rivals,
        projections=embedded.projections,
        spaces=() if embedded.umap is None else (Space("umap", embedded.umap),),
        given=None if predicted is None else given_predictions(predicted, cells, tasks),
    )
    further = study_further_splits(
        evaluation,
        embedded.features,
        cells,
        tasks,
        rivals,
        folds=parameters.folds,
        halved={task.name for task in tasks[1:]},
    )
    evaluation = with_further_splits(evaluation, further)
    evaluation = with_identity(evaluation, embedded.features, cells, tasks[1:], parameters)
    columns = [task.name for task in two_states]
    evaluation = with_confounder(evaluation, states, columns, confounder)
    evaluation = replace(evaluation, notes=(*evaluation.notes, *_notes_on_states(annotations, columns)))
    dynamics = study_state_dynamics(evaluation, embedded.features, cells, two_states)
    divisions = study_division_steps(embedded.features, cells, evaluation, tracks, horizon)
    evaluation = with_division_steps(with_state_dynamics(evaluation, dynamics), divisions)
    if features is None:
        return EmbeddingStudy(embedded, evaluation, annotations, dynamics, divisions=divisions)
    correlations = correlate_features(
        embedded.features,
        cells,
        features,
        test_split=evaluation.settings.test_split,
        seed=parameters.seed,
        n_resamples=parameters.n_resamples,
    )
    evaluation = with_feature_correlations(
        replace(evaluation, notes=(*evaluation.notes, *notes)), correlations
    )
    unseen = () if embedded.channels is None else unseen_channels(features, embedded.channels)
    remodelling = study_remodelling(evaluation.settings, cells, features, dynamics, unseen)
    return EmbeddingStudy(
        embedded,
        with_remodelling(evaluation, remodelling),
        annotations,
        dynamics,
        divisions=divisions,
        correlations=correlations,
        remodelling=remodelling,
    )


def joint_umap(features: FloatArray, cells: pd.DataFrame, seed: int) -> FloatArray | None:
    """(N, 2), whatever the order of rows; None where there are too few."""
    order = canonical_order(cells)
    components = PCA(min(COMPONENTS, *features.shape), svd_solver="full").fit_transform(features[order])
    placed = umap_axes(components, seed=seed).xy
    if placed is None:
        return None
    xy = np.empty(placed.shape)
    xy[order] = placed
    return xy


def state_tasks(cells: pd.DataFrame, states: pd.DataFrame, column: str, values: pd.Series) -> list[Labels]:
    """One task for a column of two states (the rarer is the positive one), one per state for a few more."""
    if pd.api.types.is_numeric_dtype(values):
        return []
    counts = values.value_counts()
    if not 2 <= len(counts) <= MOST_CLASSES:
        return []
    if len(counts) == 2:
        positive, negative = sorted(counts.index, key=lambda state: (counts[state], state))
        return [annotation_labels(cells, states, column, positive, negative)]
    return [
        annotation_labels(cells, states, column, state, name=f"{column}_{state}")
        for state in sorted(counts.index)
    ]


def _notes_on_states(annotations: Mapping[str, pd.Series], studied: Collection[str]) -> list[str]:
    """Why columns of states are not followed over time, though they are annotated."""
    notes = []
    for column, values in annotations.items():
        if column in studied or pd.api.types.is_numeric_dtype(values):
            continue
        found = sorted(map(str, values.dropna().unique()))
        few = ", ".join(found[:MOST_CLASSES]) + (", …" if len(found) > MOST_CLASSES else "")
        notes.append(
            f"{column} is annotated as {few or 'nothing in any embedded cell'}: fractions over time, onsets, survival "
            "and calls in mitosis are stated of columns of two states; correct what is misspelt, or name what says "
            "nothing in unused_states of the report"
        )
    return notes


def length_alone(cells: pd.DataFrame) -> list[Baseline]:
    """Cell length as a rival of the embedding, where every cell has one."""
    length = pd.to_numeric(cells["length_um"], errors="coerce")
    if length.isna().any():
        return []
    return [Baseline(LENGTH_ALONE, "cell length alone", length.to_numpy(dtype=np.float64, na_value=np.nan))]


def _with_length(features: FloatArray, baselines: Sequence[Baseline]) -> list[Baseline]:
    """Does the embedding add to length? Both through the same probe."""
    return [
        combined(features, baseline, BOTH, "embedding and cell length")
        for baseline in baselines
        if baseline.name == LENGTH_ALONE
    ]
