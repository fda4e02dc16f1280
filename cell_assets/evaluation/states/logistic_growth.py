"""Logistic growth of a fraction over time, fitted within bounds that keep every parameter readable."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from cell_assets.errors import BadInputError
from cell_assets.evaluation.units import FloatArray

MIN_TIME_POINTS = 6
"""Four parameters pass through any four points; two more let the data speak against the curve."""

PLATEAU_SHARE = 0.95
"""Share of its rise at which a curve that never quite arrives counts as arrived."""

_TEN_TO_NINETY = 2 * np.log(9)
"""A logistic curve of rate 1 needs this long from 10 % to 90 % of its rise."""
_START_SLOPES = (1.0, 3.0, 9.0)  # from 10 % to 90 % in the whole span, a third and a ninth of it
_TOLERANCE = 1e-14  # to the last digits, so that another build of the library comes to the same optimum
_MOST_EVALUATIONS = 300


@dataclass(frozen=True)
class LogisticGrowth:
    """fraction(t) = baseline + (plateau - baseline) / (1 + exp(-rate (t - midpoint)))."""

    baseline: float
    plateau: float
    rate: float
    """Per unit of time."""
    midpoint: float
    """Time of half of the rise."""

    def at(self, time: FloatArray) -> FloatArray:
        """Fraction (T,) at `time` (T,)."""
        rise = self.plateau - self.baseline
        return np.asarray(self.baseline + rise * expit(self.rate * (time - self.midpoint)))

    @property
    def plateau_time(self) -> float:
        """When the curve has made `PLATEAU_SHARE` of its rise."""
        return float(self.midpoint + np.log(PLATEAU_SHARE / (1 - PLATEAU_SHARE)) / self.rate)


def fit_logistic_growth(
    time: FloatArray, fraction: FloatArray, weight: FloatArray, start: LogisticGrowth | None = None
) -> LogisticGrowth:
    """Weighted least squares of a logistic growth curve.

    Bounds: 0 <= baseline <= plateau <= 1; the midpoint lies within the times; from 10 % to 90 % of the rise it
    takes between one interval (a quicker rise looks the same) and twice the span (a slower one is a line).

    Args:
        time: (T,), increasing.
        fraction: (T,), each between 0 and 1.
        weight: (T,), for example the number of cells behind each fraction.
        start: where to look first, as for a resample of the same data; None looks from several places.

    Raises:
        BadInputError: there are fewer than `MIN_TIME_POINTS` times.
    """
    if len(time) < MIN_TIME_POINTS:
        raise BadInputError(
            f"a logistic curve cannot be fitted to {len(time)} time points; give at least {MIN_TIME_POINTS}"
        )
    origin, span = float(time[0]), float(time[-1] - time[0])
    unit_time = (time - origin) / span
    slopes = (_TEN_TO_NINETY / 2, _TEN_TO_NINETY / float(np.diff(unit_time).min()))
    low = np.array([0.0, 0.0, np.log(slopes[0]), 0.0])
    high = np.array([1.0, 1.0, np.log(slopes[1]), 1.0])
    root_weight = np.sqrt(weight / weight.max())

    def residuals(p: FloatArray) -> FloatArray:
        return np.asarray(root_weight * (_curve(p, unit_time) - fraction))

    def jacobian(p: FloatArray) -> FloatArray:
        return np.asarray(root_weight[:, None] * _gradient(p, unit_time))

    starts = _starts(unit_time, fraction) if start is None else [_parameters(start, origin, span)]
    fits = [
        least_squares(
            residuals,
            np.clip(one, low, high),
            jacobian,
            bounds=(low, high),
            method="dogbox",
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            gtol=_TOLERANCE,
            max_nfev=_MOST_EVALUATIONS,
        )
        for one in starts
    ]
    baseline, share, log_slope, middle = min(fits, key=lambda fit: fit.cost).x
    return LogisticGrowth(
        baseline=float(baseline),
        plateau=float(baseline + (1 - baseline) * share),
        rate=float(np.exp(log_slope) / span),
        midpoint=float(origin + span * middle),
    )


def _curve(p: FloatArray, time: FloatArray) -> FloatArray:
    """With the plateau as a share of what lies above the baseline, every bound is a plain interval."""
    baseline, share, log_slope, middle = p
    return np.asarray(baseline + (1 - baseline) * share * expit(np.exp(log_slope) * (time - middle)))


def _gradient(p: FloatArray, time: FloatArray) -> FloatArray:
    baseline, share, log_slope, middle = p
    slope = np.exp(log_slope)
    risen = expit(slope * (time - middle))
    steep = (1 - baseline) * share * risen * (1 - risen) * slope
    return np.column_stack([1 - share * risen, (1 - baseline) * risen, steep * (time - middle), -steep])


def _starts(time: FloatArray, fraction: FloatArray) -> list[FloatArray]:
    lowest, highest = float(fraction.min()), float(fraction.max())
    above = np.flatnonzero(fraction >= (lowest + highest) / 2)
    share = (highest - lowest) / (1 - lowest) if lowest < 1 else 0.5
    return [
        np.array([lowest, share, np.log(_TEN_TO_NINETY * slope), time[above[0]]]) for slope in _START_SLOPES
    ]


def _parameters(curve: LogisticGrowth, origin: float, span: float) -> FloatArray:
    above = 1 - curve.baseline
    share = (curve.plateau - curve.baseline) / above if above > 0 else 0.5
    return np.array([curve.baseline, share, np.log(curve.rate * span), (curve.midpoint - origin) / span])
