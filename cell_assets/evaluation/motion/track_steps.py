"""Steps along tracks, and how unusual each is: for its track, and for cells at large."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.evaluation.units import FloatArray, IntArray, StrArray

POPULATION_STEPS = 5.0
"""The usual step of a track is the median of its own steps, held towards the population's as if so many steps of the
population were among them: a track of few steps says little of itself, one of many speaks for itself."""

_SD_PER_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class Steps:
    """From each time point of a track to the next one at which it was seen; every array has shape (K,)."""

    start: IntArray
    """Rows."""
    end: IntArray
    frames: IntArray
    """Elapsed, 1 where no frame is missing in between."""
    track: StrArray


@dataclass(frozen=True)
class UsualStep:
    """What a step of the population is like."""

    median: float
    scale: float
    """Median absolute deviation, as a standard deviation."""

    @classmethod
    def of(cls, rate: FloatArray) -> "UsualStep | None":
        """Of steps (K,); None where more than half of them are equal, so that nothing is unusual by a measure."""
        if not len(rate):
            return None
        median = float(np.median(rate))
        scale = _SD_PER_MAD * float(np.median(np.abs(rate - median)))
        return cls(median, scale) if scale > 0 else None


def steps_of(track: StrArray, t: IntArray) -> Steps:
    """Every step of every track, by track and time, whatever the order of rows (N,)."""
    order = np.lexsort((t, track))
    same = track[order][1:] == track[order][:-1]
    start, end = order[:-1][same], order[1:][same]
    return Steps(start, end, t[end] - t[start], track[start])


def step_lengths(steps: Steps, values: FloatArray) -> FloatArray:
    """Euclidean length (K,) of each step in `values` (N, D), per frame; of unit vectors, DynaCLR Eq. 3 at τ = 1."""
    return np.linalg.norm(values[steps.end] - values[steps.start], axis=1) / steps.frames


def prediction_errors(steps: Steps, position: FloatArray) -> FloatArray:
    """By how much (K,), per frame, a step misses what constant velocity foretells.

    The velocity is that of the step before or of the step after, whichever foretells better: right after a swap the
    step before is the swap itself and says nothing. The only step of a track is foretold to stay.
    """
    velocity = (position[steps.end] - position[steps.start]) / steps.frames[:, None]
    n = len(steps.frames)
    error = np.full(n, np.inf)
    follows = np.flatnonzero(steps.track[1:] == steps.track[:-1])
    change = np.linalg.norm(velocity[follows + 1] - velocity[follows], axis=1)
    error[follows + 1] = change
    error[follows] = np.minimum(error[follows], change)
    return np.where(np.isinf(error), np.linalg.norm(velocity, axis=1), error)


def unusualness(steps: Steps, rate: FloatArray, usual: UsualStep) -> FloatArray:
    """Robust z (K,) of each step: `rate` less the usual one, over its usual spread.

    Median and spread (1.4826 times the median absolute deviation) are those of the step's own track, held towards
    `usual` with the weight of `POPULATION_STEPS` steps.
    """
    by_track = pd.Series(rate).groupby(steps.track)
    n = by_track.transform("size").to_numpy()
    median = by_track.transform("median")
    spread = _SD_PER_MAD * (rate - median).abs().groupby(steps.track).transform("median")
    centre = (n * median.to_numpy() + POPULATION_STEPS * usual.median) / (n + POPULATION_STEPS)
    scale = (n * spread.to_numpy() + POPULATION_STEPS * usual.scale) / (n + POPULATION_STEPS)
    return (rate - centre) / scale
