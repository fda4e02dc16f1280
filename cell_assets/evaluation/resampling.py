"""Uncertainty: the percentile bootstrap over units (tracks, wells), never over the rows of one unit.

A resample draws units with replacement, which is the same as giving each unit an integer weight. Statistics
therefore take row weights, so that a thousand resamples are a few matrix operations and no row is copied.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cell_assets.evaluation.units import FloatArray, StrArray
from cell_assets.ledger.records import NumberDraft

MIN_UNITS = 5
"""Below this the percentile interval is narrower than the truth by far: with 4 units one resample in 64 is a
single unit repeated, and only 35 distinct resamples exist."""

_CHUNK_ELEMENTS = 4_000_000  # 32 MB of float64 weights at a time


@dataclass(frozen=True)
class Statistic:
    """A number that depends on row weights.

    `function` maps weights (B, N) to values (B,), with NaN where the statistic has no meaning.
    """

    function: Callable[[FloatArray], FloatArray]
    undefined_when: str
    """Why a value can be missing, in words that stand in a report."""


@dataclass(frozen=True)
class Estimate:
    """One value with its 95 % interval, or the reason for lacking either. Never NaN."""

    value: float | None
    low: float | None
    high: float | None
    n_units: int
    n_resamples: int = 0
    n_undefined: int = 0
    """Resamples in which the statistic had no meaning; they are left out of the interval."""
    why_missing: str | None = None
    why_no_interval: str | None = None

    @classmethod
    def missing(cls, why: str, n_units: int = 0) -> "Estimate":
        """An estimate that could not be made, and why."""
        return cls(None, None, None, n_units, why_missing=why, why_no_interval=why)

    @classmethod
    def exact(cls, value: float, n_units: int, why_no_interval: str) -> "Estimate":
        """A value that has no sampling interval, and why."""
        return cls(value, None, None, n_units, why_no_interval=why_no_interval)

    def as_number(self, *, report: str, name: str, split: str, unit: str) -> NumberDraft:
        """What a report states; `unit` is what `n_units` counts."""
        return NumberDraft(
            report=report,
            name=name,
            split=split,
            value=self.value,
            n=self.n_units,
            unit=unit,
            ci_low=self.low,
            ci_high=self.high,
            why_missing=self.why_missing,
        )


def stated_split(split: str, simulated: bool) -> str:
    """A number travels without its report, so it says itself that it is from a simulation."""
    return f"{split} (simulated)" if simulated else split


def bootstrap_interval(
    unit_ids: StrArray, statistic: Statistic, *, seed: int, n_resamples: int = 1000
) -> Estimate:
    """Value of `statistic` on all rows and its 95 % percentile interval over resampled units.

    `unit_ids` (N,) names each row's unit. Fewer than `MIN_UNITS` units, or a statistic that is undefined in
    more than half of the resamples, give a value without an interval and the reason; a statistic that is
    undefined on the rows themselves gives neither and the reason.
    """
    codes, n_units = unit_codes(unit_ids)
    if n_units == 0:
        return Estimate.missing("there are no rows to compute it from")
    value = float(statistic.function(np.ones((1, len(codes))))[0])
    if np.isnan(value):
        return Estimate.missing(statistic.undefined_when, n_units)
    if n_units < MIN_UNITS:
        return Estimate.exact(value, n_units, _too_few(n_units))
    draws = resampled(codes, n_units, lambda weights: statistic.function(weights)[:, None], seed, n_resamples)
    return interval_of(value, draws[:, 0], n_units, statistic.undefined_when)


def unit_codes(unit_ids: StrArray) -> tuple[np.ndarray, int]:
    """Integer code of each row's unit (N,) in the sorted order of names, and how many units there are."""
    names, codes = np.unique(unit_ids, return_inverse=True)
    return codes, len(names)


def resampled(
    codes: np.ndarray,
    n_units: int,
    function: Callable[[FloatArray], FloatArray],
    seed: int,
    n_resamples: int,
) -> FloatArray:
    """Values (n_resamples, K) of `function` (weights (B, N) → (B, K)) over resamples of whole units.

    The draws depend on `seed` and the number of units only: neither on row order nor on the chunk size.
    """
    rng = np.random.default_rng(seed)
    uniform = np.full(n_units, 1.0 / n_units)
    chunk = max(1, _CHUNK_ELEMENTS // max(len(codes), n_units))
    parts = []
    for start in range(0, n_resamples, chunk):
        unit_weights = rng.multinomial(n_units, uniform, size=min(chunk, n_resamples - start))
        parts.append(function(unit_weights[:, codes].astype(np.float64)))
    return np.concatenate(parts)


def interval_of(value: float, draws: FloatArray, n_units: int, undefined_when: str) -> Estimate:
    """Estimate from a value and its resampled values (B,), NaN where undefined."""
    defined = draws[~np.isnan(draws)]
    n_undefined = len(draws) - len(defined)
    if n_units < MIN_UNITS:
        return Estimate.exact(value, n_units, _too_few(n_units))
    if n_undefined > len(draws) / 2:
        why = f"{n_undefined} of {len(draws)} resamples are undefined, because {undefined_when}"
        return Estimate(value, None, None, n_units, len(draws), n_undefined, why_no_interval=why)
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n_units, len(draws), n_undefined)


def _too_few(n_units: int) -> str:
    return f"only {n_units} independent unit(s), and an interval needs at least {MIN_UNITS}"
