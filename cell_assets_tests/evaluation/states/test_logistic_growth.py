import numpy as np
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.states.logistic_growth import LogisticGrowth, fit_logistic_growth

HOURS = np.arange(24) * 0.5 + 3.0


def test_the_curve_and_its_plateau_time_are_those_of_hand_calculation():
    # Rate ln 3 per hour: one hour before the midpoint 1/4 of the rise, at it 1/2, one hour after it 3/4.
    curve = LogisticGrowth(baseline=0.1, plateau=0.5, rate=np.log(3), midpoint=8.0)
    assert curve.at(np.array([7.0, 8.0, 9.0])) == pytest.approx([0.2, 0.3, 0.4])
    # 95 % of the rise: odds of 19 to 1, so log_3(19) hours after the midpoint.
    assert curve.plateau_time == pytest.approx(8 + 2.6801438592)


@pytest.mark.parametrize(
    "truth",
    [
        LogisticGrowth(0.02, 0.85, 0.9, 7.4),
        LogisticGrowth(0.0, 1.0, 0.9, 7.4),
        LogisticGrowth(0.1, 0.4, 3.0, 12.0),
        LogisticGrowth(0.0, 0.9, 0.5, 10.0),
    ],
    ids=["inside the bounds", "at both bounds", "late and quick", "slow"],
)
def test_noiseless_growth_is_found_again(truth):
    found = fit_logistic_growth(HOURS, truth.at(HOURS), np.linspace(10, 60, len(HOURS)))
    assert found.baseline == pytest.approx(truth.baseline, abs=1e-7)
    assert found.plateau == pytest.approx(truth.plateau, abs=1e-7)
    assert found.rate == pytest.approx(truth.rate, rel=1e-6)
    assert found.midpoint == pytest.approx(truth.midpoint, rel=1e-7)


def test_units_of_time_do_not_matter():
    truth = LogisticGrowth(0.02, 0.85, 0.9, 7.4)
    rng = np.random.default_rng(0)
    noisy = rng.binomial(40, truth.at(HOURS)) / 40
    hours = fit_logistic_growth(HOURS, noisy, np.ones(24))
    minutes = fit_logistic_growth((HOURS - 3) * 60, noisy, np.ones(24))
    assert minutes.plateau == pytest.approx(hours.plateau, rel=1e-6)
    assert minutes.plateau_time == pytest.approx((hours.plateau_time - 3) * 60, rel=1e-6)


def test_bounds_hold_for_data_that_no_curve_fits():
    rng = np.random.default_rng(1)
    for _ in range(20):
        found = fit_logistic_growth(HOURS, rng.uniform(0, 1, 24), np.ones(24))
        assert 0 <= found.baseline <= found.plateau <= 1
        assert HOURS[0] <= found.midpoint <= HOURS[-1]
        assert 2 * np.log(9) / 23 <= found.rate * (1 + 1e-9)
        assert found.rate <= 4 * np.log(9) * (1 + 1e-9)


def test_a_time_point_without_weight_does_not_count():
    truth = LogisticGrowth(0.02, 0.85, 0.9, 7.4)
    spoilt, weight = truth.at(HOURS), np.ones(24)
    spoilt[20], weight[20] = 0.0, 0.0
    assert fit_logistic_growth(HOURS, spoilt, weight).plateau == pytest.approx(0.85)


def test_five_time_points_are_too_few():
    with pytest.raises(BadInputError, match="5 time points; give at least 6"):
        fit_logistic_growth(HOURS[:5], HOURS[:5] / 10, np.ones(5))
