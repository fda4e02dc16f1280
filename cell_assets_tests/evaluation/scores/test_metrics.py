import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from cell_assets.evaluation.scores import metrics

ROWS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40
).filter(lambda rows: {True, False} <= {label for label, _, weight in rows if weight > 0})


def unzip(rows):
    label, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    return label.astype(bool), score / 6.0, weight.astype(float)


@given(rows=ROWS)
def test_every_metric_equals_scikit_learn_with_the_same_weights(rows):
    label, score, weight = unzip(rows)
    predicted = score >= 0.5
    pairs = [
        (
            metrics.average_precision(label, score),
            reference.average_precision_score(label, score, sample_weight=weight),
        ),
        (metrics.auroc(label, score), reference.roc_auc_score(label, score, sample_weight=weight)),
        (
            metrics.accuracy(label, predicted),
            reference.accuracy_score(label, predicted, sample_weight=weight),
        ),
        (
            metrics.balanced_accuracy(label, predicted),
            reference.balanced_accuracy_score(label, predicted, sample_weight=weight),
        ),
        (metrics.mean(score), np.average(score, weights=weight)),
        (metrics.f1(label, predicted), reference.f1_score(label, predicted, sample_weight=weight)),
        (metrics.prevalence(label), np.average(label, weights=weight)),
    ]
    for statistic, expected in pairs:
        assert statistic.function(weight[None])[0] == pytest.approx(expected, abs=1e-12)


@given(rows=ROWS)
def test_a_weight_is_the_same_as_that_many_copies_of_the_row(rows):
    label, score, weight = unzip(rows)
    copies = np.repeat(np.arange(len(label)), weight.astype(int))
    for make in (metrics.average_precision, metrics.auroc):
        weighted = make(label, score).function(weight[None])[0]
        copied = make(label[copies], score[copies]).function(np.ones((1, len(copies))))[0]
        assert weighted == pytest.approx(copied, abs=1e-12)


def test_many_weightings_at_once_equal_one_by_one():
    rng = np.random.default_rng(1)
    label, score = rng.random(30) < 0.4, rng.random(30)
    weights = rng.integers(0, 3, size=(20, 30)).astype(float)
    statistic = metrics.average_precision(label, score)
    one_by_one = [statistic.function(row[None])[0] for row in weights]
    np.testing.assert_allclose(statistic.function(weights), one_by_one)


def test_average_precision_by_hand():
    # Ranking + - + : precision 1 at recall 1/2, 2/3 at recall 1.
    value = metrics.average_precision(np.array([True, False, True]), np.array([0.9, 0.5, 0.1]))
    assert value.function(np.ones((1, 3)))[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_balanced_accuracy_by_hand():
    # Two of three positives are found, one of two negatives is spared: (2/3 + 1/2) / 2.
    label = np.array([True, True, True, False, False])
    statistic = metrics.balanced_accuracy(label, np.array([True, True, False, True, False]))
    assert statistic.function(np.ones((1, 5)))[0] == pytest.approx(7 / 12)
    assert np.isnan(statistic.function(np.array([[1.0, 1.0, 1.0, 0.0, 0.0]]))[0])


@pytest.mark.parametrize("make", [metrics.average_precision, metrics.auroc])
def test_one_class_is_undefined_not_zero(make):
    label = np.array([True, True, False])
    statistic = make(label, np.array([0.1, 0.2, 0.3]))
    assert np.isnan(statistic.function(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))).all()


def test_precision_recall_curve_has_the_area_of_average_precision():
    rng = np.random.default_rng(0)
    label, score = rng.random(50) < 0.3, np.round(rng.random(50), 1)
    curve = metrics.precision_recall(label, score)
    area = (np.diff(curve.recall, prepend=0) * curve.precision).sum()
    assert area == pytest.approx(reference.average_precision_score(label, score))
    assert metrics.precision_recall(np.ones(3, dtype=bool), np.arange(3.0)) is None
