import numpy as np
import pytest
from scipy import stats

from cell_assets.evaluation.resampling import MIN_UNITS, Statistic, bootstrap_interval


def mean_of(values: np.ndarray) -> Statistic:
    return Statistic(lambda w: (w @ values) / w.sum(axis=1), "there are no rows")


def units_of(n_units: int, rows_each: int) -> np.ndarray:
    return np.repeat([f"u{k:04d}" for k in range(n_units)], rows_each)


def test_interval_equals_scipy_when_each_unit_is_one_row():
    values = np.random.default_rng(0).normal(size=60)
    ours = bootstrap_interval(units_of(60, 1), mean_of(values), seed=0, n_resamples=4000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=0)
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_rows_of_one_unit_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=30)
    once = bootstrap_interval(units_of(30, 1), mean_of(values), seed=0)
    copied = bootstrap_interval(units_of(30, 50), mean_of(np.repeat(values, 50)), seed=0)
    assert copied.n_units == once.n_units == 30
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        # Rows of a track share the track's own offset, so a bootstrap over rows would cover far too seldom.
        values = np.repeat(rng.normal(size=40), 10) + rng.normal(0, 0.1, size=400)
        estimate = bootstrap_interval(units_of(40, 10), mean_of(values), seed=trial, n_resamples=400)
        covered += estimate.low <= 0 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.98


def test_the_seed_decides_and_row_order_does_not():
    rng = np.random.default_rng(0)
    values, units = rng.normal(size=90), units_of(30, 3)
    order = rng.permutation(90)
    first = bootstrap_interval(units, mean_of(values), seed=5)
    shuffled = bootstrap_interval(units[order], mean_of(values[order]), seed=5)
    other = bootstrap_interval(units, mean_of(values), seed=6)
    assert (first.low, first.high) == pytest.approx((shuffled.low, shuffled.high), abs=1e-12)
    assert first.low != other.low


@pytest.mark.parametrize("n_units", range(1, MIN_UNITS))
def test_too_few_units_give_the_value_and_a_reason(n_units):
    estimate = bootstrap_interval(units_of(n_units, 4), mean_of(np.ones(4 * n_units)), seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, None, None)
    assert f"only {n_units} independent unit(s)" in estimate.why_no_interval


def test_no_rows_give_a_reason_and_no_value():
    estimate = bootstrap_interval(np.array([], dtype=str), mean_of(np.zeros(0)), seed=0)
    assert estimate.value is None
    assert estimate.why_missing == "there are no rows to compute it from"


def test_undefined_resamples_are_counted_and_left_out():
    # One unit in six is positive: (5/6)^6 = 33 % of resamples miss it.
    has_positive = np.array([1.0, 0, 0, 0, 0, 0])
    statistic = Statistic(lambda w: np.where(w @ has_positive > 0, 2.0, np.nan), "no row is positive")
    estimate = bootstrap_interval(units_of(6, 1), statistic, seed=0, n_resamples=3000)
    assert estimate.n_undefined / 3000 == pytest.approx((5 / 6) ** 6, abs=0.03)
    assert (estimate.low, estimate.high) == (2.0, 2.0)


def test_mostly_undefined_resamples_give_no_interval_but_say_why():
    statistic = Statistic(
        lambda w: np.where((w == 1).all(axis=1), 1.0, np.nan), "some row was not drawn exactly once"
    )
    estimate = bootstrap_interval(units_of(8, 1), statistic, seed=0)
    assert estimate.value == 1.0
    assert estimate.low is None
    assert "some row was not drawn exactly once" in estimate.why_no_interval


def test_a_statistic_that_is_undefined_on_the_rows_is_missing_with_its_reason():
    statistic = Statistic(lambda w: np.full(len(w), np.nan), "the scored rows hold one class only")
    estimate = bootstrap_interval(units_of(9, 2), statistic, seed=0)
    assert estimate.value is None
    assert estimate.why_missing == "the scored rows hold one class only"
