"""How far two sorts of control wells lie apart: Z′ and SSMD, plain and robust.

Z′: Zhang, Chung & Oldenburg (1999), J. Biomol. Screen. 4:67. SSMD: Zhang (2007), Genomics 89:552; its robust
form with median and MAD: Zhang (2011), Optimal High-Throughput Screening, chapter 3. Standard deviations are
the sample's (n - 1); the MAD is scaled by 1.4826, so that it estimates the sd of normal values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cell_assets.imaging.quality.typed_rows import INTEGER, REAL, TEXT, typed_table
from cell_assets.ledger.records import WellDraft

MIN_WELLS = 2
"""Of each control: fewer have no standard deviation."""
UNTREATED = "untreated"
"""A control for which the plate map names no perturbation."""

_MAD_TO_SD = 1.4826
_TYPES = {
    "channel": TEXT,
    "measure": TEXT,
    "control": TEXT,
    "other_control": TEXT,
    "n_wells": INTEGER,
    "n_other_wells": INTEGER,
    "z_prime": REAL,
    "robust_z_prime": REAL,
    "ssmd": REAL,
    "robust_ssmd": REAL,
    "why_missing": TEXT,
}


@dataclass(frozen=True)
class Separation:
    """Separation of two sets of well values."""

    z_prime: float | None
    """1 - 3 (sd + sd) / |mean - mean|: 1 at best, a screen is excellent from 0.5, below 0 the two overlap. None
    where the means are equal."""
    robust_z_prime: float | None
    """The same with medians and scaled MADs."""
    ssmd: float | None
    """(mean of the first - mean of the second) / sqrt(sd² + sd²). None where neither set varies."""
    robust_ssmd: float | None
    """The same with medians and scaled MADs."""


def separation(first: ArrayLike, second: ArrayLike) -> Separation:
    """Z′ and SSMD of two sets of well values, at least two in each."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    plain = (float(a.mean() - b.mean()), float(a.std(ddof=1)), float(b.std(ddof=1)))
    robust = (float(np.median(a) - np.median(b)), _scaled_mad(a), _scaled_mad(b))
    return Separation(_z_prime(*plain), _z_prime(*robust), _ssmd(*plain), _ssmd(*robust))


def control_groups(wells: Sequence[WellDraft]) -> dict[str, tuple[str, ...]]:
    """Wells of each sort of control, told apart by perturbation and dose, sorted by name."""
    groups: dict[str, list[str]] = {}
    for well in wells:
        if well.is_control:
            groups.setdefault(_condition(well), []).append(well.name)
    return {name: tuple(groups[name]) for name in sorted(groups)}


def control_separation(
    values: pd.DataFrame, measures: Sequence[str], wells: Sequence[WellDraft]
) -> pd.DataFrame:
    """Separation of every two sorts of control, by channel and measure.

    `values` has one row per `channel` and `well` and a column per measure; a null is a well without a value.
    The first of a pair is the one whose name sorts first. A row without values says in `why_missing` why.
    """
    groups = control_groups(wells)
    rows: list[dict[str, object]] = []
    for channel, of_channel in values.groupby("channel", sort=False, dropna=False):
        by_well = of_channel.set_index("well")
        for measure in measures:
            if by_well[measure].notna().any():
                rows.extend(
                    {"channel": channel, "measure": measure} | row for row in _pairs(by_well[measure], groups)
                )
    return typed_table(rows, _TYPES)


def _pairs(values: "pd.Series[float]", groups: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    if len(groups) < 2:
        return [{"why_missing": _too_few_sorts(tuple(groups))}]
    found = {
        name: values.reindex(list(wells)).dropna().to_numpy(np.float64) for name, wells in groups.items()
    }
    rows: list[dict[str, object]] = []
    for first, second in combinations(found, 2):
        a, b = found[first], found[second]
        row: dict[str, object] = {
            "control": first,
            "other_control": second,
            "n_wells": len(a),
            "n_other_wells": len(b),
        }
        short = next((name for name in (first, second) if len(found[name]) < MIN_WELLS), None)
        if short is None:
            scores = separation(a, b)
            row |= asdict(scores)
            if scores.z_prime is None:
                row["why_missing"] = f"{first} and {second} have the same mean"
        else:
            row["why_missing"] = (
                f"control {short} has {len(found[short])} well(s) with a value; {MIN_WELLS} are needed"
            )
        rows.append(row)
    return rows


def _too_few_sorts(names: Sequence[str]) -> str:
    if not names:
        return "the plate map names no control wells; set is_control"
    return f"the plate map has one sort of control, {names[0]}; Z′ and SSMD compare two"


def _condition(well: WellDraft) -> str:
    if well.perturbation is None:
        return UNTREATED
    return well.perturbation if well.dose is None else f"{well.perturbation} {well.dose:g} {well.dose_unit}"


def _z_prime(difference: float, spread: float, other_spread: float) -> float | None:
    return None if difference == 0 else 1 - 3 * (spread + other_spread) / abs(difference)


def _ssmd(difference: float, spread: float, other_spread: float) -> float | None:
    together = float(np.hypot(spread, other_spread))
    return None if together == 0 else difference / together


def _scaled_mad(values: NDArray[np.float64]) -> float:
    return _MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
