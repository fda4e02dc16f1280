import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from cell_assets.evaluation.motion.dynamics import unit_vectors
from cell_assets.evaluation.motion.identity import (
    smoothness_without_identity,
    state_given_track,
    variance_between_tracks,
    without_identity,
)

QUICK = {"seed": 0, "n_resamples": 100}


def tracked(n_tracks: int = 30, n_times: int = 10, seed: int = 0):
    """Tracks of unequal length with features that depend on track, state and noise; the state turns midway."""
    rng = np.random.default_rng(seed)
    rows = [(k, t) for k in range(n_tracks) for t in range(n_times - k % 3)]
    track, t = (np.array(column) for column in zip(*rows, strict=True))
    positive = t >= 3 + track % 5
    features = 4.0 + rng.normal(size=(n_tracks, 6))[track] + rng.normal(size=(len(t), 6))
    features[:, 0] += 2.0 * positive
    return features, np.array([f"T{k:02d}" for k in track]), t, positive


def explained(z: np.ndarray, *columns: np.ndarray) -> float:
    """Share of all variance that a linear regression of `z` (N, D) on the columns explains."""
    design = np.column_stack(columns)
    predicted = LinearRegression().fit(design, z).predict(design)
    return float(1 - ((z - predicted) ** 2).sum() / ((z - z.mean(axis=0)) ** 2).sum())


def test_variance_between_tracks_is_the_adjusted_r2_of_a_regression_on_tracks():
    features, tracks, _, _ = tracked()
    z = unit_vectors(features)
    names = np.unique(tracks)
    r2 = explained(z, tracks[:, None] == names[1:])
    means = np.stack([z[tracks == track].mean(axis=0) for track in tracks])
    assert r2 == pytest.approx(r2_score(z, means, multioutput="variance_weighted"))
    expected = 1 - (1 - r2) * (len(z) - 1) / (len(z) - len(names))
    found = variance_between_tracks(features, tracks, **QUICK)
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high and found.n_units == 30


def test_features_that_know_no_track_have_no_variance_between_them():
    _, tracks, _, _ = tracked(200, 6)
    features = np.random.default_rng(1).normal(size=(len(tracks), 4)) + 2
    found = variance_between_tracks(features, tracks, **QUICK)
    assert found.low < 0 < found.high and abs(found.value) < 0.03


def test_state_given_track_is_the_partial_r2_of_a_regression_on_tracks_and_state():
    features, tracks, _, positive = tracked()
    z = unit_vectors(features)
    dummies = tracks[:, None] == np.unique(tracks)[1:]
    reduced, full = explained(z, dummies), explained(z, dummies, positive)
    found = state_given_track(features, tracks, positive, **QUICK)
    assert found.value == pytest.approx((full - reduced) / (1 - reduced))
    assert 0.05 < found.low < found.value < found.high < 1


def test_a_state_that_no_track_changes_says_so():
    features, tracks, _, _ = tracked()
    constant = np.char.endswith(tracks, "0")
    assert "changes its state" in state_given_track(features, tracks, constant, **QUICK).why_missing


def test_what_is_left_of_a_track_has_no_mean():
    features, tracks, _, _ = tracked()
    left = without_identity(features, tracks)
    for track in np.unique(tracks):
        np.testing.assert_allclose(left[tracks == track].mean(axis=0), 0, atol=1e-12)


def test_noise_about_who_the_cell_is_is_rough_once_that_is_taken_away_and_a_slow_state_stays_smooth():
    _, tracks, t, _ = tracked(60, 12)
    rng = np.random.default_rng(2)
    _, code = np.unique(tracks, return_inverse=True)
    own = rng.normal(size=(60, 20))[code]
    rough = smoothness_without_identity(own + 0.1 * rng.normal(size=own.shape), tracks, t, 5.0, **QUICK)
    # White noise less the mean of T frames: √(T / (T - 1)), 1.05 for about eleven.
    assert rough.value == pytest.approx(1.05, abs=0.03) and rough.low > 1
    turning = np.column_stack([np.cos(0.2 * t + code), np.sin(0.2 * t + code)])
    smooth = smoothness_without_identity(np.hstack([own, 3 * turning]), tracks, t, 5.0, **QUICK)
    assert smooth.high < 0.3


def test_short_tracks_are_left_out_and_missed_in_words():
    features, tracks, t, _ = tracked(n_times=5)  # a third of the tracks has five frames
    assert smoothness_without_identity(features, tracks, t, 5.0, **QUICK).n_units == 10
    short = t < 4
    found = smoothness_without_identity(features[short], tracks[short], t[short], 5.0, **QUICK)
    assert found.why_missing == "fewer than two test tracks have 5 time points"
