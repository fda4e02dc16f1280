"""The fraction of cells in a state over time, per condition, and the logistic growth that describes it (Fig. 3c).

A probe's mistakes are the same way more often than not: before cells turn it can but call too many of them.
`corrected_fractions` takes them off.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.resampling import MIN_UNITS, Estimate, interval_of, resampled, unit_codes
from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.splits import Split, SplitUnit
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
    """By the probe; less its mistakes where they are corrected for."""
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
    """Cells and calls at each time point, with resamples of both over units."""

    time: FloatArray
    called: FloatArray
    """(T,)"""
    cells: FloatArray
    """(T,)"""
    called_draws: FloatArray
    """(B, T)"""
    cells_draws: FloatArray
    n_units: int
    n_seen: IntArray
    """(T,) units that have a cell then."""

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
        return cls(
            times,
            called.sum(axis=0),
            cells.sum(axis=0),
            draws[:, : len(times)],
            draws[:, len(times) :],
            n_units,
            (cells > 0).sum(axis=0),
        )

    def corrected(self, excess: "_Excess") -> "_Counts":
        """With as many fewer cells called as calibration cells say are called too many, none or all of them at most."""

        def less(called: FloatArray, cells: FloatArray, too_many: FloatArray) -> FloatArray:
            return np.clip(_share(called, cells) - too_many, 0, 1) * cells

        excess = excess.at(np.isin(excess.time, self.time))
        return replace(
            self,
            called=less(self.called, self.cells, excess.value),
            called_draws=less(self.called_draws, self.cells_draws, excess.draws),
        )

    def curve(self) -> FractionCurve:
        value = self.called / self.cells
        draws = _share(self.called_draws, self.cells_draws)
        fraction = tuple(
            interval_of(float(value[k]), draws[:, k], int(self.n_seen[k]), "no unit drawn has a cell then")
            for k in range(len(self.time))
        )
        return FractionCurve(self.time, fraction, self.cells.astype(np.int64))

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

        value = float(less(self.called[None], self.cells[None])[0])
        draws = less(self.called_draws, self.cells_draws)
        return interval_of(value, draws, self.n_units, "no unit drawn has a cell early or late")

    def growth(self, rise: Estimate) -> Growth:
        why = _why_no_growth(rise)
        if why is not None:
            none = Estimate.missing(why, self.n_units)
            return Growth(None, none, none, none, none, none, why)
        curve = fit_logistic_growth(self.time, self.called / self.cells, self.cells)
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


@dataclass(frozen=True)
class _Excess:
    """Fraction called less fraction annotated of calibration cells, about each of some time points."""

    time: FloatArray
    """(T,), increasing."""
    value: FloatArray
    """(T,); NaN about which too few units are annotated."""
    draws: FloatArray
    """(B, T)"""

    @classmethod
    def of(
        cls, rows: pd.DataFrame, times: FloatArray, reach: float, unit: SplitUnit, seed: int, n_resamples: int
    ) -> "_Excess":
        """Of annotated `rows`, those at most `reach` from each of `times`."""
        codes, n_units = unit_codes(unit_ids(rows, unit))
        called = rows["probability"].to_numpy(dtype=np.float64) >= DECISION
        more = called.astype(np.float64) - rows["annotated"].to_numpy(dtype=np.bool_)
        # Times are rounded to a millionth of their unit.
        near = np.abs(rows["time"].to_numpy(dtype=np.float64)[:, None] - times) <= reach + 1e-6
        excess, cells = np.zeros((n_units, len(times))), np.zeros((n_units, len(times)))
        np.add.at(excess, codes, more[:, None] * near)
        np.add.at(cells, codes, near)
        both = np.hstack([excess, cells])
        draws = resampled(np.arange(n_units), n_units, lambda weight: weight @ both, seed, n_resamples)
        value = _share(excess.sum(axis=0), cells.sum(axis=0))
        value[(cells > 0).sum(axis=0) < MIN_UNITS] = np.nan
        return cls(times, value, _share(draws[:, : len(times)], draws[:, len(times) :]))

    def at(self, which: BoolArray) -> "_Excess":
        """About some of the time points."""
        return _Excess(self.time[which], self.value[which], self.draws[:, which])


def fractions_over_time(calls: StateCalls, seed: int, n_resamples: int) -> tuple[ConditionFraction, ...]:
    """Of every condition that has test cells, with 95 % intervals over resampled wells, founders or tracks.

    Wells where a condition has at least `MIN_UNITS` of them. Else founders, where the table knows them: daughters
    inherit their mother's state, so tracks of one founder are no independent observations. Else tracks.
    """
    test = calls.rows[calls.rows["split"] == Split.TEST]
    return tuple(
        _condition_fraction(str(name), rows, seed, n_resamples)
        for name, rows in test.groupby("condition", sort=True)
    )


def corrected_fractions(
    calls: StateCalls, calibration: pd.DataFrame, seed: int, n_resamples: int
) -> tuple[ConditionFraction, ...]:
    """`fractions_over_time` less what is called too many of annotated calibration cells (difference estimator).

    Prediction-powered inference (Angelopoulos et al. 2023): the probe's mistakes among annotated cells of the same
    condition and time, called by probes that did not learn from them, are taken off the fraction that it calls among
    all test cells, and resampled with it, so that intervals hold both uncertainties. It takes these cells to be called
    as wrongly as test cells are. By time, because most mistakes are made of cells that are about to turn; so wells
    where no cell ever turns, a plate's negative controls, do not tell how many there are.

    Args:
        calibration: rows as those of `calls`, called in the same way; those of train and val that are annotated count.

    Returns:
        Of the time points about which, half an interval between frames to either side, `MIN_UNITS` units of the
        condition are annotated; no condition that has none.
    """
    test = calls.rows[calls.rows["split"] == Split.TEST]
    known = calibration[(calibration["split"] != Split.TEST) & calibration["annotated"].notna()]
    found = []
    for name, rows in test.groupby("condition", sort=True):
        of_condition = known[known["condition"] == name]
        if of_condition.empty:
            continue
        times = np.unique(rows["time"].to_numpy(dtype=np.float64))
        # Other draws than those of the test cells, from which these are apart.
        excess = _Excess.of(
            of_condition, times, calls.interval / 2, _founders(of_condition), seed + 1, n_resamples
        )
        excess = excess.at(~np.isnan(excess.value))
        rows = rows[rows["time"].isin(excess.time)]
        if not rows.empty:
            found.append(_condition_fraction(str(name), rows, seed, n_resamples, excess))
    return tuple(found)


def resampling_unit(rows: pd.DataFrame) -> SplitUnit:
    """What to resample of one condition's cells, see `fractions_over_time`."""
    if len(np.unique(unit_ids(rows, SplitUnit.WELL))) >= MIN_UNITS:
        return SplitUnit.WELL
    return _founders(rows)


def _founders(rows: pd.DataFrame) -> SplitUnit:
    return SplitUnit.LINEAGE if "lineage_root" in rows.columns else SplitUnit.TRACK


def _condition_fraction(
    name: str, rows: pd.DataFrame, seed: int, n_resamples: int, excess: _Excess | None = None
) -> ConditionFraction:
    """Corrected where `excess`, of all time points of `rows`, is given."""
    unit = resampling_unit(rows)
    called = rows["probability"].to_numpy(dtype=np.float64) >= DECISION

    def counted(which: BoolArray) -> _Counts:
        counts = _counts(rows[which], called[which], unit, seed, n_resamples)
        return counts if excess is None else counts.corrected(excess)

    counts = counted(np.ones(len(rows), dtype=np.bool_))
    rise = counts.rise()
    known = rows["annotated"].notna().to_numpy()
    annotated, covered, n_compared = None, Estimate.missing("no test cell is annotated", counts.n_units), 0
    if known.any():
        truth = rows.loc[known, "annotated"].to_numpy(dtype=np.bool_)
        annotated = _counts(rows[known], truth, unit, seed, n_resamples).curve()
        compared = counted(known)
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
