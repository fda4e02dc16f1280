"""When each track turns into the other state: by the probe, by annotation, and how far the two may lie apart."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.units import BoolArray, FloatArray, unit_ids

COVERAGE = 0.9
"""Of the intervals of onset."""

_SUREST = 0.99
"""A frame counts no more than this sure, so that one spoilt picture cannot outvote a track."""


_FRAMES = ("end_t", "onset_t", "annotated_end_t", "annotated_onset_t")


class Course(StrEnum):
    """What becomes of a track, as far as it was seen."""

    TURNS = "turns"
    NEVER = "never turns"
    """Right-censored: it was not seen to turn before it was lost."""
    ALREADY = "had turned"
    """In the state from its first frame on, so nobody saw when."""
    UNKNOWN = "not known"
    """Not annotated around the change, or the annotation goes back."""


@dataclass(frozen=True)
class _Seen:
    course: Course
    place: int | None
    """Index of the first frame in the state, of a track that turns or had turned."""


def change_point(probability: FloatArray) -> int | None:
    """Index of the first frame in the state, from all frames (T,) of one track together; None if it never turns.

    The most probable single step. A class-balanced probe's log odds are log likelihood ratios of the two states;
    given a step at frame c, those of the frames from c on add up, whatever the frames before it (the suffix sum
    of a CUSUM; Page 1954). Beforehand, never turning is as probable as turning, and every frame as probable as
    another: a step has to outweigh never turning by the number of frames. A first crossing of one half would
    instead be drawn early by every flicker of the probe, the more so the longer the track. The state is taken to
    last, so this is no estimate for states that come and go.
    """
    sure = np.clip(probability, 1 - _SUREST, _SUREST)
    log_odds = np.log(sure) - np.log1p(-sure)
    evidence = np.cumsum(log_odds[::-1])[::-1]
    best = int(np.argmax(evidence))
    return best if evidence[best] > np.log(len(probability)) else None


def track_onsets(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per track of `StateCalls.rows`: its course and onset by the probe and by annotation.

    Columns: what names the track, `condition`, `split`; `start_time`, `end_time`, `end_t`, `course`, `onset_t`,
    `onset_time` by the probe; the same six behind `annotated_`, over the annotated frames. `onset_t` is in
    frames; onsets are missing where the course has none.
    """
    order = np.lexsort((rows["t"].to_numpy(), unit_ids(rows, SplitUnit.TRACK)))
    rows = rows.iloc[order]
    tracks = unit_ids(rows, SplitUnit.TRACK)
    starts = np.flatnonzero(np.append(True, tracks[1:] != tracks[:-1]))
    t, time = rows["t"].to_numpy(dtype=np.int64), rows["time"].to_numpy(dtype=np.float64)
    probability = rows["probability"].to_numpy(dtype=np.float64)
    known = rows["annotated"].notna().to_numpy()
    annotated = rows["annotated"].fillna(False).to_numpy(dtype=np.bool_)
    found = []
    for start, stop in zip(starts, np.append(starts[1:], len(rows)), strict=True):
        every = np.arange(start, stop)
        seen = every[known[every]]
        found.append(
            {
                **_as_columns(_called(probability[every]), t[every], time[every], ""),
                **_as_columns(_annotated(annotated[seen], t[seen]), t[seen], time[seen], "annotated_"),
            }
        )
    named = ("plate", "fov_name", "track_id", "lineage_root", "condition", "split")
    names = rows.iloc[starts][[column for column in named if column in rows.columns]].reset_index(drop=True)
    frame = pd.DataFrame(found).astype(dict.fromkeys(_FRAMES, "Int64"))
    return pd.concat([names, frame], axis=1)


def along_tracks(calls: StateCalls) -> StateCalls:
    """The same cells, each called by its track: certainly in the state from the track's onset on.

    Of a state that lasts: every frame then has the say of all frames of its track, see `change_point`.
    """
    rows = calls.rows
    probability = rows["probability"].to_numpy(dtype=np.float64)
    tracks = unit_ids(rows, SplitUnit.TRACK)
    order = np.lexsort((rows["t"].to_numpy(), tracks))
    in_state = np.zeros(len(rows))
    for places in np.split(order, np.flatnonzero(tracks[order][1:] != tracks[order][:-1]) + 1):
        # Of no rows at all, the split is one part without any.
        first = change_point(probability[places]) if len(places) else None
        if first is not None:
            in_state[places[first:]] = 1.0
    return replace(calls, rows=rows.assign(probability=in_state))


def _called(probability: FloatArray) -> _Seen:
    place = change_point(probability)
    if place is None:
        return _Seen(Course.NEVER, None)
    return _Seen(Course.ALREADY if place == 0 else Course.TURNS, place)


def _annotated(state: BoolArray, t: np.ndarray) -> _Seen:
    """The course of the annotated frames of one track; the change has to lie between two neighbouring frames."""
    if not len(state):
        return _Seen(Course.UNKNOWN, None)
    if not state.any():
        return _Seen(Course.NEVER, None)
    place = int(np.argmax(state))
    if not state[place:].all():
        return _Seen(Course.UNKNOWN, None)
    if place == 0:
        return _Seen(Course.ALREADY, 0)
    return _Seen(Course.TURNS, place) if t[place] == t[place - 1] + 1 else _Seen(Course.UNKNOWN, None)


def _as_columns(seen: _Seen, t: np.ndarray, time: FloatArray, prefix: str) -> dict[str, object]:
    there = seen.place is not None
    return {
        f"{prefix}start_time": time[0] if len(time) else np.nan,
        f"{prefix}end_time": time[-1] if len(time) else np.nan,
        f"{prefix}end_t": int(t[-1]) if len(t) else None,
        f"{prefix}course": seen.course.value,
        f"{prefix}onset_t": int(t[seen.place]) if there else None,
        f"{prefix}onset_time": time[seen.place] if there else np.nan,
    }


def onset_errors(onsets: pd.DataFrame) -> FloatArray:
    """|probe - annotation| in frames of every track (N,) of `track_onsets`; infinite where none is seen.

    Of tracks whose annotated course is `Course.TURNS` only: pass no others.
    """
    called = onsets["onset_t"].to_numpy(dtype=np.float64, na_value=np.inf)
    return np.abs(called - onsets["annotated_onset_t"].to_numpy(dtype=np.float64))


def onset_errors_in_time(onsets: pd.DataFrame) -> FloatArray:
    """The same in the unit of the tracks' time, so that films with other times between frames compare."""
    called = onsets["onset_time"].to_numpy(dtype=np.float64)
    errors = np.abs(called - onsets["annotated_onset_time"].to_numpy(dtype=np.float64))
    return np.where(np.isnan(called), np.inf, errors)


def earliest_onsets(onsets: pd.DataFrame, interval: float) -> FloatArray:
    """When each track (N,) turns by the probe or, not seen to turn, could turn first: in the frame after its last.

    In the unit of the tracks' time, which `interval` between frames is in. An interval around the latter is open
    behind, and so holds an annotated onset exactly where its lower bound does.
    """
    onset = onsets["onset_time"].to_numpy(dtype=np.float64)
    after = onsets["end_time"].to_numpy(dtype=np.float64) + interval
    return np.where(np.isnan(onset), after, onset)


def calibration_errors(onsets: pd.DataFrame) -> FloatArray:
    """|probe - annotation| in frames of every track (N,), where a track not seen to turn does so after its last frame.

    Of tracks whose annotated course is `Course.TURNS` only. All are finite: the errors of `conformal_radius`.
    """
    called = onsets["onset_t"].fillna(onsets["end_t"] + 1).to_numpy(dtype=np.float64)
    return np.abs(called - onsets["annotated_onset_t"].to_numpy(dtype=np.float64))


def conformal_radius(errors: FloatArray, coverage: float = COVERAGE) -> float | None:
    """Half width q of intervals [onset - q, onset + q] that hold the onset of a new track with this probability.

    As split conformal prediction has it (Vovk, Gammerman and Shafer 2005; Lei et al. 2018, absolute residuals), q is
    the ceil((n + 1) coverage)-th smallest of the n calibration errors. Had one probe called the new track and all
    calibration tracks, having learned from none of them, and were they exchangeable, P(covered) >= coverage would hold
    whatever the probe. Here calibration tracks are called by probes of the other folds and the new one by a probe of
    all folds: cross-conformal prediction (Vovk 2015), which holds as far as one fold more or less to learn from does
    not change what a probe calls. Whatever the probe, intervals by folds promise 2 coverage - 1 at worst, and only
    about the folds' own calls of the new track (CV+; Barber et al. 2021). In return the radius rests on every annotated
    track that turns: of 23 val tracks alone, the coverage of one plate to the next has a standard deviation of 6 %.
    The probability is over tracks that turn, together; it is promised of no single condition.

    Returns None where no finite q will do: too few tracks, or too many infinite errors.

    Raises:
        BadInputError: `coverage` is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise BadInputError(f"coverage is {coverage:g}; give a probability between 0 and 1")
    # The small number keeps (9 + 1) * 0.9 at 9 where binary fractions would make it a hair more.
    place = int(np.ceil((len(errors) + 1) * coverage - 1e-9))
    if place > len(errors):
        return None
    radius = float(np.sort(errors)[place - 1])
    return radius if np.isfinite(radius) else None
