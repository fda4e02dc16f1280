"""Saturation: the share of pixels at the largest value that the camera can give.

A 12-bit camera's pixels lie in 16-bit files and saturate at 4,095. Where nobody states the camera's bits, a
channel whose largest pixel of the whole plate is exactly 2^10 - 1, 2^12 - 1 or 2^14 - 1 is taken for one of such a
camera; a channel that happens to end there unsaturated gains no more than its few pixels of that value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

CAMERA_BITS = (10, 12, 14)


class LevelSource(StrEnum):
    """Where a saturation level comes from."""

    LARGEST_PIXEL = "largest_pixel"
    """The plate's largest pixel is that of a 10-, 12- or 14-bit camera."""
    DTYPE = "dtype"


@dataclass(frozen=True)
class SaturationLevel:
    """The value at which pixels of a channel count as saturated."""

    value: int
    source: LevelSource


def candidate_levels(dtype: np.dtype) -> tuple[int, ...]:
    """Values at which pixels of this dtype may saturate, rising, the dtype's own last; none for real numbers."""
    if dtype.kind not in "ui":
        return ()
    top = int(np.iinfo(dtype).max)
    return (*(2**bits - 1 for bits in CAMERA_BITS if 2**bits - 1 < top), top)


def saturation_level(dtype: np.dtype, largest: float) -> SaturationLevel | None:
    """The level of a channel whose largest pixel is `largest`; None for real numbers, which have none."""
    levels = candidate_levels(dtype)
    if not levels:
        return None
    if int(largest) in levels[:-1]:
        return SaturationLevel(int(largest), LevelSource.LARGEST_PIXEL)
    return SaturationLevel(levels[-1], LevelSource.DTYPE)


def pixels_at(pixels: NDArray[np.generic], levels: Sequence[int]) -> NDArray[np.int64]:
    """How many pixels have each of the `levels`."""
    return np.array([np.count_nonzero(pixels == level) for level in levels], np.int64)
