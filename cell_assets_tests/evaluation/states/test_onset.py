import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from cell_assets.errors import BadInputError
from cell_assets.evaluation.states.onset import (
    Course,
    along_tracks,
    calibration_errors,
    change_point,
    conformal_radius,
    onset_errors,
    track_onsets,
)
from cell_assets.evaluation.states.state_calls import Direction, StateCalls


def rows(probability, annotated, t=None, track=1):
    n = len(probability)
    t = np.arange(n) if t is None else np.asarray(t)
    return pd.DataFrame(
        {
            "plate": "P1",
            "fov_name": "A/1/000",
            "track_id": track,
            "t": t,
            "time": 3.0 + 0.5 * t,
            "condition": "DENV",
            "split": "test",
            "annotated": pd.array(annotated, dtype="boolean"),
            "probability": np.asarray(probability, dtype=float),
        }
    )


def test_the_change_is_read_from_the_whole_track():
    assert change_point(np.array([0.1, 0.1, 0.9, 0.9, 0.9])) == 2
    # A flicker before it does not draw the onset early: two frames of 1:9 behind it outweigh its 9:1.
    assert change_point(np.array([0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9])) == 4
    # Nor does one after it draw it late.
    assert change_point(np.array([0.1, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9])) == 2
    assert change_point(np.array([0.9, 0.9, 0.9])) == 0


def test_a_step_has_to_outweigh_the_number_of_places_it_could_have_had():
    # One frame of odds 9:1 against ten places, then against eight.
    assert change_point(np.array([0.1] * 9 + [0.9])) is None
    assert change_point(np.array([0.1] * 7 + [0.9])) == 7
    assert change_point(np.full(24, 0.02)) is None
    assert change_point(np.array([0.4])) is None


def test_one_spoilt_frame_cannot_outvote_a_track():
    # Certain, but counted as 99:1, which two frames of 1:19 outweigh.
    assert change_point(np.array([0.05] * 5 + [1.0] + [0.05] * 2)) is None


def test_tracks_with_gaps_and_in_any_order_keep_their_frames():
    table = rows([0.05, 0.05, 0.95, 0.95], [False, False, True, True], t=[2, 5, 6, 9])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        (found,) = track_onsets(table.iloc[order]).to_dict("records")
        assert (found["onset_t"], found["onset_time"]) == (6, 6.0)
        assert (found["start_time"], found["end_time"], found["course"]) == (4.0, 7.5, Course.TURNS)
        assert (found["annotated_onset_t"], found["annotated_course"]) == (6, Course.TURNS)


@pytest.mark.parametrize(
    ("annotated", "t", "course"),
    [
        ([False, False, False], [0, 1, 2], Course.NEVER),
        ([True, True, True], [0, 1, 2], Course.ALREADY),
        ([False, True, True], [0, 1, 2], Course.TURNS),
        ([False, True, False], [0, 1, 2], Course.UNKNOWN),
        ([False, True, True], [0, 2, 3], Course.UNKNOWN),
        ([False, None, True], [0, 1, 2], Course.UNKNOWN),
        ([None, None, None], [0, 1, 2], Course.UNKNOWN),
        ([None, False, True], [0, 1, 2], Course.TURNS),
    ],
)
def test_an_annotated_onset_lies_between_two_neighbouring_frames(annotated, t, course):
    (found,) = track_onsets(rows([0.1] * 3, annotated, t)).to_dict("records")
    assert found["annotated_course"] == course


def test_annotation_ends_where_it_ends_and_not_with_the_track():
    (found,) = track_onsets(rows([0.1] * 4, [None, False, False, None])).to_dict("records")
    assert (found["annotated_start_time"], found["annotated_end_time"]) == (3.5, 4.0)
    assert (found["start_time"], found["end_time"]) == (3.0, 4.5)


def test_errors_are_in_frames_and_infinite_where_nothing_is_seen():
    table = pd.concat(
        [
            rows([0.05, 0.05, 0.95, 0.95], [False, True, True, True], track=1),
            rows([0.05, 0.05, 0.05, 0.05], [False, True, True, True], track=2),
            rows([0.95, 0.95, 0.95, 0.95], [False, False, True, True], track=3),
        ]
    )
    assert onset_errors(track_onsets(table)).tolist() == [1.0, np.inf, 2.0]


def test_the_radius_by_hand():
    # (9 + 1) * 0.9 = 9: the largest of nine. (19 + 1) * 0.9 = 18: the second largest of nineteen.
    assert conformal_radius(np.arange(1.0, 10.0)) == 9.0
    assert conformal_radius(np.arange(19.0, 0.0, -1)) == 18.0
    assert conformal_radius(np.arange(1.0, 9.0)) is None
    assert conformal_radius(np.array([1.0] * 18 + [np.inf])) == 1.0
    assert conformal_radius(np.array([1.0] * 8 + [np.inf])) is None
    with pytest.raises(BadInputError, match=r"coverage is 1\.5"):
        conformal_radius(np.ones(20), 1.5)


def test_intervals_hold_new_onsets_as_often_as_promised():
    """Over many draws of calibration and test tracks, marginal coverage is at least 90 %, to binomial error."""
    rng = np.random.default_rng(0)
    n_draws, n_calibration = 1500, 19

    def errors(n: int) -> np.ndarray:
        found = []
        for _ in range(n):
            onset = int(rng.integers(3, 20))
            truth = np.arange(24) >= onset
            log_odds = rng.normal(np.where(truth, 1.2, -1.2), 1.5)
            table = rows(1 / (1 + np.exp(-log_odds)), truth)
            found.append(table.assign(track_id=len(found)))
        return onset_errors(track_onsets(pd.concat(found)))

    pool = errors(1500)
    assert 0 < np.isinf(pool).mean() < 0.05  # some tracks turn too late to be seen, and count as misses
    covered = 0
    for _ in range(n_draws):
        drawn = rng.choice(pool, n_calibration + 1, replace=False)
        radius = conformal_radius(drawn[:-1])
        covered += radius is None or drawn[-1] <= radius  # no finite radius is an interval of everything
    assert covered >= binom.ppf(0.001, n_draws, 0.9)
    # Frames are whole, so errors tie and coverage lies above 90 %; far above would be an interval too wide.
    assert covered / n_draws < 0.97


def test_radii_of_errors_without_ties_cover_exactly():
    rng = np.random.default_rng(1)
    errors = np.abs(rng.standard_t(3, size=(20_000, 20)))
    radius = np.array([conformal_radius(one) for one in errors[:, :19]])
    covered = int((errors[:, 19] <= radius).sum())
    assert binom.ppf(0.001, 20_000, 0.9) <= covered <= binom.ppf(0.999, 20_000, 0.9)


def test_along_tracks_every_frame_has_the_say_of_its_whole_track():
    flickering = rows([0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9], [None] * 7, track=1)
    clean = rows([0.4] * 7, [None] * 7, track=2)
    table = pd.concat([flickering, clean]).sample(frac=1, random_state=0)
    direction = Direction("infected", "uninfected", 10, 0)
    calls = StateCalls("infection_state", direction, table, "h", "hours post perturbation", 0.5, ())
    found = along_tracks(calls).rows.sort_values(["track_id", "t"])
    assert found["probability"].tolist() == [0, 0, 0, 0, 1, 1, 1] + [0] * 7
    assert table.drop(columns="probability").equals(along_tracks(calls).rows.drop(columns="probability"))


def test_no_rows_have_no_tracks_to_call():
    direction = Direction("infected", "uninfected", 10, 0)
    calls = StateCalls("infection_state", direction, rows([], []), "h", "hours", 0.5, ())
    assert along_tracks(calls).rows.empty


def test_a_track_not_seen_to_turn_could_do_so_in_the_frame_after_its_last():
    late = rows([0.05] * 7 + [0.6], [False] * 7 + [True])
    seen = rows([0.05] * 4 + [0.95] * 4, [False] * 6 + [True] * 2, track=2)
    onsets = track_onsets(pd.concat([late, seen]))
    assert onset_errors(onsets).tolist() == [np.inf, 2.0]
    assert calibration_errors(onsets).tolist() == [1.0, 2.0]
