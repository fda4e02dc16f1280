"""Binary classification scores as statistics of row weights, vectorised over many weightings at once.

With unit weights each equals scikit-learn's function of the same name (and with `sample_weight`, its weighted
form); the tests hold them to it.
"""

from dataclasses import dataclass

import numpy as np

from cell_assets.evaluation.resampling import Statistic
from cell_assets.evaluation.units import BoolArray, FloatArray

ONE_CLASS = "the scored rows hold one class only"


def accuracy(label: BoolArray, predicted: BoolArray) -> Statistic:
    """Share of rows that are predicted right."""
    correct = (label == predicted).astype(np.float64)
    return Statistic(lambda w: _ratio(w @ correct, w.sum(axis=1)), "there are no rows to score")


def balanced_accuracy(label: BoolArray, predicted: BoolArray) -> Statistic:
    """Mean of the shares of positive and of negative rows that are predicted right: one half knows nothing."""
    positive = label.astype(np.float64)
    found = (label & predicted).astype(np.float64)
    spared = (~label & ~predicted).astype(np.float64)

    def function(weights: FloatArray) -> FloatArray:
        sensitivity = _ratio(weights @ found, weights @ positive)
        return (sensitivity + _ratio(weights @ spared, weights @ (1.0 - positive))) / 2.0

    return Statistic(function, ONE_CLASS)


def mean(values: FloatArray, undefined_when: str = "there are no rows to score") -> Statistic:
    """Mean of a value of every row."""
    return Statistic(lambda w: _ratio(w @ values, w.sum(axis=1)), undefined_when)


def f1(label: BoolArray, predicted: BoolArray) -> Statistic:
    """Harmonic mean of precision and recall of the positive class, 2 TP / (2 TP + FP + FN)."""
    true_positive = (label & predicted).astype(np.float64)
    members = label.astype(np.float64) + predicted.astype(np.float64)
    return Statistic(
        lambda w: _ratio(2.0 * (w @ true_positive), w @ members),
        "no row is or is called positive",
    )


def prevalence(label: BoolArray) -> Statistic:
    """Share of positive rows: the average precision of a ranking that knows nothing."""
    positive = label.astype(np.float64)

    def function(weights: FloatArray) -> FloatArray:
        share = _ratio(weights @ positive, weights.sum(axis=1))
        return np.where((share == 0) | (share == 1), np.nan, share)

    return Statistic(function, ONE_CLASS)


def average_precision(label: BoolArray, score: FloatArray) -> Statistic:
    """Area under the precision-recall steps, Σ (R_k − R_{k−1}) P_k over distinct thresholds."""
    ranking = _Ranking.of(label, score)

    def function(weights: FloatArray) -> FloatArray:
        true_positive, total = ranking.counts(weights)
        n_positive, n_rows = true_positive[:, -1], total[:, -1]
        precision = np.divide(true_positive, total, out=np.zeros_like(total), where=total > 0)
        steps = np.diff(true_positive, axis=1, prepend=0.0)
        area = _ratio((steps * precision).sum(axis=1), n_positive)
        return np.where((n_positive == 0) | (n_positive == n_rows), np.nan, area)

    return Statistic(function, ONE_CLASS)


def auroc(label: BoolArray, score: FloatArray) -> Statistic:
    """Probability that a positive row scores above a negative one, ties counting half."""
    ranking = _Ranking.of(label, score)

    def function(weights: FloatArray) -> FloatArray:
        true_positive, total = ranking.counts(weights)
        false_positive = total - true_positive
        width = np.diff(false_positive, axis=1, prepend=0.0)
        height = true_positive - np.diff(true_positive, axis=1, prepend=0.0) / 2.0
        return _ratio((width * height).sum(axis=1), true_positive[:, -1] * false_positive[:, -1])

    return Statistic(function, ONE_CLASS)


def precision(label: BoolArray, predicted: BoolArray) -> Statistic:
    """Share of the rows called positive that are."""
    hit, called = (label & predicted).astype(np.float64), predicted.astype(np.float64)
    return Statistic(lambda w: _ratio(w @ hit, w @ called), "no row is called positive")


def recall(label: BoolArray, predicted: BoolArray) -> Statistic:
    """Share of positive rows that are called so."""
    hit, positive = (label & predicted).astype(np.float64), label.astype(np.float64)
    return Statistic(lambda w: _ratio(w @ hit, w @ positive), "no row is positive")


def difference(left: Statistic, right: Statistic) -> Statistic:
    """`left` minus `right` on the same resample, so that what both share cancels."""
    why = left.undefined_when
    return Statistic(lambda w: left.function(w) - right.function(w), why)


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at each distinct threshold, from the highest score down; both shape (K,)."""

    recall: FloatArray
    precision: FloatArray


def precision_recall(label: BoolArray, score: FloatArray) -> PrecisionRecall | None:
    """The steps whose area is `average_precision`; None when the rows hold one class only."""
    if label.all() or not label.any():
        return None
    true_positive, total = _Ranking.of(label, score).counts(np.ones((1, len(label))))
    return PrecisionRecall(true_positive[0] / true_positive[0, -1], true_positive[0] / total[0])


@dataclass(frozen=True)
class _Ranking:
    """Rows from the highest score down, with the ends of runs of equal scores."""

    order: np.ndarray
    ends: np.ndarray
    positive: FloatArray

    @classmethod
    def of(cls, label: BoolArray, score: FloatArray) -> "_Ranking":
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else order
        return cls(order, ends, label[order].astype(np.float64))

    def counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weighted true positives and all rows at or above each distinct score, both (B, K)."""
        ranked = weights[:, self.order]
        return (
            np.cumsum(ranked * self.positive, axis=1)[:, self.ends],
            np.cumsum(ranked, axis=1)[:, self.ends],
        )


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(
        numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=np.asarray(denominator) > 0
    )
