"""How cells of each condition go from one annotated state into the other, over time, as numbers of a report."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from cell_assets.evaluation.resampling import Estimate, stated_split
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.call_scores import CallScores, score_calls
from cell_assets.evaluation.states.onset import Course, along_tracks
from cell_assets.evaluation.states.onset_calibration import called_at_interval
from cell_assets.evaluation.states.onset_scores import Onsets, study_onsets
from cell_assets.evaluation.states.state_calls import StateCalls, as_annotated, call_states
from cell_assets.evaluation.states.state_fraction import (
    ConditionFraction,
    corrected_fractions,
    fractions_over_time,
)
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation, canonical_order
from cell_assets.evaluation.units import FloatArray, plural
from cell_assets.ledger.records import NumberDraft

_ALONG_TRACKS = "_along_tracks"
_CORRECTED = "_corrected"
_ANNOTATED = "_annotated"


@dataclass(frozen=True)
class StateDynamics:
    """One column of two states along time; `calls` is None exactly when `why_missing` says why."""

    column: str
    calls: StateCalls | None
    fractions: tuple[ConditionFraction, ...] = ()
    """Of cells called one by one (Fig. 3c)."""
    along_tracks: tuple[ConditionFraction, ...] = ()
    """Of cells called by their tracks; none of a state that does not last."""
    corrected: tuple[ConditionFraction, ...] = ()
    """`fractions` less the mistakes made of annotated train and val cells; of conditions that have some."""
    along_tracks_corrected: tuple[ConditionFraction, ...] = ()
    """`along_tracks`, likewise."""
    annotated: tuple[ConditionFraction, ...] = ()
    """Of annotated cells, called as they are annotated: what growth the others should come to."""
    scores: CallScores | None = None
    """None of a state that does not last."""
    onsets: Onsets | None = None
    """None exactly when `why_no_onset` says why."""
    why_missing: str | None = None
    why_no_onset: str | None = None


@dataclass(frozen=True)
class _Stated:
    """A number before it knows its experiment."""

    report: str
    name: str
    estimate: Estimate
    unit: str


def study_state_dynamics(
    evaluation: EmbeddingEvaluation, features: FloatArray, cells: pd.DataFrame, labels: Sequence[Labels]
) -> tuple[StateDynamics, ...]:
    """The dynamics of every column of two states, under the settings of `evaluation`.

    Args:
        features: (N, D), finite.
        cells: N rows as `call_states` takes them, in any order.
        labels: of each column, named like it.
    """
    order = canonical_order(cells)
    cells, features = cells.iloc[order].reset_index(drop=True), features[order]
    return tuple(_dynamics(evaluation, features, cells, one.reordered(order)) for one in labels)


def with_state_dynamics(
    evaluation: EmbeddingEvaluation, found: Sequence[StateDynamics]
) -> EmbeddingEvaluation:
    """`evaluation` with the numbers and notes of these dynamics behind its own."""
    settings = evaluation.settings
    split = f"{settings.test_split} {plural(settings.split_unit)}"
    split = stated_split(split, settings.simulated)
    numbers = dynamics_numbers(found, settings.method, split)
    notes = dynamics_notes(found)
    return replace(evaluation, numbers=(*evaluation.numbers, *numbers), notes=(*evaluation.notes, *notes))


def dynamics_numbers(found: Sequence[StateDynamics], method: str, split: str) -> tuple[NumberDraft, ...]:
    """What these dynamics are, as numbers of the cells that `split` names."""
    return tuple(
        stated.estimate.as_number(
            report=f"{method}/{stated.report}",
            name=stated.name,
            split=split,
            unit=stated.unit,
        )
        for one in found
        for stated in _stated(one)
    )


def dynamics_notes(found: Sequence[StateDynamics]) -> tuple[str, ...]:
    """What a reader should know of them."""
    return tuple(note for one in found for note in _notes(one))


def _dynamics(
    evaluation: EmbeddingEvaluation, features: FloatArray, cells: pd.DataFrame, labels: Labels
) -> StateDynamics:
    settings = evaluation.settings
    if settings.interval_min is None:
        return _nothing(labels.name, "the plate has a single time point or no time interval")
    calls = call_states(
        features,
        cells,
        labels,
        interval_min=settings.interval_min,
        split_unit=settings.split_unit,
        seed=settings.seed,
    )
    if isinstance(calls, str):
        return _nothing(labels.name, calls)
    return dynamics_of(calls, settings.seed, settings.n_resamples)


def dynamics_of(
    calls: StateCalls, seed: int, n_resamples: int, calibrated_at: float | None = None
) -> StateDynamics:
    """Fractions and onsets of these calls; `calibrated_at` as `study_onsets` takes it."""
    onsets = study_onsets(calls, seed, n_resamples, calibrated_at)
    tracked: tuple[ConditionFraction, ...] = ()
    tracked_corrected: tuple[ConditionFraction, ...] = ()
    scores: CallScores | None = None
    if calls.direction.is_lasting:
        tracked = fractions_over_time(along_tracks(calls), seed, n_resamples)
        scores = score_calls(calls, seed, n_resamples)
        calibration = called_at_interval(calls, calibrated_at)
        tracked_corrected = corrected_fractions(along_tracks(calls), calibration, seed, n_resamples)
    return StateDynamics(
        calls.column,
        calls,
        fractions=fractions_over_time(calls, seed, n_resamples),
        along_tracks=tracked,
        corrected=corrected_fractions(calls, calls.rows, seed, n_resamples),
        along_tracks_corrected=tracked_corrected,
        annotated=fractions_over_time(as_annotated(calls), seed, n_resamples),
        scores=scores,
        onsets=None if isinstance(onsets, str) else onsets,
        why_no_onset=onsets if isinstance(onsets, str) else None,
    )


def _nothing(column: str, why: str) -> StateDynamics:
    return StateDynamics(column, None, why_missing=why, why_no_onset=why)


def _stated(dynamics: StateDynamics) -> Iterator[_Stated]:
    if dynamics.calls is None:
        none = Estimate.missing(dynamics.why_missing or "")
        yield _Stated(f"{dynamics.column}_over_time", "plateau_time", none, plural(SplitUnit.TRACK))
    else:
        yield from _stated_growth(dynamics.calls, dynamics.fractions, "")
        yield from _stated_growth(dynamics.calls, dynamics.along_tracks, _ALONG_TRACKS)
        yield from _stated_growth(dynamics.calls, dynamics.corrected, _CORRECTED)
        yield from _stated_growth(dynamics.calls, dynamics.along_tracks_corrected, _ALONG_TRACKS + _CORRECTED)
        yield from _stated_growth(dynamics.calls, dynamics.annotated, _ANNOTATED)
    if dynamics.scores is not None:
        yield from _stated_scores(dynamics.column, dynamics.scores)
    yield from _stated_onsets(dynamics)
    if dynamics.calls is not None:
        yield from _stated_fractions(dynamics.calls, dynamics.fractions)


def _stated_growth(
    calls: StateCalls, fractions: Sequence[ConditionFraction], origin: str
) -> Iterator[_Stated]:
    names, unit = condition_names([one.condition for one in fractions]), calls.time_unit
    for one in fractions:
        growth = one.growth
        for name, estimate in (
            ("rise", one.rise),
            ("plateau", growth.plateau),
            (f"plateau_time_{unit}", growth.plateau_time),
            ("baseline", growth.baseline),
            (f"midpoint_{unit}", growth.midpoint),
            (f"rate_per_{unit}", growth.rate),
            ("intervals_with_annotated_fraction", one.covered),
        ):
            if estimate is one.covered and origin == _ANNOTATED:
                continue  # a curve is within its own intervals
            named = f"{name}_{names[one.condition]}"
            yield _Stated(f"{calls.column}_over_time{origin}", named, estimate, one.units_name)


def _stated_scores(column: str, scores: CallScores) -> Iterator[_Stated]:
    report = f"{column}_over_time{_ALONG_TRACKS}"
    yield _Stated(report, "balanced_accuracy", scores.by_track, scores.units_name)
    yield _Stated(report, "balanced_accuracy_gain_over_single_cells", scores.gain, scores.units_name)


def _stated_fractions(calls: StateCalls, fractions: Sequence[ConditionFraction]) -> Iterator[_Stated]:
    names = condition_names([one.condition for one in fractions])
    for one in fractions:
        for time, estimate in zip(one.called.time, one.called.fraction, strict=True):
            name = f"{calls.direction.state}_{names[one.condition]}_at_{time:g}_{calls.time_unit}"
            yield _Stated(f"{calls.column}_fraction", name, estimate, one.units_name)


def _stated_onsets(dynamics: StateDynamics) -> Iterator[_Stated]:
    report, tracks = f"{dynamics.column}_onset", plural(SplitUnit.TRACK)
    if dynamics.onsets is None or dynamics.calls is None:
        none = Estimate.missing(dynamics.why_no_onset or "")
        yield _Stated(report, "interval_coverage", none, tracks)
        return
    onsets, unit = dynamics.onsets, dynamics.calls.time_unit
    for name, estimate, unit_name in (
        ("interval_coverage", onsets.coverage, onsets.coverage_units_name),
        (f"interval_half_width_{onsets.error_unit}", onsets.radius, tracks),
        (f"median_absolute_error_{onsets.error_unit}", onsets.median_error, onsets.error_units_name),
        ("seen_to_turn", onsets.seen, tracks),
        ("turned_without_onset", onsets.false, tracks),
    ):
        yield _Stated(report, name, estimate, unit_name)
    names = condition_names([one.condition for one in onsets.conditions])
    for one in onsets.conditions:
        for origin, survival in (("", one.called), ("_annotated", one.annotated)):
            why = Estimate.missing("no test track is followed from before its onset")
            median = why if survival is None else survival.median()
            turned = why if survival is None else survival.turned_by_end()
            yield _Stated(report, f"median_onset_{unit}{origin}_{names[one.condition]}", median, tracks)
            yield _Stated(report, f"turned_by_end{origin}_{names[one.condition]}", turned, tracks)


def condition_names(conditions: Sequence[str]) -> Mapping[str, str]:
    """Each condition as part of a number's name, for example `virus_DENV_5_MOI`; no two share one."""
    names: dict[str, str] = {}
    for condition in conditions:
        plain = re.sub(r"[^\w.+-]+", "_", condition)
        taken = sum(re.sub(r"[^\w.+-]+", "_", other) == plain for other in names)
        names[condition] = f"{plain}_{taken + 1}" if taken else plain
    return names


def _notes(dynamics: StateDynamics) -> Iterator[str]:
    if dynamics.calls is None:
        return
    yield from dynamics.calls.notes
    uncorrected = {one.condition for one in dynamics.fractions} - {
        one.condition for one in dynamics.corrected
    }
    if uncorrected:
        yield (
            f"{dynamics.column} over time: the fraction of {', '.join(sorted(uncorrected))} is not corrected for the "
            "probe's mistakes, because too few train and val cells of that condition are annotated at its hours."
        )
    if dynamics.onsets is not None:
        unknown = (dynamics.onsets.tracks["annotated_course"] == Course.UNKNOWN).sum()
        if unknown:
            yield (
                f"{dynamics.column} onset: of {unknown} of {len(dynamics.onsets.tracks)} held-out tracks the onset "
                "is not known, as they are not annotated around it or the annotation goes back."
            )
