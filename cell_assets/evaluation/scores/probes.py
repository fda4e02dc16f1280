"""Linear probes: how well a logistic regression reads a label off a representation.

Rows are split as the manifest states, and the regression's strength is chosen by cross-validation whose folds
hold whole units too, so that no cell is seen on both sides anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray, refuse_overlap

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation strengths that are tried, weakest fit first."""

_DEFAULT_STRENGTH = 1e-2
_MAX_FOLDS = 5
_MAX_ITERATIONS = 2000


DECISION = 0.5
"""Probability from which on a row is predicted to be positive."""


class Criterion(StrEnum):
    """By what the regression's strength is chosen."""

    AVERAGE_PRECISION = "average precision"
    """For scores of a ranking: says nothing of how sure the probabilities are."""
    LOG_LOSS = "log loss"
    """Of balanced classes, for probabilities that are multiplied with each other and so have to be as sure as they
    say."""


@dataclass(frozen=True)
class ProbeData:
    """Rows that a probe learns from or is scored on."""

    features: FloatArray
    """(N, D)"""
    label: BoolArray
    """(N,)"""
    units: StrArray
    """(N,) the unit of the split that each row belongs to."""


@dataclass(frozen=True)
class LinearHead:
    """A fitted probe as arithmetic on one representation: standardise, then a linear function.

    The standardisation is not folded into the weights, where it would cancel large numbers in single precision.
    """

    mean: FloatArray
    """(D,)"""
    scale: FloatArray
    """(D,)"""
    weight: FloatArray
    """(D,)"""
    bias: float

    def logit(self, features: FloatArray) -> FloatArray:
        """(N, D) → (N,): logarithm of the odds of the positive class."""
        return (features - self.mean) / self.scale @ self.weight + self.bias


@dataclass(frozen=True)
class Probe:
    """A fitted probe's say on the scored rows."""

    probability: FloatArray
    """(N_test,) probability of the positive class, as the class-balanced regression sees it."""
    predicted: BoolArray
    """(N_test,) probability of at least `DECISION`."""
    strength: float
    """Inverse regularisation strength C."""
    how_chosen: str
    converged: bool
    head: LinearHead


def why_no_probe(train: ProbeData, test: ProbeData) -> str | None:
    """Why a probe cannot be fitted or scored at all, or None when it can."""
    for rows, side in ((train, "training"), (test, "test")):
        if not len(rows.label):
            return f"no {side} row has a label"
        if rows.features.shape[1] == 0:
            return "the representation has no features"
    if train.label.all() or not train.label.any():
        which = "positive" if train.label.all() else "negative"
        return f"all {len(train.label)} labelled training rows are {which}, so there is nothing to learn"
    return None


# Two threads that share their cores with other work wait for each other at every product: 6.1 s instead of 0.24 s
# for 4400 rows of 384 features.
@threadpool_limits.wrap(limits=1)
def fit_probe(
    train: ProbeData,
    test: ProbeData,
    *,
    split_unit: SplitUnit,
    seed: int,
    criterion: Criterion = Criterion.AVERAGE_PRECISION,
) -> Probe:
    """Standardise, fit a class-balanced logistic regression on `train`, and apply it to `test`.

    C is chosen from `STRENGTHS` by the criterion over grouped inner folds of `train`. Raises
    `BadInputError` when a unit stands on both sides, a feature is not finite, or `why_no_probe` has a reason.
    """
    refuse_overlap(train.units, test.units, split_unit)
    for rows, side in ((train, "training"), (test, "test")):
        _require_finite(rows, side)
    why = why_no_probe(train, test)
    if why is not None:
        raise BadInputError(f"a probe cannot be fitted: {why}")
    strength, how_chosen = choose_strength(train, seed, criterion)
    fitted = _fit(train, strength)
    probability = fitted.model.predict_proba(fitted.scaler.transform(test.features))[:, 1]
    return Probe(
        probability=probability,
        predicted=probability >= DECISION,
        strength=strength,
        how_chosen=how_chosen,
        converged=int(fitted.model.n_iter_[0]) < _MAX_ITERATIONS,
        head=fitted.head,
    )


@dataclass(frozen=True)
class FoldHead:
    """A probe that learned nothing from some units, to call those."""

    units: StrArray
    """(U,) names of the units that were held out from it."""
    head: LinearHead


@threadpool_limits.wrap(limits=1)
def fold_heads(train: ProbeData, strength: float, seed: int) -> tuple[FoldHead, ...]:
    """A probe for each inner fold of `train`, fitted on the other folds (cross-fitting).

    So every unit of `train` can be called as a unit would that the probe has not seen, but for `strength`, one number
    that was chosen by all of them. None where a class is held by fewer than two units.
    """
    return tuple(
        FoldHead(np.unique(train.units[held]), _fit(_part(train, inner), strength).head)
        for inner, held in _inner_folds(train, seed)
        if _both_classes(train.label[inner])
    )


@threadpool_limits.wrap(limits=1)
def fit_joined(
    train: ProbeData,
    test: ProbeData,
    beside_train: FloatArray,
    beside_test: FloatArray,
    *,
    split_unit: SplitUnit,
    seed: int,
) -> Probe:
    """A probe of what the features' own probe says and of something simpler beside it (stacking, Wolpert 1992).

    Side by side with hundreds of features, one number that shares their penalty is lost. So the features are summed
    up first, for training rows by probes that did not learn from their units.

    Args:
        beside_train: (N, K); so `beside_test`, of the test rows.

    Raises:
        BadInputError: as `fit_probe`, or `why_not_joined` has a reason.
    """
    why = why_not_joined(train)
    if why is not None:
        raise BadInputError(f"a probe cannot be fitted: {why}")
    whole = fit_probe(train, test, split_unit=split_unit, seed=seed)
    said = np.empty(len(train.label))
    for inner, held in _inner_folds(train, seed):
        said[held] = _fit(_part(train, inner), whole.strength).head.logit(train.features[held])
    return fit_probe(
        replace(train, features=np.column_stack([said, beside_train])),
        replace(test, features=np.column_stack([whole.head.logit(test.features), beside_test])),
        split_unit=split_unit,
        seed=seed,
    )


def why_not_joined(train: ProbeData) -> str | None:
    """Why training rows cannot be seen by probes that did not learn from them, or None."""
    if _n_folds(train) > 1:
        return None
    return "too few training units hold each class to learn how far the embedding adds to something simpler"


def choose_strength(
    train: ProbeData, seed: int, criterion: Criterion = Criterion.AVERAGE_PRECISION
) -> tuple[float, str]:
    """C that is best by the criterion's mean over inner folds of whole units, and how it was found.

    With fewer than two units that hold positives, or that hold negatives, there is nothing to cross-validate
    and a default is taken and said.
    """
    default = f"C = {_DEFAULT_STRENGTH:g} by default: too few training units hold each class to choose it"
    scores = [
        _fold_scores(train, inner, held, criterion)
        for inner, held in _inner_folds(train, seed)
        if _both_classes(train.label[inner]) and _both_classes(train.label[held])
    ]
    if not scores:
        return _DEFAULT_STRENGTH, default
    strength = STRENGTHS[int(np.argmax(np.mean(scores, axis=0)))]
    by = "" if criterion is Criterion.AVERAGE_PRECISION else f"the {criterion} of "
    return strength, f"C = {strength:g} by {by}{len(scores)}-fold cross-validation over whole training units"


@dataclass(frozen=True)
class _Fitted:
    scaler: StandardScaler
    model: LogisticRegression

    @property
    def head(self) -> LinearHead:
        return LinearHead(
            self.scaler.mean_, self.scaler.scale_, self.model.coef_[0], float(self.model.intercept_[0])
        )


def _fit(train: ProbeData, strength: float) -> _Fitted:
    scaler = StandardScaler().fit(train.features)
    model = _regression(strength).fit(scaler.transform(train.features), train.label)
    return _Fitted(scaler, model)


def _part(rows: ProbeData, which: IntArray) -> ProbeData:
    return ProbeData(rows.features[which], rows.label[which], rows.units[which])


def _n_folds(train: ProbeData) -> int:
    positive, negative = (len(np.unique(train.units[side])) for side in (train.label, ~train.label))
    return min(_MAX_FOLDS, positive, negative)


def _inner_folds(train: ProbeData, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Rows to learn from and rows to see, whole units on one side; none where a class has fewer than two units."""
    if (n_folds := _n_folds(train)) < 2:
        return
    folds = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    yield from folds.split(train.features, train.label, train.units)


def _fold_scores(train: ProbeData, inner: np.ndarray, held: np.ndarray, criterion: Criterion) -> list[float]:
    """Higher is better, one for each of `STRENGTHS`."""
    scaler = StandardScaler().fit(train.features[inner])
    learn, check = scaler.transform(train.features[inner]), scaler.transform(train.features[held])
    # One model goes from the strongest to the weakest regularisation: each fit starts from the last solution.
    model = _regression(STRENGTHS[0], warm_start=True)
    scores = []
    for strength in STRENGTHS:
        model.set_params(C=strength).fit(learn, train.label[inner])
        scores.append(_score(train.label[held], model, check, criterion))
    return scores


def _score(label: BoolArray, model: LogisticRegression, features: FloatArray, criterion: Criterion) -> float:
    if criterion is Criterion.AVERAGE_PRECISION:
        return float(average_precision_score(label, model.decision_function(features)))
    weight = compute_sample_weight("balanced", label)
    return -float(log_loss(label, model.predict_proba(features)[:, 1], sample_weight=weight))


def _regression(strength: float, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(
        C=strength, class_weight="balanced", max_iter=_MAX_ITERATIONS, warm_start=warm_start
    )


def _both_classes(label: BoolArray) -> bool:
    return bool(label.any() and not label.all())


def _require_finite(rows: ProbeData, side: str) -> None:
    bad = np.flatnonzero(~np.isfinite(rows.features).all(axis=1))
    if len(bad):
        raise BadInputError(
            f"{len(bad)} {side} row(s) have features that are not finite, the first belongs to "
            f"{rows.units[bad[0]]}; look at the embeddings of that unit before probing"
        )
