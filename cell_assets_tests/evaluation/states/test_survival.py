import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import median_survival_times

from cell_assets.errors import BadInputError
from cell_assets.evaluation.states.survival import kaplan_meier


def followed(seed: int, late: bool = True, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries, exits and events on whole frames, half of the tracks born during the film."""
    rng = np.random.default_rng(seed)
    entry = np.where(rng.random(n) < 0.5, 0, rng.integers(0, 10, n)) if late else np.zeros(n)
    onset = entry + 1 + rng.geometric(0.08, n)
    end = entry + 1 + rng.geometric(0.05, n)
    return entry.astype(float), np.minimum(onset, end).astype(float), onset <= end


def test_survival_by_hand():
    # At 2: 1 of 5 turns. At 3: the track lost at 2 is gone, one that entered at 2 has come: 1 of 4. At 5: 1 of 2.
    entry = np.array([0.0, 0, 0, 0, 0, 2])
    leave = np.array([2.0, 2, 3, 4, 5, 6])
    turned = np.array([True, False, True, False, True, False])
    found = kaplan_meier(entry, leave, turned)
    assert found.time.tolist() == [2, 3, 5]
    assert found.at_risk.tolist() == [5, 4, 2]
    assert found.survival == pytest.approx([0.8, 0.6, 0.3])
    # Greenwood at 2: 1 / (5 * 4); the bounds are 0.8 to the power of exp(± 1.96 sqrt(0.05) / ln 0.8).
    reach = 1.959964 * np.sqrt(0.05) / np.log(0.8)
    assert found.low[0] == pytest.approx(0.8 ** np.exp(-reach), rel=1e-6)
    assert found.high[0] == pytest.approx(0.8 ** np.exp(reach), rel=1e-6)
    assert found.median().value == 5.0
    assert (found.start, found.end, found.n_tracks) == (0.0, 6.0, 6)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_survival_and_its_bounds_are_those_of_lifelines(seed: int, late: bool):
    entry, leave, turned = followed(seed, late)
    found = kaplan_meier(entry, leave, turned)
    # Lifelines counts a track at risk from its entry on, here it is after it: times are whole, so half a frame.
    judge = KaplanMeierFitter().fit(leave, turned, entry=entry + 0.5)
    assert found.survival == pytest.approx(judge.survival_function_at_times(found.time).to_numpy())
    low, high = judge.confidence_interval_.loc[found.time].to_numpy().T
    known = found.survival > 0
    assert found.low[known] == pytest.approx(low[known])
    assert found.high[known] == pytest.approx(high[known])
    median = found.median()
    assert (median.value if median.value is not None else np.inf) == judge.median_survival_time_
    bounds = np.sort(median_survival_times(judge.confidence_interval_).to_numpy().ravel())
    if median.low is not None:
        assert [median.low, median.high] == bounds.tolist()


def test_a_median_that_is_not_reached_is_no_number():
    zero = np.zeros(4)
    found = kaplan_meier(zero, np.array([1.0, 5, 5, 5]), np.array([True, False, False, False]))
    assert found.median().value is None
    assert found.median().why_missing == "fewer than half have turned by the end, 25 % of them"
    assert found.turned_by_end().value == 0.25
    assert found.turned_by_end().low < 0.25 < found.turned_by_end().high
    nobody = kaplan_meier(zero, zero + 5, np.zeros(4, dtype=bool))
    assert nobody.turned_by_end().value == 0.0
    assert nobody.turned_by_end().low is None


def test_where_all_have_turned_there_is_no_interval():
    found = kaplan_meier(np.zeros(2), np.array([1.0, 2.0]), np.ones(2, dtype=bool))
    assert np.isnan(found.low[-1]) and np.isnan(found.high[-1])
    assert found.turned_by_end().value == 1.0
    assert found.turned_by_end().low is None
    assert found.median().value == 1.0


def test_impossible_tracks_are_refused():
    with pytest.raises(BadInputError, match="track 1 leaves at 2, before it enters at 3"):
        kaplan_meier(np.array([0.0, 3.0]), np.array([1.0, 2.0]), np.zeros(2, dtype=bool))
    with pytest.raises(BadInputError, match="survival of no track"):
        kaplan_meier(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))
