"""The fraction of cells in a state over time, per condition, and the logistic growth that describes it (Fig. 3c)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.evaluation.resampling import MIN_UNITS, Estimate, interval_of, resampled, unit_codes
from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.states.logistic_growth import (
    MIN_TIME_POINTS,
    PLATEAU_SHARE,
    LogisticGrowth,
    fit_logistic_growth,
)
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray, plural, unit_ids


@dataclass(frozen=True)
class FractionCurve:
    """Fraction of cells in the state at every time point that has cells; arrays are (T,)."""

    time: FloatArray
    fraction: tuple[Estimate, ...]
    n_cells: IntArray

    @property
    def values(self) -> FloatArray:
        """(T,)"""
        return np.array([one.value for one in self.fraction], dtype=np.float64)


@dataclass(frozen=True)
class Growth:
    """What a logistic fit says; `curve` is None exactly when `why_missing` says why there is none."""

    curve: LogisticGrowth | None
    baseline: Estimate
    plateau: Estimate
    rate: Estimate
    """Per unit of time."""
    midpoint: Estimate
    plateau_time: Estimate
    """When the curve has made `PLATEAU_SHARE` of its rise."""
    why_missing: str | None = None


@dataclass(frozen=True)
class ConditionFraction:
    """One condition of the test cells."""

    condition: str
    units_name: str
    """What was resampled, for example `wells`."""
    called: FractionCurve
    """By the probe."""
    annotated: FractionCurve | None
    """By annotation, of the cells that have one; None where no cell has."""
    rise: Estimate
    """Fraction called in the last third of the time points less that in the first."""
    growth: Growth
    covered: Estimate
    """Share of time points at which the interval of the fraction called holds the fraction annotated, both of the
    annotated cells."""
    n_compared: int
    """Time points of which `covered` is a share."""


@dataclass(frozen=True)
class _Counts:
    """Cells and calls of each unit at each time point, with resamples of both."""

    time: FloatArray
    called: FloatArray
    """(U, T)"""
    cells: FloatArray
    """(U, T)"""
    called_draws: FloatArray
    """(B, T)"""
    cells_draws: FloatArray

    @classmethod
    def of(
        cls, time: FloatArray, is_in_state: FloatArray, units: StrArray, seed: int, n_resamples: int
    ) -> "_Counts":
        codes, n_units = unit_codes(units)
        times, place = np.unique(time, return_inverse=True)
        shape = (n_units, len(times))
        called, cells = np.zeros(shape), np.zeros(shape)
        np.add.at(called, (codes, place), is_in_state)
        np.add.at(cells, (codes, place), 1.0)
        both = np.hstack([called, cells])
        draws = resampled(np.arange(n_units), n_units, lambda weight: weight @ both, seed, n_resamples)
        return cls(times, called, cells, draws[:, : len(times)], draws[:, len(times) :])

    @property
    def n_units(self) -> int:
        return len(self.cells)

    def curve(self) -> FractionCurve:
        n_cells = self.cells.sum(axis=0)
        value = self.called.sum(axis=0) / n_cells
        draws = _share(self.called_draws, self.cells_draws)
        fraction = tuple(
            interval_of(
                float(value[k]),
                draws[:, k],
                int((self.cells[:, k] > 0).sum()),
                "no unit drawn has a cell then",
            )
            for k in range(len(self.time))
        )
        return FractionCurve(self.time, fraction, n_cells.astype(np.int64))

    def rise(self) -> Estimate:
        if len(self.time) < MIN_TIME_POINTS:
            return Estimate.missing(
                f"there are {len(self.time)} time points, and at least {MIN_TIME_POINTS} are needed",
                self.n_units,
            )
        third = len(self.time) // 3
        ends = (slice(0, third), slice(len(self.time) - third, None))

        def less(called: FloatArray, cells: FloatArray) -> FloatArray:
            first, last = (_share(called[:, end].sum(axis=1), cells[:, end].sum(axis=1)) for end in ends)
            return last - first

        value = float(less(self.called.sum(axis=0)[None], self.cells.sum(axis=0)[None])[0])
        draws = less(self.called_draws, self.cells_draws)
        return interval_of(value, draws, self.n_units, "no unit drawn has a cell early or late")

    def growth(self, rise: Estimate) -> Growth:
        why = _why_no_growth(rise)
        if why is not None:
            none = Estimate.missing(why, self.n_units)
            return Growth(None, none, none, none, none, none, why)
        n_cells = self.cells.sum(axis=0)
        curve = fit_logistic_growth(self.time, self.called.sum(axis=0) / n_cells, n_cells)
        draws = np.array(
            [
                _readings(_refit(self.time, called, cells, curve))
                for called, cells in zip(self.called_draws, self.cells_draws, strict=True)
            ]
        )
        flat = "the fit to them does not rise"
        baseline, plateau, rate, midpoint, plateau_time = (
            interval_of(value, draws[:, k], self.n_units, flat) for k, value in enumerate(_readings(curve))
        )
        if curve.plateau_time > self.time[-1]:
            late = (
                f"the fitted curve makes {100 * PLATEAU_SHARE:g} % of its rise only after the last time point, so no "
                "plateau was filmed"
            )
            plateau = plateau_time = Estimate.missing(late, self.n_units)
        return Growth(curve, baseline, plateau, rate, midpoint, plateau_time)


def fractions_over_time(calls: StateCalls, seed: int, n_resamples: int) -> tuple[ConditionFraction, ...]:
    """Of every condition that has test cells, with 95 % intervals over resampled wells, founders or tracks.

    Wells where a condition has at least `MIN_UNITS` of them. Else founders, where the table knows them: daughters
    inherit their mother's state, so tracks of one founder are no independent observations. Else tracks.
    """
    test = calls.rows[calls.rows["split"] == "test"]
    return tuple(
        _condition_fraction(str(name), rows, seed, n_resamples)
        for name, rows in test.groupby("condition", sort=True)
    )


def resampling_unit(rows: pd.DataFrame) -> SplitUnit:
    """What to resample of one condition's cells, see `fractions_over_time`."""
    if len(np.unique(unit_ids(rows, SplitUnit.WELL))) >= MIN_UNITS:
        return SplitUnit.WELL
    return SplitUnit.LINEAGE if "lineage_root" in rows.columns else SplitUnit.TRACK


def _condition_fraction(name: str, rows: pd.DataFrame, seed: int, n_resamples: int) -> ConditionFraction:
    unit = resampling_unit(rows)
    called = rows["probability"].to_numpy(dtype=np.float64) >= DECISION
    counts = _counts(rows, called, unit, seed, n_resamples)
    rise = counts.rise()
    known = rows["annotated"].notna().to_numpy()
    annotated, covered, n_compared = None, Estimate.missing("no test cell is annotated", counts.n_units), 0
    if known.any():
        truth = rows.loc[known, "annotated"].to_numpy(dtype=np.bool_)
        annotated = _counts(rows[known], truth, unit, seed, n_resamples).curve()
        compared = _counts(rows[known], called[known], unit, seed, n_resamples)
        covered, n_compared = _covered(compared.curve(), annotated, compared.n_units)
    return ConditionFraction(
        condition=name,
        units_name=plural(unit),
        called=counts.curve(),
        annotated=annotated,
        rise=rise,
        growth=counts.growth(rise),
        covered=covered,
        n_compared=n_compared,
    )


def _counts(
    rows: pd.DataFrame, is_in_state: BoolArray, unit: SplitUnit, seed: int, n_resamples: int
) -> _Counts:
    return _Counts.of(
        rows["time"].to_numpy(dtype=np.float64),
        is_in_state.astype(np.float64),
        unit_ids(rows, unit),
        seed,
        n_resamples,
    )


def _covered(called: FractionCurve, annotated: FractionCurve, n_units: int) -> tuple[Estimate, int]:
    inside = [
        one.low <= true <= one.high
        for one, true in zip(called.fraction, annotated.values, strict=True)
        if one.low is not None and one.high is not None
    ]
    if not inside:
        return Estimate.missing("no time point has units enough for an interval", n_units), 0
    why = "time points show the same cells again and are not independent"
    return Estimate.exact(float(np.mean(inside)), n_units, why), len(inside)


def _why_no_growth(rise: Estimate) -> str | None:
    if rise.value is None:
        return rise.why_missing
    if rise.low is None:
        return f"whether the fraction rises cannot be told: {rise.why_no_interval}"
    if rise.low <= 0:
        return (
            "the fraction does not rise: that of the last third of the time points less that of the first is "
            f"{rise.value:.3g} (95 % interval {rise.low:.3g} to {rise.high:.3g})"
        )
    return None


def _refit(
    time: FloatArray, called: FloatArray, cells: FloatArray, start: LogisticGrowth
) -> LogisticGrowth | None:
    """The fit to one resample; None where too few of its time points have a cell."""
    seen = cells > 0
    if seen.sum() < MIN_TIME_POINTS:
        return None
    return fit_logistic_growth(time[seen], called[seen] / cells[seen], cells[seen], start)


def _readings(curve: LogisticGrowth | None) -> tuple[float, ...]:
    if curve is None or curve.plateau <= curve.baseline:
        return (np.nan,) * 5
    return (curve.baseline, curve.plateau, curve.rate, curve.midpoint, curve.plateau_time)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0)
