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
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation
from cell_assets.evaluation.units import FloatArray, plural, unit_ids

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
    why_missing: str | None = None


def unseen_channels(features: CellFeatures, seen: Sequence[str]) -> tuple[str, ...]:
    """Channels that were measured and that the embedding's network did not take."""
    return tuple(channel for channel in features.channels if channel not in seen)


def study_remodelling(
    evaluation: EmbeddingEvaluation,
    cells: pd.DataFrame,
    features: CellFeatures,
    dynamics: Sequence[StateDynamics],
    channels: Sequence[str],
) -> tuple[Remodelling, ...]:
    """Every one of `channels` around the called onsets of every column, along test tracks that are seen to turn.

    Args:
        cells: the rows that `features` are of.
    """
    return tuple(
        _around(evaluation, cells, features, one, channel) for one in dynamics for channel in channels
    )


def _around(
    evaluation: EmbeddingEvaluation,
    cells: pd.DataFrame,
    features: CellFeatures,
    dynamics: StateDynamics,
    channel: str,
) -> Remodelling:
    settings = evaluation.settings
    if dynamics.onsets is None or dynamics.calls is None or settings.interval_min is None:
        why = dynamics.why_no_onset or "the plate has no time interval"
        return Remodelling(dynamics.column, "", channel, why_missing=why)
    state = dynamics.calls.direction.state
    tracks = dynamics.onsets.tracks
    turning = tracks[(tracks["split"] == settings.test_split) & (tracks["course"] == Course.TURNS)]
    if len(turning) < MIN_UNITS:
        why = f"{len(turning)} test tracks are seen to turn {state}, and a mean over them needs at least {MIN_UNITS}"
        return Remodelling(dynamics.column, state, channel, why_missing=why)
    keys = [key for key in _TRACK if key in turning.columns]
    text = {key: str for key in keys if key != "track_id"}
    asked = cells[[*keys, "t"]].astype(text).assign(at=np.arange(len(cells)))
    rows = asked.merge(turning[[*keys, "onset_t"]].astype(text), on=keys)
    rows = rows.assign(lag=(rows["t"] - rows["onset_t"]).astype(np.int64))
    columns = [c for c in features.of_channel(channel) if any(part in c for part in _READ)]
    curves = [
        _curve(
            rows,
            features.values[column].to_numpy()[rows["at"]],
            column,
            settings.interval_min / 60,
            evaluation,
        )
        for column in columns
    ]
    curves = [curve for curve in curves if len(curve.hours)]
    if not curves:
        why = f"no feature of {channel} is known of {MIN_UNITS} turning test tracks at one time"
        return Remodelling(dynamics.column, state, channel, n_tracks=len(turning), why_missing=why)
    return Remodelling(dynamics.column, state, channel, tuple(curves), len(turning))


def _curve(
    rows: pd.DataFrame, values: FloatArray, feature: str, interval_h: float, evaluation: EmbeddingEvaluation
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
                seed=evaluation.settings.seed,
                n_resamples=evaluation.settings.n_resamples,
            )
        )
    return AroundOnset(feature, np.array(hours), tuple(means))


def with_remodelling(evaluation: EmbeddingEvaluation, found: Sequence[Remodelling]) -> EmbeddingEvaluation:
    """`evaluation` with the means of every feature at every time from onset behind its own numbers."""
    settings = evaluation.settings
    split = f"{settings.test_split} {plural(settings.split_unit)}"
    numbers = [
        estimate.as_number(
            report=f"{settings.method}/{one.column}_remodelling",
            name=name,
            split=stated_split(split, settings.simulated),
            unit=plural(SplitUnit.TRACK),
        )
        for one in found
        for name, estimate in _stated(one)
    ]
    return replace(evaluation, numbers=(*evaluation.numbers, *numbers))


def _stated(one: Remodelling) -> Iterator[tuple[str, Estimate]]:
    if one.why_missing is not None:
        yield one.channel, Estimate.missing(one.why_missing, one.n_tracks)
    for curve in one.curves:
        for hours, estimate in zip(curve.hours, curve.means, strict=True):
            yield f"{curve.feature}_at_{hours:+g}_h", estimate
