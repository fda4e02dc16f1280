"""Counts of pixel values that add up over frames, and the statistics that they give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BINS = 65_536
"""As many as 16-bit pixels have values; a percentile is then off by at most 1/65,536 of the range."""


@dataclass(frozen=True)
class FrameSummary:
    """Statistics of a set of pixels, in the pixels' own unit. `sd` is the population's."""

    mean: float
    sd: float
    minimum: float
    maximum: float
    percentiles: tuple[float, ...]
    """In the order asked for, interpolated linearly as in numpy."""
    percentiles_exact: bool
    saturated_share: float | None
    """Share of pixels at the dtype's maximum; None for real numbers, which have none."""


class PixelHistogram:
    """Counts per value for 8- and 16-bit integers, else per bin; only percentiles suffer from bins."""

    def __init__(self, dtype: np.dtype, low: float, high: float, exact: bool) -> None:
        self._dtype = dtype
        self._low = low
        self._high = high
        self._exact = exact
        self._counts = np.zeros(int(high - low) + 1 if exact else _BINS, np.int64)
        self._n = 0
        self._mean = 0.0
        self._squares = 0.0
        self._minimum = np.inf
        self._maximum = -np.inf
        self._saturated = 0

    @staticmethod
    def counts_exactly(dtype: np.dtype) -> bool:
        """Whether `exact` serves this dtype."""
        return dtype.kind in "ui" and dtype.itemsize <= 2

    @classmethod
    def exact(cls, dtype: np.dtype) -> "PixelHistogram":
        """One count per value of an 8- or 16-bit integer dtype."""
        limits = np.iinfo(dtype)
        return cls(dtype, int(limits.min), int(limits.max), exact=True)

    @classmethod
    def binned(cls, dtype: np.dtype, low: float, high: float) -> "PixelHistogram":
        """65,536 bins from `low` to `high`, the smallest and largest pixel that will be added."""
        return cls(dtype, low, high, exact=False)

    def empty_like(self) -> "PixelHistogram":
        """An empty one that can be merged into this one."""
        return PixelHistogram(self._dtype, self._low, self._high, self._exact)

    def add(self, pixels: NDArray[np.generic]) -> None:
        """Count pixels of any shape."""
        if self._exact:
            shifted = pixels.ravel() if self._low == 0 else pixels.ravel().astype(np.int32) - int(self._low)
            counts = np.bincount(shifted, minlength=len(self._counts))
            values = np.arange(len(counts), dtype=np.float64) + self._low
            present = np.flatnonzero(counts)
            mean = float(counts @ values) / pixels.size
            squares = float(counts @ (values - mean) ** 2)
            low, high = float(values[present[0]]), float(values[present[-1]])
            saturated = int(counts[-1])
        else:
            span = self._high - self._low
            real = pixels.ravel().astype(np.float64)
            at = (real - self._low) * (_BINS / span if span > 0 else 0.0)
            counts = np.bincount(np.minimum(at.astype(np.int64), _BINS - 1), minlength=_BINS)
            mean = float(real.mean())
            squares = float(((real - mean) ** 2).sum())
            low, high = float(real.min()), float(real.max())
            top = np.iinfo(self._dtype).max if self._dtype.kind in "ui" else None
            saturated = 0 if top is None else int((pixels == top).sum())
        self._counts += counts
        self._pool(pixels.size, mean, squares)
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        self._saturated += saturated

    def merge(self, other: "PixelHistogram") -> None:
        """Add all that another one counted."""
        self._counts += other._counts
        self._pool(other._n, other._mean, other._squares)
        self._minimum = min(self._minimum, other._minimum)
        self._maximum = max(self._maximum, other._maximum)
        self._saturated += other._saturated

    def summary(
        self, percentiles: Sequence[float], pixels: NDArray[np.generic] | None = None
    ) -> FrameSummary:
        """Statistics of everything counted; `pixels`, when they are all of it, make percentiles exact."""
        if self._exact:
            values = tuple(self._percentile(percentile) for percentile in percentiles)
        elif pixels is not None:
            values = tuple(float(value) for value in np.percentile(pixels.astype(np.float64), percentiles))
        else:
            values = tuple(self._binned_percentile(percentile) for percentile in percentiles)
        return FrameSummary(
            mean=self._mean,
            sd=float(np.sqrt(self._squares / self._n)),
            minimum=self._minimum,
            maximum=self._maximum,
            percentiles=values,
            percentiles_exact=self._exact or pixels is not None,
            saturated_share=self._saturated / self._n if self._dtype.kind in "ui" else None,
        )

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Pixels per value, or per bin with its centre, by rising value; both (N,)."""
        if self._exact:
            return self._counts, np.arange(len(self._counts), dtype=np.float64) + self._low
        width = (self._high - self._low) / _BINS
        return self._counts, self._low + (np.arange(_BINS, dtype=np.float64) + 0.5) * width

    def _pool(self, n: int, mean: float, squares: float) -> None:
        """Chan, Golub & LeVeque (1979): mean and sum of squared deviations of two samples together."""
        total = self._n + n
        if total == 0:
            return
        shift = mean - self._mean
        self._squares += squares + shift**2 * self._n * n / total
        self._mean += shift * n / total
        self._n = total

    def _percentile(self, percentile: float) -> float:
        rank = percentile / 100 * (self._n - 1)
        below = int(np.floor(rank))
        cumulative = np.cumsum(self._counts)
        low, high = np.searchsorted(cumulative, [below, min(below + 1, self._n - 1)], side="right")
        return float(self._low + low + (high - low) * (rank - below))

    def _binned_percentile(self, percentile: float) -> float:
        rank = percentile / 100 * (self._n - 1)
        cumulative = np.cumsum(self._counts)
        found = int(np.searchsorted(cumulative, rank, side="right"))
        before = cumulative[found - 1] if found else 0
        inside = (rank - before + 0.5) / self._counts[found]
        value = self._low + (found + min(inside, 1.0)) * (self._high - self._low) / _BINS
        return float(np.clip(value, self._minimum, self._maximum))
