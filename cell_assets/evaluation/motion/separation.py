"""Smoothness beside identity as numbers of an evaluation, of its test cells."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from cell_assets.evaluation.motion.identity_study import REPORT, study_identity
from cell_assets.evaluation.scores.scoring import score_notes
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation, canonical_order, number_of
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.evaluation.units import FloatArray


def with_identity(
    evaluation: EmbeddingEvaluation,
    features: FloatArray,
    cells: pd.DataFrame,
    states: Sequence[Labels],
    parameters: StudyParameters,
) -> EmbeddingEvaluation:
    """`evaluation` with the study of identity, its numbers and notes behind its own.

    Args:
        features: (N, D), finite.
        cells: N rows: `plate, fov_name, track_id, t, split`, in any order.
        states: annotated states of the same rows.
    """
    settings = evaluation.settings
    order = canonical_order(cells)
    order = order[(cells["split"].astype(str) == settings.test_split).to_numpy()[order]]
    study = study_identity(
        features[order],
        cells.iloc[order].reset_index(drop=True),
        [labels.reordered(order) for labels in states],
        split_unit=settings.split_unit,
        interval_min=settings.interval_min,
        neighbours=parameters.neighbours,
        gap_frames=parameters.identity_gap_frames,
        seed=settings.seed,
        n_resamples=settings.n_resamples,
    )
    stated = list(study.stated())
    numbers = [
        number_of(score, REPORT, units_name, evaluation.split.short, settings) for score, units_name in stated
    ]
    notes = (*study.notes, *score_notes(REPORT, [score for score, _ in stated]))
    return replace(
        evaluation,
        numbers=(*evaluation.numbers, *numbers),
        notes=(*evaluation.notes, *notes),
        identity=study,
    )
