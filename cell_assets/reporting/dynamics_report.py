"""Captions of the figures of states over time: what is to be seen, in sentences with their numbers."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.states.onset import COVERAGE
from cell_assets.evaluation.states.onset_scores import ConditionOnset, Onsets
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.states.state_dynamics import StateDynamics
from cell_assets.evaluation.states.state_fraction import ConditionFraction
from cell_assets.reporting.dynamics_figures import fraction_figure, onset_figure
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.wording import estimate_text, title_text, value_text


def dynamics_figures(dynamics: Sequence[StateDynamics]) -> tuple[ReportFigure, ...]:
    """Two figures for a column of two states that a probe could be trained for, one where onset means nothing."""
    figures = []
    for one in dynamics:
        if one.calls is None:
            continue
        figures.append(_fraction(one, one.calls))
        if one.onsets is not None:
            figures.append(_onset(one.calls, one.onsets))
    return tuple(figures)


def onset_tables(dynamics: Sequence[StateDynamics]) -> Mapping[str, pd.DataFrame]:
    """Onset of every track with its interval, by column, for columns where onset means something."""
    return {
        one.column: one.onsets.tracks.assign(time_unit=one.calls.time_unit)
        for one in dynamics
        if one.calls is not None and one.onsets is not None
    }


def _fraction(one: StateDynamics, calls: StateCalls) -> ReportFigure:
    state = calls.direction.state
    sentences = [
        f"At each time point, the fraction of test cells called {state} by a probe of annotated train and val tracks.",
        *(sentence for fraction in one.fractions for sentence in _condition(calls, fraction)),
        *by_track(one),
        "The plateau is reached when the fitted curve has made 95 % of its rise.",
    ]
    return ReportFigure(
        name=f"{calls.column}_over_time",
        title=f"Fraction {title_text(state)} over time ({title_text(calls.column)})",
        caption=" ".join(sentences),
        png=fraction_figure(calls, one),
    )


def by_track(dynamics: StateDynamics) -> list[str]:
    """What the fractions come to when each cell is called by its track."""
    true = {one.condition: one.growth.plateau for one in dynamics.annotated}
    scores = dynamics.scores
    right = (
        []
        if scores is None or scores.by_track.value is None
        else [
            f"Each cell called by its track, balanced accuracy is {estimate_text(scores.by_track)}, a gain of "
            f"{estimate_text(scores.gain)} over cells called one by one."
        ]
    )
    return (
        right
        + [
            f"{one.condition}, each cell called by its track: plateau {_or_none(one.growth.plateau)}, annotated "
            f"{_or_none(true[one.condition])}; {100 * one.covered.value:.0f} % of intervals hold the annotated "
            "fraction."
            for one in dynamics.along_tracks
            if one.covered.value is not None
        ]
        + [
            f"{one.condition}, the same less the mistakes that such calls make of annotated train and val cells at "
            f"that time: plateau {_or_none(one.growth.plateau)}; {100 * one.covered.value:.0f} % of intervals, which "
            "carry the uncertainty of both, hold the annotated fraction."
            for one in dynamics.along_tracks_corrected
            if one.covered.value is not None
        ]
    )


def _or_none(estimate: Estimate) -> str:
    return "none" if estimate.value is None else estimate_text(estimate)


def _condition(calls: StateCalls, one: ConditionFraction) -> list[str]:
    growth = one.growth
    if growth.curve is None:
        said = f"{one.condition}: no logistic fit, because {growth.why_missing}."
    elif growth.plateau.value is None or growth.plateau_time.value is None:
        said = f"{one.condition}: no plateau, because {growth.plateau.why_missing}."
    else:
        said = (
            f"{one.condition}: plateaus at {estimate_text(growth.plateau)}, reached at "
            f"{estimate_text(growth.plateau_time)} {calls.time_title}."
        )
    if one.covered.value is None:
        return [said, f"Intervals are over resampled {one.units_name}."]
    n_covered = round(one.covered.value * one.n_compared)
    held = (
        f"Intervals over resampled {one.units_name} hold the annotated fraction at {n_covered} of "
        f"{one.n_compared} time points."
    )
    return [said, held]


def _onset(calls: StateCalls, onsets: Onsets) -> ReportFigure:
    state = calls.direction.state
    sentences = [
        f"When each track turns {state} is the one step that its probe's probabilities, all frames together, support "
        "best; a track for which never turning is as likely is censored where it ends.",
        *(_survived(calls, one) for one in onsets.conditions),
        "Left: Kaplan-Meier curves with 95 % intervals (Greenwood, log-log) of tracks that had not turned when they "
        "were first seen; they count every track as independent, though sisters are not.",
        f"Right: on test tracks with an annotated onset the median error is {estimate_text(onsets.median_error)} "
        f"frames; a share of {estimate_text(onsets.seen)} of them is seen to turn.",
    ]
    if onsets.radius.value is None:
        sentences.append(f"No intervals of onset: {onsets.radius.why_missing}.")
    else:
        sentences.append(
            f"Intervals of ± {value_text(onsets.radius.value)} frames, cross-conformal from "
            f"{onsets.radius.n_units} train and val tracks that are called by probes of other folds, are made to hold "
            f"{100 * COVERAGE:g} % of onsets; on test tracks they hold a share of {estimate_text(onsets.coverage)}."
        )
    if onsets.false.value is not None:
        sentences.append(
            f"Of test tracks annotated as never {state}, a share of {estimate_text(onsets.false)} is seen to turn."
        )
    return ReportFigure(
        name=f"{calls.column}_onset",
        title=f"When tracks turn {title_text(state)} ({title_text(calls.column)})",
        caption=" ".join(sentences),
        png=onset_figure(calls, onsets),
    )


def _survived(calls: StateCalls, one: ConditionOnset) -> str:
    if one.called is None:
        return f"{one.condition}: all {one.n_already} tracks had turned when they were first seen."
    median = one.called.median()
    said = (
        f"no median, because {median.why_missing}"
        if median.value is None
        else f"median onset {estimate_text(median)} {calls.time_title}"
    )
    left_out = f", {one.n_already} more had turned when first seen" if one.n_already else ""
    return f"{one.condition}: {said} ({one.called.n_tracks} tracks{left_out})."
