"""Intervals of onset for a film with another time between frames than the one that the probe was calibrated on.

An onset is seen at the first frame in the state and lies somewhere between that frame and the one before. Where a film
has few frames, this, and not the probe, decides how wide an interval has to be: so calibration tracks are thinned to
the same time between frames, called again, and scored by `share_held` as the film's own tracks are. An interval that
holds 90 % of steps so scored holds more of the onsets themselves: a probe that sees the step a frame early does so
mostly where the onset lies early in its own.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.splits import Split
from cell_assets.evaluation.states.onset import (
    COVERAGE,
    Course,
    along_tracks,
    earliest_onsets,
    track_onsets,
)
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.units import FloatArray

_TRACK = ("plate", "fov_name", "track_id")
_PLACES = 20
"""Evenly spaced places between two frames that stand for all where an annotated onset may lie."""


def called_at_interval(calls: StateCalls, calibrated_at: float | None) -> pd.DataFrame:
    """Calibration rows, each called by its track as a film with the test tracks' time between frames shows it.

    Every row is called once, in the thinned track that it is a frame of. `calibrated_at` is as `study_onsets` takes it.
    """
    rows = calls.rows[calls.rows["split"] != Split.TEST]
    every = thinned_to(calls, calibrated_at)
    parts = [
        along_tracks(replace(calls, rows=rows[rows["t"] % every == first])).rows for first in range(every)
    ]
    return pd.concat(parts, ignore_index=True)


def thinned_to(calls: StateCalls, calibrated_at: float | None) -> int:
    """Of how many frames of calibration tracks one is seen in a film with the test tracks' time between frames."""
    return 1 if calibrated_at is None else max(1, round(calls.interval / calibrated_at))


def thinned_errors(rows: pd.DataFrame, interval: float, every: int) -> pd.DataFrame:
    """How far off onsets are in tracks of which one frame of `every` is seen, by the probe and by annotation alike.

    A track is thinned `every` times, once for each frame that it may begin with. That more of its frames are annotated
    is left unsaid: of a film with so few frames no more is known either, and only what is known there can be checked.

    Args:
        rows: calibration rows of `StateCalls.rows`.
        interval: between their frames, in the unit of `time`.

    Returns:
        `_PLACES` rows for each thinned track in which the annotated onset can still be seen: what names the track,
        and `error`: between the middle of the step that the probe sees in it, or could see first after its last
        frame, and one place of the step annotated in it; in the unit of `time`.
    """
    names = [name for name in _TRACK if name in rows.columns]
    if rows.empty:
        return pd.DataFrame(columns=[*names, "error"])
    step = every * interval
    before = (np.arange(_PLACES) + 0.5) / _PLACES * step
    found = []
    for first in range(every):
        kept = rows[rows["t"] % every == first]
        if kept.empty:
            continue
        thin = track_onsets(kept.assign(t=kept["t"] // every))
        thin = thin[(thin["annotated_course"] == Course.TURNS).to_numpy()]
        middle = earliest_onsets(thin, step) - step / 2
        places = thin["annotated_onset_time"].to_numpy(dtype=np.float64)[:, None] - before
        error = np.abs(middle[:, None] - places)
        repeated = thin.loc[thin.index.repeat(_PLACES), names].reset_index(drop=True)
        found.append(repeated.assign(error=error.ravel()))
    return pd.concat(found, ignore_index=True)


def thinned_radius(errors: pd.DataFrame) -> float | None:
    """Half width of intervals around the middle of the step seen; None where there are too few tracks.

    As `conformal_radius` for n tracks, at the rank (n + 1) `COVERAGE` / n of all thinned errors: each way to thin a
    track stands for the one way that a film has.
    """
    n_tracks = len(errors.drop(columns="error").drop_duplicates())
    level = (n_tracks + 1) * COVERAGE / n_tracks if n_tracks else np.inf
    if level > 1:
        return None
    place = int(np.ceil(level * len(errors) - 1e-9))
    return float(np.sort(errors["error"].to_numpy(dtype=np.float64))[place - 1])


def share_held(called: FloatArray, annotated: FloatArray, interval: float, radius: float) -> FloatArray:
    """Of each track's annotated step (N,), the share that its interval holds.

    Where in the step the onset lies nobody saw, and every place is as likely.

    Args:
        called: (N,) as `earliest_onsets` has them.
        annotated: (N,) time of the first frame annotated to be in the state.
        interval: between frames.
    """
    low, high = called - interval / 2 - radius, called - interval / 2 + radius
    overlap = np.minimum(high, annotated) - np.maximum(low, annotated - interval)
    return np.clip(overlap / interval, 0, 1)
