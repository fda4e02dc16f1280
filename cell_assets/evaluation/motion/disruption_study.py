"""Does the embedding notice when a track jumps to another cell? Errors are injected, and looked for again.

DynaCLR (Appendix Figure 3) shows one track whose disruption is seen in its embedding; here it is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.motion.dynamics import unit_vectors
from cell_assets.evaluation.motion.step_detection import (
    Detector,
    DetectorSteps,
    combine_detectors,
    fit_detector,
    recall_among,
    score_detectors,
    step_curves,
)
from cell_assets.evaluation.motion.track_disruptions import (
    DisruptedTracks,
    Disruption,
    DisruptionKind,
    TrackedCells,
    inject,
)
from cell_assets.evaluation.motion.track_steps import (
    Steps,
    UsualStep,
    prediction_errors,
    step_lengths,
    steps_of,
    unusualness,
)
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval, stated_split
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.scoring import EMBEDDING, Score, score_notes
from cell_assets.evaluation.scores.task_scores import Curve
from cell_assets.evaluation.scores.tasks import track_ends
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation, canonical_order
from cell_assets.evaluation.studies.study_parameters import DisruptionParameters
from cell_assets.evaluation.units import FloatArray, IntArray, plural, unit_ids
from cell_assets.imaging.acquisition import VoxelSize
from cell_assets.ledger.records import NumberDraft

MOTION, PREDICTION, COMBINED = "motion", "prediction_error", "combined"
MOST_SUSPICIOUS = 20
ORDINARY_QUANTILE = 0.95
"""Partners that look less apart than this share of ordinary steps are alike: an exchange of theirs is an ordinary
step to whoever looks at the embedding alone."""
_NO_STEP = "there is no such step"
_TITLES = {
    EMBEDDING: "embedding",
    MOTION: "motion alone",
    PREDICTION: "error of constant velocity",
    COMBINED: "embedding and motion",
}


@dataclass(frozen=True)
class ExampleTracks:
    """One injected error, with the tracks as they are then named."""

    event: Disruption
    rows: pd.DataFrame
    """`track` (as named), `t`, `row` (the caller's row whose embedding is shown), by track and time."""


@dataclass(frozen=True)
class KindStudy:
    """One kind of error; the arrays are of held-out steps."""

    kind: DisruptionKind
    n_events_fit: int
    n_events_test: int
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    score: FloatArray
    """(K,) the embedding's unusualness of each step."""
    disrupted: np.ndarray
    """(K,)"""
    threshold: float | None
    example: ExampleTracks

    def estimate(self, metric: str, of: str = EMBEDDING) -> Estimate:
        """Raises `KeyError` when there is none."""
        return next(s.estimate for s in self.scores if (s.metric, s.of) == (metric, of))


@dataclass(frozen=True)
class TrackDisruptions:
    """What was found, per kind, or why a kind could not be studied; and the tracks as they are."""

    parameters: DisruptionParameters
    kinds: tuple[KindStudy, ...]
    why_missing: dict[DisruptionKind, str]
    suspicious: pd.DataFrame
    """At most `MOST_SUSPICIOUS` steps of the real tracks, the most unusual first: `plate, fov_name, track_id, t`
    (frame in which the step ends), `score` (of the embedding), `motion_score`, `displacement` (Eq. 3, per frame),
    `displacement_um` (per frame), `minutes_to_division` (missing where the track does not divide), `above_threshold`
    (missing where there is no threshold)."""
    share_above: Estimate
    """Share of held-out steps of the real tracks that the detector of swaps calls disrupted."""


def centroids_um(cells: pd.DataFrame, voxel_size_um: Mapping[str, VoxelSize]) -> FloatArray:
    """Centroids (N, 3) of cells in µm, from pixels and each plate's voxel size; a plane without depth lies at 0."""
    plates = cells["plate"].astype(str)
    sizes = np.array(
        [[size.z or 0.0, size.y, size.x] for size in (voxel_size_um[plate] for plate in plates)]
    ).reshape(-1, 3)
    return cells[["z", "y", "x"]].to_numpy(dtype=np.float64) * sizes


def study_track_disruptions(
    features: FloatArray,
    cells: pd.DataFrame,
    position_um: FloatArray,
    evaluation: EmbeddingEvaluation,
    parameters: DisruptionParameters,
    tracks: pd.DataFrame,
) -> TrackDisruptions:
    """Inject each kind of error, detect it from embedding, motion and both, and look at the tracks as they are.

    Thresholds, weights and what is usual are learned on train and val tracks.

    Args:
        features: (N, D)
        cells: N rows: `plate, fov_name, track_id, t, split`, in any order.
        position_um: (N, A) centroids, µm.
        evaluation: of the same cells; gives splits, seed and resamples.
        tracks: as `track_ends` takes them; a step before a division is unusual and no error.
    """
    settings = evaluation.settings
    split = cells["split"].astype(str)
    used = np.flatnonzero(split.isin([*settings.fit_splits, settings.test_split]).to_numpy())
    source = used[canonical_order(cells.iloc[used])]
    table = cells.iloc[source].reset_index(drop=True)
    tracked = TrackedCells(
        track=unit_ids(table, SplitUnit.TRACK),
        t=table["t"].to_numpy(dtype=np.int64),
        fov=unit_ids(table, SplitUnit.FOV),
        is_test=(table["split"].astype(str) == settings.test_split).to_numpy(),
        position_um=position_um[source],
    )
    seen = _Seen(tracked, unit_vectors(features[source]), source, evaluation)
    studies, why = [], {}
    for kind in DisruptionKind:
        found = _study_kind(seen, kind, parameters)
        if isinstance(found, str):
            why[kind] = found
        else:
            studies.append(found)
    swap = next((one for one in studies if one.kind is DisruptionKind.SWAP), None)
    suspicious, share = _look_at_real(seen, table, tracks, swap, why.get(DisruptionKind.SWAP))
    return TrackDisruptions(parameters, tuple(studies), why, suspicious, share)


def with_track_disruptions(evaluation: EmbeddingEvaluation, found: TrackDisruptions) -> EmbeddingEvaluation:
    """`evaluation` with the numbers and notes of these disruptions behind its own."""
    numbers, notes = [], []
    for kind in DisruptionKind:
        report = f"track_disruptions_{kind}"
        if kind in found.why_missing:
            scores: tuple[Score, ...] = (
                Score("average_precision", EMBEDDING, Estimate.missing(found.why_missing[kind])),
            )
        else:
            study = next(one for one in found.kinds if one.kind is kind)
            scores = study.scores
            notes += [_injected(study, found.parameters), *score_notes(report, scores)]
        numbers += [_number(evaluation, report, score) for score in scores]
    share = Score("share_of_steps_above_threshold", EMBEDDING, found.share_above)
    numbers.append(_number(evaluation, "track_disruptions_real", share))
    return replace(evaluation, numbers=(*evaluation.numbers, *numbers), notes=(*evaluation.notes, *notes))


@dataclass(frozen=True)
class _Seen:
    """The cells of an evaluation in canonical order."""

    tracked: TrackedCells
    z: FloatArray
    """(N, D) unit vectors."""
    source: IntArray
    """(N,) the caller's row of each."""
    evaluation: EmbeddingEvaluation

    def interval(self, units: np.ndarray, statistic: Statistic) -> Estimate:
        settings = self.evaluation.settings
        return bootstrap_interval(units, statistic, seed=settings.seed, n_resamples=settings.n_resamples)


def _study_kind(seen: _Seen, kind: DisruptionKind, parameters: DisruptionParameters) -> KindStudy | str:
    settings, tracked = seen.evaluation.settings, seen.tracked
    if settings.interval_min is None:
        return "the plate has a single time point or no time interval"
    injected = inject(tracked, kind, parameters, settings.seed)
    names = tracked.track[tracked.is_test]
    in_test = [event for event in injected.events if event.track in set(names)]
    if not in_test:
        return (
            f"no test track has a neighbour within {parameters.max_distance_um:g} µm that is followed over the frames "
            f"of a {kind}"
        )
    steps = steps_of(injected.track, tracked.t)
    shown_z, shown_um = seen.z[injected.source], tracked.position_um[injected.source]
    identity = tracked.track[injected.source]
    unit = injected.units()
    of_steps = DetectorSteps(
        disrupted=identity[steps.start] != identity[steps.end],
        is_test=tracked.is_test[steps.start],
        units=np.array([unit.get(name, name) for name in steps.track.tolist()], dtype=np.str_),
    )
    displacement = step_lengths(steps, shown_z)
    rates = {
        EMBEDDING: displacement,
        MOTION: step_lengths(steps, shown_um),
        PREDICTION: prediction_errors(steps, shown_um),
    }
    single = [_detector(name, steps, rate, of_steps) for name, rate in rates.items()]
    embedding, motion, _ = single
    # Without the prediction error, so that what it has over motion alone is the embedding's doing.
    combined = combine_detectors(COMBINED, _TITLES[COMBINED], [embedding, motion], of_steps)
    detectors = [*single, combined]
    if embedding.score is None:
        return embedding.why_missing or ""
    scores = (
        *score_detectors(detectors, of_steps, seed=settings.seed, n_resamples=settings.n_resamples),
        *_continuity(seen, displacement, rates[MOTION], of_steps),
        *_alike(seen, injected, steps, displacement, embedding, of_steps),
    )
    test = of_steps.is_test
    return KindStudy(
        kind=kind,
        n_events_fit=len(injected.events) - len(in_test),
        n_events_test=len(in_test),
        scores=scores,
        curves=step_curves(detectors, of_steps, scores),
        score=embedding.score[test],
        disrupted=of_steps.disrupted[test],
        threshold=embedding.threshold,
        example=_example(seen, injected, in_test),
    )


def _detector(name: str, steps: Steps, rate: FloatArray, of_steps: DetectorSteps) -> Detector:
    title = _TITLES[name]
    usual = UsualStep.of(rate[~of_steps.is_test])
    if usual is None:
        why = f"{title}: no fitted track has two time points, or more than half of its steps are equal"
        return Detector(name, title, None, why_missing=why)
    return fit_detector(name, title, unusualness(steps, rate, usual), of_steps)


def _continuity(
    seen: _Seen, displacement: FloatArray, motion: FloatArray, steps: DetectorSteps
) -> tuple[Score, ...]:
    """Eq. 3 over disrupted and undisrupted held-out steps, and how well its bare size tells them apart."""
    scores = []
    for name, rate in (("displacement", displacement), ("motion_um", motion)):
        for kind, rows in (("disrupted", steps.disrupted), ("undisrupted", ~steps.disrupted)):
            chosen = steps.is_test & rows
            estimate = seen.interval(steps.units[chosen], metrics.mean(rate[chosen], _NO_STEP))
            scores.append(Score(f"{name}_{kind}", EMBEDDING, estimate))
        ranking = metrics.auroc(steps.disrupted[steps.is_test], rate[steps.is_test])
        scores.append(
            Score(f"auroc_of_{name}", EMBEDDING, seen.interval(steps.units[steps.is_test], ranking))
        )
    return tuple(scores)


def _alike(
    seen: _Seen,
    injected: DisruptedTracks,
    steps: Steps,
    displacement: FloatArray,
    embedding: Detector,
    of_steps: DetectorSteps,
) -> tuple[Score, ...]:
    """Which share of disrupted steps joins cells that look different at all, and what is found among them."""
    settings, tracked = seen.evaluation.settings, seen.tracked
    ordinary = displacement[~of_steps.is_test & ~of_steps.disrupted]
    limit = float(np.quantile(ordinary, ORDINARY_QUANTILE))
    row = {
        (name, t): k
        for k, (name, t) in enumerate(zip(tracked.track.tolist(), tracked.t.tolist(), strict=True))
    }
    apart: dict[str, float] = {}
    for event in injected.events:
        # In the frame where the error begins both cells are seen, so their looks are compared at one time.
        left, right = row[event.track, event.start], row[event.partner, event.start]
        apart[event.track] = apart[event.partner] = float(np.linalg.norm(seen.z[left] - seen.z[right]))
    differs = np.array([apart.get(name, 0.0) > limit for name in steps.track.tolist()], dtype=np.bool_)
    chosen = of_steps.is_test & of_steps.disrupted
    share = metrics.recall(np.full(int(chosen.sum()), True), differs[chosen])
    scores = [Score("share_that_looks_different", EMBEDDING, seen.interval(of_steps.units[chosen], share))]
    for name, among in (("recall_where_different", differs), ("recall_where_alike", ~differs)):
        estimate = recall_among(embedding, of_steps, among, settings.seed, settings.n_resamples)
        scores.append(Score(name, EMBEDDING, estimate))
    return tuple(scores)


def _example(seen: _Seen, injected: DisruptedTracks, events: Sequence[Disruption]) -> ExampleTracks:
    """The error with most frames on its shorter side, so that it is not picked for its looks."""
    track, t = injected.track, seen.tracked.t

    def frames_around(event: Disruption) -> tuple[int, int, str]:
        both = [t[track == name] for name in (event.track, event.partner)]
        sides = [int((side < event.start).sum()) for side in both] + [
            int((side >= event.start).sum()) for side in both
        ]
        return min(sides), sum(sides), event.track

    event = max(events, key=frames_around)
    rows = np.flatnonzero(np.isin(track, [event.track, event.partner]))
    frame = pd.DataFrame(
        {
            "track": track[rows],
            "t": t[rows],
            "row": seen.source[injected.source[rows]],
        }
    )
    return ExampleTracks(event, frame.sort_values(["track", "t"], ignore_index=True))


def _look_at_real(
    seen: _Seen, table: pd.DataFrame, tracks: pd.DataFrame, swap: KindStudy | None, why_no_swap: str | None
) -> tuple[pd.DataFrame, Estimate]:
    """The most unusual steps of tracks as they are, and which share of held-out ones is beyond the threshold."""
    tracked = seen.tracked
    steps = steps_of(tracked.track, tracked.t)
    displacement = step_lengths(steps, seen.z)
    motion = step_lengths(steps, tracked.position_um)
    test = tracked.is_test[steps.start]
    usual, usual_motion = UsualStep.of(displacement[~test]), UsualStep.of(motion[~test])
    if usual is None:
        why = "no fitted track has two time points, or more than half of their steps are equal"
        return _no_suspicion(), Estimate.missing(why)
    score = unusualness(steps, displacement, usual)
    threshold = None if swap is None else swap.threshold
    worst = np.argsort(-score, kind="stable")[:MOST_SUSPICIOUS]
    end = table.iloc[steps.end[worst]].reset_index(drop=True)
    ends = track_ends(end, seen.evaluation.settings.interval_min or 1.0, tracks)
    missing = np.full(len(worst), np.nan)
    suspicious = pd.DataFrame(
        {
            "plate": end["plate"].astype(str),
            "fov_name": end["fov_name"].astype(str),
            "track_id": end["track_id"],
            "t": end["t"],
            "score": score[worst],
            "motion_score": missing
            if usual_motion is None
            else unusualness(steps, motion, usual_motion)[worst],
            "displacement": displacement[worst],
            "displacement_um": motion[worst],
            "minutes_to_division": np.where(ends.divides, ends.minutes_left, np.nan),
            "above_threshold": pd.array(
                [None if threshold is None else bool(value >= threshold) for value in score[worst]],
                dtype="boolean",
            ),
        }
    )
    if threshold is None:
        why = why_no_swap or "no fitted step is disrupted, so there is no threshold"
        return suspicious, Estimate.missing(why)
    called = (score[test] >= threshold).astype(np.float64)
    return suspicious, seen.interval(steps.track[test], metrics.mean(called, _NO_STEP))


def _no_suspicion() -> pd.DataFrame:
    columns = (
        "plate", "fov_name", "track_id", "t", "score", "motion_score", "displacement", "displacement_um",
        "minutes_to_division", "above_threshold",
    )  # fmt: skip
    return pd.DataFrame(columns=list(columns))


def _injected(study: KindStudy, parameters: DisruptionParameters) -> str:
    return (
        f"track_disruptions_{study.kind}: {study.n_events_test} errors put into test tracks and {study.n_events_fit} "
        f"into train and val tracks, so that up to {100 * parameters.share_of_tracks:g} % of tracks take part in one; "
        f"partners are among the {parameters.nearest} cells that come nearest, within "
        f"{parameters.max_distance_um:g} µm and on the same side of the split, and meet where they are closest. "
        "Partners count as one unit. Precision and average precision depend on how many errors there are; recall does "
        "not."
    )


def _number(evaluation: EmbeddingEvaluation, report: str, score: Score) -> NumberDraft:
    settings, estimate = evaluation.settings, score.estimate
    split = evaluation.split.short
    return estimate.as_number(
        report=f"{settings.method}/{report}",
        name=score.name,
        split=stated_split(split, settings.simulated),
        unit=plural(SplitUnit.TRACK),
    )
