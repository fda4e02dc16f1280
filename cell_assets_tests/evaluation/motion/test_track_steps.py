import numpy as np
import pytest

from cell_assets.evaluation.motion.track_steps import (
    UsualStep,
    prediction_errors,
    step_lengths,
    steps_of,
    unusualness,
)


def test_steps_join_consecutive_time_points_of_a_track_and_know_what_is_missing_between() -> None:
    track, t = np.array(["b", "a", "a", "b", "a"]), np.array([4, 3, 0, 5, 1])
    steps = steps_of(track, t)
    assert (steps.start.tolist(), steps.end.tolist()) == ([2, 4, 0], [4, 1, 3])
    assert steps.frames.tolist() == [1, 2, 1] and steps.track.tolist() == ["a", "a", "b"]
    place = np.array([[0.0], [9.0], [0.0], [1.0], [3.0]])
    assert step_lengths(steps, place).tolist() == [3.0, 3.0, 1.0]  # 6 in two frames


def test_unusualness_of_a_toy_of_six_steps_by_hand() -> None:
    # One track of steps 1 1 1 2 2 11: median 1.5, absolute deviations .5 .5 .5 .5 .5 9.5, so spread 1.4826 * 0.5.
    track, t = np.repeat("a", 7), np.arange(7)
    place = np.cumsum([0.0, 1, 1, 1, 2, 2, 11])[:, None]
    steps = steps_of(track, t)
    usual = UsualStep(median=1.0, scale=2.0)
    centre = (6 * 1.5 + 5 * 1.0) / 11
    scale = (6 * 1.4826 * 0.5 + 5 * 2.0) / 11
    expected = (np.array([1.0, 1, 1, 2, 2, 11]) - centre) / scale
    assert unusualness(steps, step_lengths(steps, place), usual) == pytest.approx(expected)


def test_what_is_usual_is_median_and_scaled_absolute_deviation_or_nothing() -> None:
    usual = UsualStep.of(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    assert usual == UsualStep(3.0, pytest.approx(1.4826))
    assert UsualStep.of(np.array([1.0, 1.0, 1.0, 5.0])) is None
    assert UsualStep.of(np.zeros(0)) is None


@pytest.mark.parametrize(
    ("n", "centre", "spread"), [(2, 25 / 7, (2 * 1.4826 + 5) / 7), (100, 1005 / 105, 153.26 / 105)]
)
def test_a_track_of_few_steps_leans_on_the_population_and_one_of_many_speaks_for_itself(
    n, centre, spread
) -> None:
    # Steps of 9 and 11 where the population's are 1, give or take 1: unusual in a short track, usual in a long one.
    steps = steps_of(np.repeat("a", n + 1), np.arange(n + 1))
    score = unusualness(steps, np.resize([9.0, 11.0], n), UsualStep(1.0, 1.0))
    assert score[1] == pytest.approx((11 - centre) / spread)
    assert (score[1] > 6) == (n == 2) and (score[1] < 1) == (n == 100)


def test_constant_velocity_foretells_a_straight_line_and_misses_a_jump_once() -> None:
    line = np.column_stack([np.arange(6.0), np.zeros(6)])
    steps = steps_of(np.repeat("a", 6), np.arange(6))
    assert prediction_errors(steps, line) == pytest.approx(np.zeros(5))
    jumped = line + np.where(np.arange(6) >= 3, 10.0, 0.0)[:, None] * [0.0, 1.0]
    # Step 2 to 3 is foretold wrongly from both sides by 10 µm; its neighbours are foretold by their other side.
    assert prediction_errors(steps, jumped) == pytest.approx([0, 0, 10, 0, 0])
    lonely = steps_of(np.array(["a", "a"]), np.array([0, 1]))
    assert prediction_errors(lonely, np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx([5.0])
