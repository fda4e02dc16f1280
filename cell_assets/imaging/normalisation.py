"""How grey values are put on one scale: the numbers per channel, at FOV and time level, and a NumPy
reference.

Phase: (x - mean) / sd. Fluorescence: percentiles 50 → 0 and 99 → 1. Both are `(x - shift) / scale`, so that
whoever applies them needs two numbers per channel. A frame without any contrast has neither: it is named,
and left out of the FOV's statistics instead of averaged in.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cell_assets.imaging.channels import ChannelKind

_SAMPLE = 2**16
"""Values kept of a frame for percentiles where values cannot be counted."""
_SLAB = 2**20
"""Values that are widened to 64 bits at a time."""


class NormalisationScheme(StrEnum):
    """What shift and scale stand for."""

    MEAN_SD = "mean_sd"
    PERCENTILE_50_99 = "percentile_50_99"


SCHEMES = {
    ChannelKind.PHASE: NormalisationScheme.MEAN_SD,
    ChannelKind.FLUORESCENCE: NormalisationScheme.PERCENTILE_50_99,
}


@dataclass(frozen=True)
class Scaling:
    """`(x - shift) / scale`; both None where the values have no spread to scale by."""

    shift: float | None
    scale: float | None


@dataclass(frozen=True)
class ChannelStatistics:
    """Scalings of one channel of one position."""

    fov: Scaling
    """Over all frames with contrast."""
    time: tuple[Scaling, ...]
    """Per time point."""
    constant_frames: tuple[int, ...]
    """Time points whose every pixel has the same value, such as a camera's all-zero frame."""


class ChannelTally:
    """Gathers one channel's statistics frame by frame, in order of time.

    Exact for 8- and 16-bit integers (counts of every value). For other types phase is exact, and
    percentiles are those of a regular subsample of 65,536 pixels a frame. Memory beside the frame: half a
    MiB a channel and, for other types, the subsamples.
    """

    def __init__(self, kind: ChannelKind, dtype: np.dtype) -> None:
        self._kind = kind
        self._summary: type[_Counts] | type[_Moments] | type[_Sample]
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            self._summary = _Counts
        else:
            self._summary = _Moments if kind is ChannelKind.PHASE else _Sample
        self._pooled: _Counts | _Moments | _Sample | None = None
        self._time: list[Scaling] = []
        self._constant: list[int] = []

    def add(self, volume: NDArray[np.generic]) -> None:
        """Take in the next time point's `(Z, Y, X)`."""
        flat = volume.ravel()
        if flat.min() == flat.max():
            self._constant.append(len(self._time))
            self._time.append(Scaling(None, None))
            return
        found = self._summary.of(flat)
        self._time.append(found.scaling(self._kind))
        # One class serves a tally for its life, so the two summaries are always of one kind.
        self._pooled = found if self._pooled is None else self._pooled.merged(found)  # type: ignore[arg-type]

    def statistics(self) -> ChannelStatistics:
        """Statistics of what was added so far."""
        pooled = Scaling(None, None) if self._pooled is None else self._pooled.scaling(self._kind)
        return ChannelStatistics(pooled, tuple(self._time), tuple(self._constant))


def normalise(
    patches: NDArray[np.generic], shift: NDArray[np.floating], scale: NDArray[np.floating]
) -> NDArray[np.float32]:
    """The reference for `(N, C, Z, Y, X)` patches with `(N, C)` shift and scale: `(x - shift) / scale`,
    float32.
    """
    columns = (slice(None), slice(None), None, None, None)
    return ((patches.astype(np.float32) - shift[columns]) / scale[columns]).astype(np.float32)


@dataclass(frozen=True)
class _Counts:
    """How often each value of an 8- or 16-bit integer type occurs."""

    counts: NDArray[np.int64]
    lowest: int

    @classmethod
    def of(cls, flat: NDArray[np.generic]) -> "_Counts":
        bounds = np.iinfo(flat.dtype.name)
        counts = np.zeros(int(bounds.max) - int(bounds.min) + 1, np.int64)
        for start in range(0, flat.size, _SLAB):
            slab = flat[start : start + _SLAB].astype(np.int64) - int(bounds.min)
            counts += np.bincount(slab, minlength=len(counts))
        return cls(counts, int(bounds.min))

    def merged(self, other: "_Counts") -> "_Counts":
        return _Counts(self.counts + other.counts, self.lowest)

    def scaling(self, kind: ChannelKind) -> Scaling:
        if kind is ChannelKind.PHASE:
            values = self.lowest + np.arange(len(self.counts), dtype=np.float64)
            mean = float(values @ self.counts) / int(self.counts.sum())
            squares = float((values - mean) ** 2 @ self.counts)
            return Scaling(mean, float(np.sqrt(squares / int(self.counts.sum()))))
        middle, high = self._percentile(50), self._percentile(99)
        return Scaling(middle, high - middle) if high > middle else Scaling(None, None)

    def _percentile(self, percent: float) -> float:
        """As `np.percentile` (linear) of the values."""
        cumulative = np.cumsum(self.counts)
        place = percent / 100 * (int(cumulative[-1]) - 1)
        low = int(np.searchsorted(cumulative, np.floor(place), side="right"))
        high = int(np.searchsorted(cumulative, np.ceil(place), side="right"))
        return self.lowest + low + (high - low) * float(place - np.floor(place))


@dataclass(frozen=True)
class _Moments:
    """Mean and spread of values of any type."""

    count: int
    mean: float
    squares: float
    """Sum of squared deviations from the mean."""

    @classmethod
    def of(cls, flat: NDArray[np.generic]) -> "_Moments":
        whole = cls(0, 0.0, 0.0)
        for start in range(0, flat.size, _SLAB):
            values = flat[start : start + _SLAB].astype(np.float64)
            mean = float(values.mean())
            values -= mean
            whole = whole.merged(cls(values.size, mean, float(values @ values)))
        return whole

    def merged(self, other: "_Moments") -> "_Moments":
        """Pairwise update of Chan, Golub and LeVeque (1979)."""
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        squares = self.squares + other.squares + delta**2 * self.count * other.count / count
        return _Moments(count, mean, squares)

    def scaling(self, kind: ChannelKind) -> Scaling:
        if not self.squares > 0:
            return Scaling(None, None)
        return Scaling(self.mean, float(np.sqrt(self.squares / self.count)))


@dataclass(frozen=True)
class _Sample:
    """A regular subsample of values of any type."""

    values: NDArray[np.float64]

    @classmethod
    def of(cls, flat: NDArray[np.generic]) -> "_Sample":
        return cls(flat[:: max(1, -(-flat.size // _SAMPLE))].astype(np.float64))

    def merged(self, other: "_Sample") -> "_Sample":
        return _Sample(np.concatenate([self.values, other.values]))

    def scaling(self, kind: ChannelKind) -> Scaling:
        middle, high = (float(value) for value in np.percentile(self.values, [50, 99]))
        return Scaling(middle, high - middle) if high > middle else Scaling(None, None)
