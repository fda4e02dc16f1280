"""Bleaching: a known rate recovered, its interval honest, and reasons where there is no rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.imaging.quality.bleaching import bleaching


@given(st.floats(1e-4, 0.05), st.floats(1, 1e4), st.integers(4, 60), st.floats(0.5, 30))
def test_a_noiseless_decay_is_recovered(rate: float, start: float, n: int, interval: float) -> None:
    time = np.arange(n) * interval
    found = bleaching(time, start * np.exp(-rate * time))
    assert found.rate_per_min == pytest.approx(rate, rel=1e-6)
    assert found.half_life_min == pytest.approx(np.log(2) / rate, rel=1e-6)


def test_by_hand() -> None:
    """ln I = 0, -1, -1, -2: slope -0.6, sum of squared residuals 0.2, of times 5; t(0.975, 2) is 4.30265."""
    found = bleaching([0, 1, 2, 3], np.exp([0.0, -1.0, -1.0, -2.0]))
    half = 4.30265 * (0.2 / 2 / 5) ** 0.5
    assert found.rate_per_min == pytest.approx(0.6)
    assert (found.rate_low, found.rate_high) == pytest.approx((0.6 - half, 0.6 + half), abs=1e-5)
    assert found.r_squared == pytest.approx(0.9)


def test_the_interval_holds_the_truth_19_times_in_20() -> None:
    rng, time = np.random.default_rng(0), np.arange(12.0)
    held = 0
    for _ in range(1000):
        found = bleaching(time, 500 * np.exp(-0.03 * time + rng.normal(0, 0.05, 12)))
        assert found.rate_low is not None and found.rate_high is not None
        held += found.rate_low <= 0.03 <= found.rate_high
    assert 930 <= held <= 970


def test_growth_is_a_negative_rate_without_a_half_life() -> None:
    found = bleaching([0, 1, 2, 3], [1.0, 2.0, 4.0, 8.0])
    assert found.rate_per_min == pytest.approx(-np.log(2))
    assert found.half_life_min is None


@pytest.mark.parametrize(
    ("intensity", "why"),
    [
        ([5.0, 4.0, 3.0], "3 time point"),
        ([5.0, np.nan, 4.0, 3.0], "3 time point"),
        ([5.0, 4.0, 0.0, 3.0], "does not rise over its background"),
    ],
)
def test_what_cannot_be_fitted_says_why(intensity: list[float], why: str) -> None:
    found = bleaching(np.arange(len(intensity)), intensity)
    assert found.rate_per_min is None and found.rate_low is None
    assert found.why_missing is not None and why in found.why_missing
