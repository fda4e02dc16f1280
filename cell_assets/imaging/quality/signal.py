"""Intensity over background of one frame: how far its bright pixels lie above its dark ones.

The two classes are Otsu's (1979, IEEE Trans. SMC 9:62), from the frame's histogram. Unlike a frame's mean, the
difference of their means does not grow with the area that cells cover.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Signal:
    """Bright and dark class of one frame, in the pixels' unit."""

    background: float
    """Mean of the dark class."""
    over_background: float
    """Mean of the bright class less that of the dark one."""
    threshold: float
    """Greatest value of the dark class, so that what is above it is bright."""


def otsu_signal(counts: NDArray[np.int64], values: NDArray[np.float64]) -> Signal | None:
    """Signal of a frame, or of a part of it, from its histogram; None where all pixels are equal.

    `counts` (N,) pixels have `values` (N,), rising.
    """
    present = np.flatnonzero(counts)
    if len(present) < 2:
        return None
    n, value = counts[present].astype(np.float64), values[present]
    below = np.cumsum(n)[:-1]
    above = n.sum() - below
    sums = np.cumsum(n * value)
    mean_below, mean_above = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
    best = int(np.argmax(below * above * (mean_above - mean_below) ** 2))
    return Signal(
        background=float(mean_below[best]),
        over_background=float(mean_above[best] - mean_below[best]),
        threshold=float(value[best]),
    )
