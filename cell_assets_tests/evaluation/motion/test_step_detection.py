import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from cell_assets.evaluation.motion.step_detection import (
    Detector,
    DetectorSteps,
    best_threshold,
    combine_detectors,
    fit_detector,
    recall_among,
    score_detectors,
)
from cell_assets.evaluation.scores import metrics


def test_precision_recall_and_f1_of_a_toy_by_hand() -> None:
    # Six fitted steps: 9 and 5 are disrupted, 6 is not. From 5 on: 2 found of 3 called, F1 0.8; from 9 on: F1 2/3.
    fit_score, fit_label = [9.0, 6, 5, 2, 1, 0], [True, False, True, False, False, False]
    # Six held-out ones, called from 5 on: 8 (disrupted), 7 (not), 5 (disrupted); 3 (disrupted) is missed.
    test_score, test_label = [8.0, 7, 5, 3, 1, 0], [True, False, True, True, False, False]
    steps = DetectorSteps(
        disrupted=np.array(fit_label + test_label),
        is_test=np.repeat([False, True], 6),
        units=np.array([f"u{k}" for k in range(12)]),
    )
    detector = fit_detector("embedding", "embedding", np.array(fit_score + test_score), steps)
    assert detector.threshold == 5.0
    other = fit_detector("motion", "motion alone", np.zeros(12), steps)
    scores = {
        (s.metric, s.of): s.estimate.value
        for s in score_detectors([detector, other], steps, seed=0, n_resamples=100)
    }
    assert scores["precision", "embedding"] == pytest.approx(2 / 3)
    assert scores["recall", "embedding"] == pytest.approx(2 / 3)
    assert scores["f1", "embedding"] == pytest.approx(2 / 3)
    # Recall rises at 8 (precision 1), at 5 (2/3) and at 3 (3/4).
    assert scores["average_precision", "embedding"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert scores["average_precision", "chance"] == 0.5 == scores["average_precision", "motion"]
    gain = scores["average_precision_gain_of_motion_over_embedding", "embedding"]
    assert gain == pytest.approx(0.5 - (1 + 2 / 3 + 3 / 4) / 3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_threshold_is_the_best_of_all_by_f1(rows) -> None:
    label, score = np.array([one for one, _ in rows]), np.array([value for _, value in rows], dtype=float)
    threshold = best_threshold(label, score)
    if not label.any():
        assert threshold is None
        return
    best = max(f1_score(label, score >= one) for one in np.unique(score))
    assert f1_score(label, score >= threshold) == pytest.approx(best)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_precision_and_recall_are_those_of_scikit_learn_also_when_weighted(rows) -> None:
    label, called = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    weight = np.array([r[2] for r in rows], dtype=float)
    if not weight.any():
        assert np.isnan(metrics.precision(label, called).function(weight[None])[0])
        return
    for ours, theirs in ((metrics.precision, precision_score), (metrics.recall, recall_score)):
        value = ours(label, called).function(weight[None])[0]
        expected = theirs(label, called, sample_weight=weight, zero_division=np.nan)
        assert value == pytest.approx(expected, nan_ok=True)


def two_signals(seed: int = 0, n: int = 400) -> tuple[DetectorSteps, np.ndarray, np.ndarray]:
    """Disrupted steps of which either signal sees one half."""
    rng = np.random.default_rng(seed)
    disrupted = np.arange(n) % 10 == 0
    first, second = rng.normal(size=(2, n))
    first[(np.arange(n) % 20 == 0)] += 8
    second[(np.arange(n) % 20 == 10)] += 8
    units = np.array([f"u{k // 8}" for k in range(n)])
    return DetectorSteps(disrupted, np.arange(n) >= n // 2, units), first, second


def test_combined_finds_what_either_signal_sees() -> None:
    steps, first, second = two_signals()
    parts = [fit_detector("embedding", "e", first, steps), fit_detector("motion", "m", second, steps)]
    both = combine_detectors("combined", "both", parts, steps)
    scores = {
        (s.metric, s.of): s.estimate for s in score_detectors([*parts, both], steps, seed=0, n_resamples=200)
    }
    assert scores["recall", "combined"].value > 0.9 > 0.6 > scores["recall", "embedding"].value
    gain = scores["average_precision_gain_of_combined_over_motion", "embedding"]
    assert gain.low > 0


def test_thresholds_and_weights_know_nothing_of_held_out_steps() -> None:
    steps, first, second = two_signals()
    other = DetectorSteps(
        np.where(steps.is_test, ~steps.disrupted, steps.disrupted), steps.is_test, steps.units
    )
    moved = [np.where(steps.is_test, 50 - values, values) for values in (first, second)]
    fitted = [
        [fit_detector(name, name, values, of) for name, values in zip("em", both, strict=True)]
        for of, both in ((steps, (first, second)), (other, moved))
    ]
    assert [one.threshold for one in fitted[0]] == [one.threshold for one in fitted[1]]
    combined = [
        combine_detectors("c", "c", parts, of) for parts, of in zip(fitted, (steps, other), strict=True)
    ]
    assert combined[0].threshold == combined[1].threshold
    fit = ~steps.is_test
    assert (combined[0].score[fit] == combined[1].score[fit]).all()


def test_what_cannot_be_scored_says_why() -> None:
    steps, first, _ = two_signals()
    nothing = DetectorSteps(steps.disrupted & steps.is_test, steps.is_test, steps.units)
    detector = fit_detector("embedding", "embedding", first, nothing)
    broken = Detector("motion", "motion alone", None, why_missing="cells do not move")
    both = combine_detectors("combined", "both", [detector, broken], nothing)
    scores = {
        (s.metric, s.of): s.estimate
        for s in score_detectors([detector, broken, both], nothing, seed=0, n_resamples=100)
    }
    assert scores["average_precision", "embedding"].value is not None
    assert (
        scores["recall", "embedding"].why_missing == "no fitted step is disrupted, so there is no threshold"
    )
    for key in (("f1", "motion"), ("auroc", "combined"), ("average_precision_gain_over_motion", "embedding")):
        assert scores[key].why_missing == "cells do not move"
    untrained = combine_detectors("combined", "both", [detector], nothing)
    assert untrained.why_missing == "fitted steps are all disrupted, or none of them is"
    every = np.full(len(first), True)
    assert "no threshold" in recall_among(detector, nothing, every, 0, 100).why_missing
    found = fit_detector("embedding", "embedding", first, steps)
    assert recall_among(found, steps, ~every, 0, 100).why_missing == "no held-out step is so"
