"""Focus of an image from its power spectrum: blur takes high spatial frequencies away first.

Slope of the log power spectrum: Field & Brady (1997), Vision Research 37:3367; as a quality measure of screens
Bray et al. (2012), J. Biomol. Screen. 17:266. An image of little but camera noise has a flat spectrum and so
looks sharp: read focus beside the intensity over background.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

HIGH_FREQUENCY = 0.125
"""Cycles per pixel from which power counts as high-frequency: structures below 8 pixels per period."""

_LOWEST, _NYQUIST = 1 / 64, 0.5
"""Below 1/64 cycles per pixel lie cells and illumination, not edges."""
_RINGS = 24
_MIN_RINGS = 3
_FLOOR = 1e-12
"""Of the strongest ring. Below lies rounding, whose flat spectrum would pass for detail."""


@dataclass(frozen=True)
class Focus:
    """Focus of one (Y, X) image."""

    slope: float
    """Slope of log power over log frequency, 1/64 to 1/2 cycles per pixel; steeper (lower) is blurrier."""
    high_frequency_share: float
    """Power from 1/8 to 1/2 cycles per pixel over that from 1/64 to 1/2, 0..1; lower is blurrier."""


@dataclass(frozen=True)
class VolumeFocus:
    """Focus of the sharpest plane of a (Z, Y, X) volume."""

    z: int
    focus: Focus


def sharpest_plane(volume: NDArray[np.generic]) -> VolumeFocus | None:
    """The plane of a (Z, Y, X) volume with the largest high-frequency share; None when no plane has a focus."""
    found = [(z, focus) for z, plane in enumerate(volume) if (focus := plane_focus(plane)) is not None]
    if not found:
        return None
    z, focus = max(found, key=lambda one: one[1].high_frequency_share)
    return VolumeFocus(z, focus)


def plane_focus(plane: NDArray[np.generic]) -> Focus | None:
    """Focus of one (Y, X) image; None for a constant one and for sides too short for three frequency rings.

    Up to a few per cent of the last rows and columns are left out where the length is slow to transform.
    """
    # 1009 is prime: 1009 x 1305 pixels took 22 ms, 1008 x 1296 take 14.
    height, width = (scipy.fft.prev_fast_len(side, real=True) for side in plane.shape)
    rings = _rings(height, width)
    real = plane[:height, :width].astype(np.float32)
    real -= real.mean(dtype=np.float64).astype(np.float32)
    # Opposite borders of an image do not meet: without a window their steps are high frequencies of their own.
    spectrum = scipy.fft.rfft2(real * rings.window)
    power = np.square(spectrum.real, dtype=np.float64) + np.square(spectrum.imag, dtype=np.float64)
    sums = np.bincount(rings.ring.ravel(), (power * rings.multiplicity).ravel(), _RINGS + 1)[:_RINGS]
    if len(rings.present) < _MIN_RINGS or not sums.any():
        return None
    mean = sums[rings.present] / rings.count[rings.present]
    log_power = np.log(np.maximum(mean, mean.max() * _FLOOR))
    slope = np.polynomial.polynomial.polyfit(rings.log_frequency[rings.present], log_power, 1)[1]
    high = rings.is_high
    return Focus(float(slope), float(sums[high].sum() / sums.sum()))


@dataclass(frozen=True)
class _Rings:
    """Rings of equal width in log frequency for images of one shape."""

    window: NDArray[np.float32]
    ring: NDArray[np.int64]
    """Per coefficient of a real transform; `_RINGS` outside the range."""
    multiplicity: NDArray[np.float64]
    """2 where the real transform leaves the mirrored coefficient out."""
    count: NDArray[np.float64]
    present: NDArray[np.int64]
    log_frequency: NDArray[np.float64]
    is_high: NDArray[np.bool_]


@lru_cache(maxsize=4)
def _rings(height: int, width: int) -> _Rings:
    y, x = scipy.fft.fftfreq(height), scipy.fft.rfftfreq(width)
    frequency = np.hypot(y[:, None], x[None, :])
    edges = np.geomspace(_LOWEST, _NYQUIST, _RINGS + 1)
    ring = np.searchsorted(edges, frequency, side="right") - 1
    ring[(frequency < _LOWEST) | (frequency >= _NYQUIST)] = _RINGS
    multiplicity = np.full(frequency.shape, 2.0)
    multiplicity[:, 0] = 1.0
    if width % 2 == 0:
        multiplicity[:, -1] = 1.0
    count = np.bincount(ring.ravel(), multiplicity.ravel(), _RINGS + 1)[:_RINGS].astype(np.float64)
    middle = np.sqrt(edges[:-1] * edges[1:])
    window = np.outer(_hann(height), _hann(width)).astype(np.float32)
    return _Rings(
        window, ring, multiplicity, count, np.flatnonzero(count), np.log(middle), middle >= HIGH_FREQUENCY
    )


def _hann(n: int) -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
