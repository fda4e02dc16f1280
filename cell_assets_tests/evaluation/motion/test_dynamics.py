import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.motion.dynamics import (
    first_time_pairs,
    pairs_at_lag,
    temporal_dynamics,
    unit_vectors,
)

OBSERVATIONS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=1, max_size=50)


def columns(observations):
    track, t = (np.array(column) for column in zip(*sorted(observations), strict=True))
    return np.array([f"T{k}" for k in track]), t.astype(np.int64)


@given(observations=OBSERVATIONS, lag=st.integers(1, 5), seed=st.integers(0, 99))
def test_pairs_are_exactly_the_same_track_seen_one_lag_later(observations, lag, seed):
    tracks, t = columns(observations)
    order = np.random.default_rng(seed).permutation(len(t))
    tracks, t = tracks[order], t[order]
    i, j = pairs_at_lag(tracks, t, lag)
    found = {(tracks[a], t[a], tracks[b], t[b]) for a, b in zip(i, j, strict=True)}
    seen = set(zip(tracks, t, strict=True))
    assert found == {(k, s, k, s + lag) for k, s in seen if (k, s + lag) in seen}
    assert len(i) == len(found)


@given(observations=OBSERVATIONS)
def test_every_row_is_joined_with_the_first_time_point_of_its_own_track(observations):
    tracks, t = columns(observations)
    first, row = first_time_pairs(tracks, t)
    assert sorted(row) == list(range(len(t)))
    for a, b in zip(first, row, strict=True):
        assert tracks[a] == tracks[b]
        assert t[a] == t[tracks == tracks[b]].min()


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_shuffling_rows_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    tracks = np.repeat([f"T{k}" for k in range(12)], 8)
    t = np.tile(np.arange(8), 12)
    features = rng.normal(size=(96, 5)) + 3
    order = rng.permutation(96)
    ordered = temporal_dynamics(features, tracks, t, 5.0, seed=1, n_resamples=50)
    shuffled = temporal_dynamics(features[order], tracks[order], t[order], 5.0, seed=1, n_resamples=50)
    assert ordered.smoothness == shuffled.smoothness
    assert ordered.dynamic_range == shuffled.dynamic_range
    for name in ("mean", "sd", "low", "high", "n_pairs"):
        np.testing.assert_array_equal(
            getattr(ordered.displacement, name), getattr(shuffled.displacement, name)
        )
        np.testing.assert_array_equal(getattr(ordered.from_first, name), getattr(shuffled.from_first, name))


def turning(n_tracks: int = 10, n_times: int = 6, step: float = 0.1):
    """Unit vectors in the plane, each track turning by `step` radians per frame from its own start."""
    start = np.linspace(0, 2, n_tracks)
    angle = start[:, None] + step * np.arange(n_times)
    tracks = np.repeat([f"T{k:02d}" for k in range(n_tracks)], n_times)
    features = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(-1, 2)
    return features * 7.0, tracks, np.tile(np.arange(n_times), n_tracks), angle.ravel()


def test_displacement_and_distance_to_the_first_time_point_by_hand():
    features, tracks, t, _ = turning()
    result = temporal_dynamics(features, tracks, t, 30.0, seed=0, max_lag=3)
    chord = 2 * np.sin(0.1 * np.arange(1, 6) / 2)  # of unit vectors that are lag x 0.1 rad apart
    np.testing.assert_allclose(result.displacement.mean, chord[:3])
    np.testing.assert_allclose(result.displacement.sd, 0, atol=1e-12)
    np.testing.assert_array_equal(result.displacement.lag_min, [30, 60, 90])
    np.testing.assert_array_equal(result.displacement.n_pairs, [50, 40, 30])
    np.testing.assert_allclose(result.from_first.mean, chord)
    np.testing.assert_array_equal(result.from_first.n_tracks, [10] * 5)
    assert result.dynamic_range.value == pytest.approx(chord[2] - chord[0])
    assert result.range_lag_frames == 3


def test_strangers_are_all_pairs_of_different_tracks():
    features, tracks, t, angle = turning()
    result = temporal_dynamics(features, tracks, t, 30.0, seed=0)
    a, b = np.triu_indices(len(t), k=1)
    apart = tracks[a] != tracks[b]
    expected = (2 * np.abs(np.sin((angle[a] - angle[b]) / 2)))[apart].mean()
    assert result.random_pairs.value == pytest.approx(expected)
    assert result.smoothness.value == pytest.approx(2 * np.sin(0.05) / expected)


def test_interval_of_the_smoothness_holds_a_known_truth():
    rng = np.random.default_rng(0)
    n_tracks, n_times = 200, 6
    tracks = np.repeat([f"T{k:03d}" for k in range(n_tracks)], n_times)
    t = np.tile(np.arange(n_times), n_tracks)
    # Every row is its own draw: a track is no smoother than strangers, so the ratio is 1.
    result = temporal_dynamics(rng.normal(size=(len(t), 20)), tracks, t, 5.0, seed=0)
    assert result.smoothness.low < 1 < result.smoothness.high


def test_a_gap_in_a_track_makes_no_pair_across_it():
    tracks, t = np.array(["T"] * 4), np.array([0, 1, 5, 6])
    i, j = pairs_at_lag(tracks, t, 1)
    assert sorted(zip(t[i], t[j], strict=True)) == [(0, 1), (5, 6)]
    assert len(pairs_at_lag(tracks, t, 2)[0]) == 0


def test_one_track_has_no_strangers_and_says_so():
    result = temporal_dynamics(np.eye(3), np.array(["T"] * 3), np.arange(3), 5.0, seed=0)
    assert result.smoothness.value is None
    assert result.smoothness.why_missing == "there are no two tracks that differ"
    assert result.displacement_first_lag.value == pytest.approx(np.sqrt(2))
    assert "only 1 independent unit" in result.displacement_first_lag.why_no_interval


def test_single_frames_have_no_displacement_and_say_so():
    tracks = np.array([f"T{k}" for k in range(6)])
    result = temporal_dynamics(np.eye(6), tracks, np.zeros(6, dtype=np.int64), 5.0, seed=0)
    assert result.displacement_first_lag.why_missing == "no track has two consecutive time points"
    assert len(result.displacement.mean) == len(result.from_first.mean) == 0
    assert result.random_pairs.value == pytest.approx(np.sqrt(2))


def test_two_rows_at_one_time_are_refused_by_name():
    with pytest.raises(BadInputError, match="track A has two rows at t 3"):
        temporal_dynamics(np.ones((2, 2)), np.array(["A", "A"]), np.array([3, 3]), 5.0, seed=0)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_refused(bad):
    with pytest.raises(BadInputError, match="the first is row 1"):
        unit_vectors(np.array([[1.0, 2.0], [bad, 0.0]]))
