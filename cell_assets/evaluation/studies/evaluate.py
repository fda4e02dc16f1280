"""One evaluation of one embedding: probes, smoothness and rank, as numbers that carry their uncertainty.

Nothing is dropped: a score that cannot be computed becomes a number without a value that says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.motion.dynamics import RATIO_LAG, Dynamics, temporal_dynamics
from cell_assets.evaluation.motion.identity_study import IdentityStudy
from cell_assets.evaluation.motion.rank import FeatureSpectrum, feature_spectrum
from cell_assets.evaluation.resampling import Estimate, stated_split
from cell_assets.evaluation.scores.probe_splits import manifest_split
from cell_assets.evaluation.scores.scoring import Score, score_notes
from cell_assets.evaluation.scores.task_scores import Baseline, GivenPrediction, TaskEvaluation, evaluate_task
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import (
    FloatArray,
    SplitStatement,
    plural,
    require_columns,
    split_rows,
    unit_ids,
)
from cell_assets.ledger.records import NumberDraft


@dataclass(frozen=True)
class EvaluationSettings:
    """What decides an evaluation, beside the embeddings and the labels."""

    method: str
    """First part of every number's report name, for example `dynaclr`."""
    split_unit: SplitUnit
    """The unit that the manifest split by."""
    interval_min: float | None
    """Minutes between time points; None for a plate with a single one."""
    simulated: bool
    """Whether the images come from a simulation, which every report then says."""
    seed: int = 0
    n_resamples: int = 1000
    max_lag: int = 10
    """Longest lag of the smoothness curve, in frames (the paper's Figure 2b shows 0 to 10)."""
    fit_splits: tuple[str, ...] = ("train", "val")
    test_split: str = "test"


@dataclass(frozen=True)
class Space:
    """Another view of the same rows (a projection, two UMAP axes) whose smoothness is of interest."""

    name: str
    values: FloatArray
    """(N, D)"""


@dataclass(frozen=True)
class SpaceDynamics:
    """Smoothness in one space; `dynamics` is None exactly when `why_missing` says why."""

    space: str
    dynamics: Dynamics | None
    scores: tuple[Score, ...]
    why_missing: str | None = None


@dataclass(frozen=True)
class EmbeddingEvaluation:
    """Everything that a report states about one embedding, and what its figures draw."""

    numbers: tuple[NumberDraft, ...]
    tasks: tuple[TaskEvaluation, ...]
    dynamics: tuple[SpaceDynamics, ...]
    """Of the features first, then of every further space."""
    spectrum: FeatureSpectrum | None
    split: SplitStatement
    settings: EvaluationSettings
    notes: tuple[str, ...]
    """What a careful reader wants to know: how C was chosen, which resamples were undefined, and the like."""
    further: tuple[TaskEvaluation, ...] = ()
    """The same questions on other splits; see `further_splits`."""
    projection_spectrum: FeatureSpectrum | None = None
    """Of the vectors that the loss sees, where they were given."""
    identity: IdentityStudy | None = None
    """Whether smoothness is of states or of who the cell is; None where it was not studied."""


def evaluate_embedding(
    features: FloatArray,
    cells: pd.DataFrame,
    tasks: Sequence[Labels],
    settings: EvaluationSettings,
    *,
    baselines: Sequence[Baseline] = (),
    projections: FloatArray | None = None,
    spaces: Sequence[Space] = (),
    given: Mapping[str, GivenPrediction] | None = None,
) -> EmbeddingEvaluation:
    """Score `features` (N, D) of `cells` (N rows: plate, fov_name, track_id, t, split, …) on every task.

    Probes learn from `settings.fit_splits` and are scored on `settings.test_split`; smoothness and rank are
    of the test rows. The order of rows does not matter. Raises `BadInputError` when rows do not match, a
    split is empty or overlaps, or a feature is not finite.

    `projections` (N, P) are vectors of the same rows of which the rank alone is stated. `given` is a rival of the task
    of that name that predicts by itself.
    """
    require_columns(cells, ["fov_name", "track_id", "t", "split"], "cell")
    _require_rows(features, cells, tasks, baselines, spaces)
    order = canonical_order(cells)
    cells, features = cells.iloc[order].reset_index(drop=True), features[order]
    split = split_rows(cells, settings.split_unit, settings.fit_splits, settings.test_split)
    task_results = tuple(
        evaluate_task(
            features,
            cells,
            labels.reordered(order),
            [baseline.reordered(order) for baseline in baselines],
            manifest_split(split),
            seed=settings.seed,
            n_resamples=settings.n_resamples,
            source_rows=order,
            given=[given[labels.name].reordered(order)] if given and labels.name in given else [],
        )
        for labels in tasks
    )
    test = split.test
    every_space = [Space("features", features), *(Space(s.name, s.values[order]) for s in spaces)]
    dynamics = tuple(
        _space_dynamics(Space(space.name, space.values[test]), cells[test], settings) for space in every_space
    )
    spectrum = feature_spectrum(features[test])
    projected = None if projections is None else feature_spectrum(projections[order][test])
    groups = [
        *((task.name, task.n_units_name, task.scores) for task in task_results),
        *((_space_report(d.space), plural(SplitUnit.TRACK), d.scores) for d in dynamics),
        ("feature_rank", plural(SplitUnit.TRACK), _rank_scores(spectrum, split.statement)),
    ]
    if projections is not None:
        groups.append(("projection_rank", plural(SplitUnit.TRACK), _rank_scores(projected, split.statement)))
    notes = [note for task in task_results for note in task.notes]
    for about, _, scores in groups[len(task_results) :]:
        notes += score_notes(about, scores)
    return EmbeddingEvaluation(
        numbers=tuple(
            number_of(score, about, n_units_name, split.statement.short, settings)
            for about, n_units_name, scores in groups
            for score in scores
        ),
        tasks=task_results,
        dynamics=dynamics,
        spectrum=spectrum,
        projection_spectrum=projected,
        split=split.statement,
        settings=settings,
        notes=tuple(notes),
    )


def _require_rows(
    features: FloatArray,
    cells: pd.DataFrame,
    tasks: Sequence[Labels],
    baselines: Sequence[Baseline],
    spaces: Sequence[Space],
) -> None:
    sizes = [("features", len(features))]
    sizes += [(f"labels of {task.name}", len(task.label)) for task in tasks]
    sizes += [(f"baseline {baseline.name}", len(baseline.values)) for baseline in baselines]
    sizes += [(f"space {space.name}", len(space.values)) for space in spaces]
    for what, n_rows in sizes:
        if n_rows != len(cells):
            raise BadInputError(
                f"{what} have {n_rows} rows, but the cell table has {len(cells)}; give one each"
            )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        row = cells.iloc[bad[0]]
        raise BadInputError(
            f"{len(bad)} of {len(features)} embeddings are not finite, the first is of {row['fov_name']}, "
            f"track {row['track_id']}, t {row['t']}; look at its patch and at the checkpoint"
        )
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise BadInputError(f"tasks are named {', '.join(names)}; give each a name of its own")


def canonical_order(cells: pd.DataFrame) -> np.ndarray:
    """Places of the rows (N,) by plate, FOV, track and time, so that no result depends on how they came.

    Raises `BadInputError` when a cell has two rows at one time.
    """
    keys = [key for key in ("plate", "fov_name", "track_id", "t") if key in cells.columns]
    twice = cells.duplicated(keys)
    if twice.any():
        where = ", ".join(f"{key} {cells.loc[twice, key].iloc[0]}" for key in keys)
        raise BadInputError(
            f"the cell table has more than one row for {where}; keep one row per cell and time"
        )
    return cells.reset_index(drop=True).sort_values(keys, kind="stable").index.to_numpy()


def _space_dynamics(space: Space, test: pd.DataFrame, settings: EvaluationSettings) -> SpaceDynamics:
    tracks = unit_ids(test, SplitUnit.TRACK)
    names = ["displacement_one_interval", "displacement_random_pairs", "smoothness", "dynamic_range"]
    n_tracks = len(np.unique(tracks))
    if settings.interval_min is None:
        why = "the plate has a single time point or no time interval"
        names.append(_ratio_name(min(RATIO_LAG, settings.max_lag)))
        scores = tuple(Score(name, "embedding", Estimate.missing(why, n_tracks)) for name in names)
        return SpaceDynamics(space.name, None, scores, why)
    result = temporal_dynamics(
        space.values,
        tracks,
        test["t"].to_numpy(dtype=np.int64),
        settings.interval_min,
        seed=settings.seed,
        max_lag=settings.max_lag,
        n_resamples=settings.n_resamples,
    )
    estimates = (
        result.displacement_first_lag,
        result.random_pairs,
        result.smoothness,
        result.dynamic_range,
        result.displacement_ratio,
    )
    names.append(_ratio_name(result.ratio_lag_frames))
    scores = tuple(
        Score(name, "embedding", estimate) for name, estimate in zip(names, estimates, strict=True)
    )
    return SpaceDynamics(space.name, result, scores)


def _ratio_name(lag_frames: int) -> str:
    return f"displacement_ratio_1_to_{lag_frames}"


def _space_report(space: str) -> str:
    return "temporal_smoothness" if space == "features" else f"temporal_smoothness_{space}"


def _rank_scores(spectrum: FeatureSpectrum | None, split: SplitStatement) -> tuple[Score, ...]:
    names = ("matrix_rank", "effective_rank", "components_95")
    n = split.n_test_tracks
    if spectrum is None:
        why = "all test embeddings are equal, so they have no variance"
        return tuple(Score(name, "embedding", Estimate.missing(why, n)) for name in names)
    # Drawing tracks with replacement repeats rows and lowers every rank: the interval would miss the value.
    why = "resampling tracks repeats rows, which biases a rank downwards"
    values = (float(spectrum.matrix_rank), spectrum.effective_rank, float(spectrum.components_95))
    return tuple(
        Score(name, "embedding", Estimate.exact(value, n, why))
        for name, value in zip(names, values, strict=True)
    )


def number_of(
    score: Score, report: str, n_units_name: str, split: str, settings: EvaluationSettings
) -> NumberDraft:
    """A score as a report states it; `split` says on which rows it is."""
    estimate = score.estimate
    return estimate.as_number(
        report=f"{settings.method}/{report}",
        name=score.name,
        split=stated_split(split, settings.simulated),
        unit=n_units_name,
    )
