"""Bleaching: the rate at which a channel's intensity over background decays in one FOV.

One exponential, I(t) = I0 exp(-k t), fitted as a straight line through ln I: photobleaching of a fluorophore is
of first order to begin with (Song, Hennink, Young & Tanke 1995, Biophys. J. 68:2588). Expression, growth
and death of cells change the intensity as well, and count.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

MIN_TIME_POINTS = 4
"""Two points fix the line, a third its error; with four the interval is narrow enough to mean something."""


@dataclass(frozen=True)
class Bleaching:
    """Decay of one FOV's intensity, or why it cannot be fitted."""

    n_time_points: int
    rate_per_min: float | None = None
    """k; below 0 the intensity grows."""
    rate_low: float | None = None
    rate_high: float | None = None
    """95 % interval of k, from Student's t with n - 2 degrees of freedom."""
    half_life_min: float | None = None
    """ln 2 / k; None unless the intensity decays."""
    r_squared: float | None = None
    """Share of the variance of ln I that the line explains; None for a constant intensity."""
    why_missing: str | None = None


def bleaching(time_min: ArrayLike, over_background: ArrayLike) -> Bleaching:
    """Fit the decay of `over_background` (T,), in any unit, at `time_min` (T,); NaN is a time point left out."""
    time, intensity = np.asarray(time_min, np.float64), np.asarray(over_background, np.float64)
    known = np.isfinite(intensity)
    time, intensity = time[known], intensity[known]
    n = len(time)
    if n < MIN_TIME_POINTS:
        return Bleaching(
            n, why_missing=f"{n} time point(s) with cells or light; {MIN_TIME_POINTS} are needed"
        )
    if (intensity <= 0).any():
        return Bleaching(n, why_missing="the intensity does not rise over its background at every time point")
    fit = stats.linregress(time, np.log(intensity))
    half_width = float(stats.t.ppf(0.975, n - 2) * fit.stderr)
    rate = -float(fit.slope)
    return Bleaching(
        n,
        rate,
        rate - half_width,
        rate + half_width,
        float(np.log(2) / rate) if rate > 0 else None,
        None if np.ptp(intensity) == 0 else float(fit.rvalue) ** 2,
    )
