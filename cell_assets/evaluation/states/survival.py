"""Kaplan-Meier survival of tracks that enter late and are lost early, with Greenwood's variance."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cell_assets.errors import BadInputError
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Survival:
    """Share that has not turned, after each time at which one turned; arrays are (K,)."""

    time: FloatArray
    at_risk: IntArray
    """Just before each time."""
    turned: IntArray
    survival: FloatArray
    low: FloatArray
    high: FloatArray
    """With `low`, the 95 % interval; NaN where survival is 0, of which Greenwood's variance says nothing."""
    start: float
    """When the first track enters; survival is 1 from here to the first time."""
    end: float
    """When the last track is lost or turns."""
    n_tracks: int

    def median(self) -> Estimate:
        """First time at which survival is one half or less, with the times at which its bounds are.

        (Brookmeyer and Crowley 1982.) Without an interval where the upper bound never comes so low.
        """
        crossed = self.time[self.survival <= 0.5]
        if not len(crossed):
            last = self.survival[-1] if len(self.time) else 1.0
            return Estimate.missing(
                f"fewer than half have turned by the end, {100 * (1 - last):.0f} % of them", self.n_tracks
            )
        # Where survival is 0 the bounds are not known, but the lower one cannot lie above it.
        low = self.time[(self.low <= 0.5) | (self.survival == 0)]
        high = self.time[self.high <= 0.5]
        if not len(high):
            why = "the interval of survival does not fall to one half by the end"
            return Estimate.exact(float(crossed[0]), self.n_tracks, why)
        return Estimate(float(crossed[0]), float(low[0]), float(high[0]), self.n_tracks)

    def turned_by_end(self) -> Estimate:
        """Share that has turned by the end of the film, one less the last survival."""
        if not len(self.time):
            return Estimate.exact(
                0.0, self.n_tracks, "none turned, of which Greenwood's variance says nothing"
            )
        value = float(1 - self.survival[-1])
        if np.isnan(self.low[-1]):
            return Estimate.exact(
                value, self.n_tracks, "all turned, of which Greenwood's variance says nothing"
            )
        return Estimate(value, float(1 - self.high[-1]), float(1 - self.low[-1]), self.n_tracks)


def kaplan_meier(entry: FloatArray, exit_time: FloatArray, turned: BoolArray) -> Survival:
    """Product-limit estimate with left truncation and right censoring (Kaplan and Meier 1958).

    A track is at risk after `entry` up to and including `exit_time`, all (N,): one that turned the moment it was
    first seen tells nothing of how long that took. Bounds come from Greenwood's variance on the scale of
    log(-log S) (Kalbfleisch and Prentice 1980), so that they stay between 0 and 1.

    Raises:
        BadInputError: there is no track, or one leaves before it enters.
    """
    if not len(entry):
        raise BadInputError("survival of no track was asked for; give at least one")
    if (exit_time < entry).any():
        k = int(np.argmax(exit_time < entry))
        raise BadInputError(f"track {k} leaves at {exit_time[k]:g}, before it enters at {entry[k]:g}")
    counts = turned & (exit_time > entry)
    time, events = np.unique(exit_time[counts], return_counts=True)
    at_risk = np.array([((entry < one) & (exit_time >= one)).sum() for one in time], dtype=np.int64)
    survival: FloatArray = np.cumprod(1.0 - events / at_risk, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events)))
        reach = _Z * np.sqrt(variance) / np.log(survival)
        low, high = survival ** np.exp(-reach), survival ** np.exp(reach)
    known = survival > 0
    return Survival(
        time=time,
        at_risk=at_risk,
        turned=events.astype(np.int64),
        survival=survival,
        low=np.where(known, low, np.nan),
        high=np.where(known, high, np.nan),
        start=float(entry.min()),
        end=float(exit_time.max()),
        n_tracks=len(entry),
    )
