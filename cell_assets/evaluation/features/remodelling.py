"""Organelles along tracks: features of a channel that the embedding did not see, by time from a called onset.

DynaCLR, section 4.4 and Figure 6: states are called from phase and the sensor, organelles are read in another channel,
so that what is found there was not put there by the probe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.features.cell_features import CellFeatures
from cell_assets.evaluation.resampling import MIN_UNITS, Estimate, Statistic, bootstrap_interval, stated_split
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.onset import Course
from cell_assets.evaluation.states.state_dynamics import StateDynamics
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation, EvaluationSettings
from cell_assets.evaluation.units import FloatArray, plural, unit_ids
from cell_assets.ledger.records import NumberDraft

_TRACK = ["plate", "fov_name", "track_id"]
_READ = ("MeanIntensity", "StdIntensity", "Ring_Ratio", "Texture_Contrast", "Texture_Correlation")
"""What is read of a channel: how much light, how uneven, where, and how grained."""


@dataclass(frozen=True)
class AroundOnset:
    """One feature before and after the called onset."""

    feature: str
    hours: FloatArray
    """(L,) from the onset, negative before; time points that enough tracks reach."""
    means: tuple[Estimate, ...]
    """Mean over the tracks that are seen then, with its interval over them."""


@dataclass(frozen=True)
class Remodelling:
    """An unseen channel around the onset of one column's state; `why_missing` says why it has no `curves`."""

    column: str
    state: str
    channel: str
    curves: tuple[AroundOnset, ...] = ()
    n_tracks: int = 0
    control: tuple[AroundOnset, ...] = ()
    """Of test tracks that are never seen to turn, around the median onset of the others: what time alone does. None of
    a feature that too few of them have."""
    n_control: int = 0
    why_missing: str | None = None


def unseen_channels(features: CellFeatures, seen: Sequence[str]) -> tuple[str, ...]:
    """Channels that were measured and that the embedding's network did not take."""
    return tuple(channel for channel in features.channels if channel not in seen)


def study_remodelling(
    settings: EvaluationSettings,
    cells: pd.DataFrame,
    features: CellFeatures,
    dynamics: Sequence[StateDynamics],
    channels: Sequence[str],
) -> tuple[Remodelling, ...]:
    """Every one of `channels` around the called onsets of every column, along test tracks that are seen to turn.

    Args:
        settings: of the evaluation; `interval_min` is of the tracks' own film.
        cells: the rows that `features` are of.
    """
    return tuple(_around(settings, cells, features, one, channel) for one in dynamics for channel in channels)


def _around(
    settings: EvaluationSettings,
    cells: pd.DataFrame,
    features: CellFeatures,
    dynamics: StateDynamics,
    channel: str,
) -> Remodelling:
    if dynamics.onsets is None or dynamics.calls is None or settings.interval_min is None:
        why = dynamics.why_no_onset or "the plate has no time interval"
        return Remodelling(dynamics.column, "", channel, why_missing=why)
    state = dynamics.calls.direction.state
    tracks = dynamics.onsets.tracks
    is_test = tracks["split"] == settings.test_split
    turning = tracks[is_test & (tracks["course"] == Course.TURNS)]
    never = tracks[is_test & (tracks["course"] == Course.NEVER)]
    if len(turning) < MIN_UNITS:
        why = f"{len(turning)} test tracks are seen to turn {state}, and a mean over them needs at least {MIN_UNITS}"
        return Remodelling(dynamics.column, state, channel, why_missing=why)
    columns = [c for c in features.of_channel(channel) if any(part in c for part in _READ)]
    curves = _curves(turning, cells, features, columns, settings, settings.interval_min)
    if not curves:
        why = f"no feature of {channel} is known of {MIN_UNITS} turning test tracks at one time"
        return Remodelling(dynamics.column, state, channel, n_tracks=len(turning), why_missing=why)
    # As many frames before and after as the others have, though nothing happens to these tracks.
    beside = never.assign(onset_t=int(turning["onset_t"].median()))
    control = _curves(beside, cells, features, columns, settings, settings.interval_min)
    return Remodelling(dynamics.column, state, channel, curves, len(turning), control, len(never))


def _curves(
    tracks: pd.DataFrame,
    cells: pd.DataFrame,
    features: CellFeatures,
    columns: Sequence[str],
    settings: EvaluationSettings,
    interval_min: float,
) -> tuple[AroundOnset, ...]:
    """Around each track's `onset_t`; none of a feature that too few tracks have at any one time."""
    keys = [key for key in _TRACK if key in tracks.columns]
    text = {key: str for key in keys if key != "track_id"}
    asked = cells[[*keys, "t"]].astype(text).assign(at=np.arange(len(cells)))
    rows = asked.merge(tracks[[*keys, "onset_t"]].astype(text), on=keys)
    rows = rows.assign(lag=(rows["t"] - rows["onset_t"]).astype(np.int64))
    found = (
        _curve(rows, features.values[column].to_numpy()[rows["at"]], column, interval_min / 60, settings)
        for column in columns
    )
    return tuple(curve for curve in found if len(curve.hours))


def _curve(
    rows: pd.DataFrame, values: FloatArray, feature: str, interval_h: float, settings: EvaluationSettings
) -> AroundOnset:
    tracks = unit_ids(rows, SplitUnit.TRACK)
    hours, means = [], []
    lags = rows["lag"].to_numpy()
    for lag in np.unique(lags):
        known = np.flatnonzero((lags == lag) & np.isfinite(values))
        if len(known) < MIN_UNITS:
            continue
        own = values[known]

        def mean(weights: FloatArray, own: FloatArray = own) -> FloatArray:
            return weights @ own / weights.sum(axis=1)

        hours.append(round(float(lag) * interval_h, 6))
        means.append(
            bootstrap_interval(
                tracks[known],
                Statistic(mean, "no track is seen then"),
                seed=settings.seed,
                n_resamples=settings.n_resamples,
            )
        )
    return AroundOnset(feature, np.array(hours), tuple(means))


def with_remodelling(evaluation: EmbeddingEvaluation, found: Sequence[Remodelling]) -> EmbeddingEvaluation:
    """`evaluation` with the means of every feature at every time from onset behind its own numbers."""
    settings = evaluation.settings
    split = stated_split(f"{settings.test_split} {plural(settings.split_unit)}", settings.simulated)
    numbers = remodelling_numbers(found, settings.method, split)
    return replace(evaluation, numbers=(*evaluation.numbers, *numbers))


def remodelling_numbers(found: Sequence[Remodelling], method: str, split: str) -> tuple[NumberDraft, ...]:
    """The means of every feature at every time from onset, as numbers of the cells that `split` names."""
    return tuple(
        estimate.as_number(
            report=f"{method}/{one.column}_remodelling", name=name, split=split, unit=plural(SplitUnit.TRACK)
        )
        for one in found
        for name, estimate in _stated(one)
    )


def _stated(one: Remodelling) -> Iterator[tuple[str, Estimate]]:
    if one.why_missing is not None:
        yield one.channel, Estimate.missing(one.why_missing, one.n_tracks)
    for curves, of in ((one.curves, ""), (one.control, "_control")):
        for curve in curves:
            for hours, estimate in zip(curve.hours, curve.means, strict=True):
                yield f"{curve.feature}{of}_at_{hours:+g}_h", estimate
