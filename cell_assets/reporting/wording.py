"""How numbers are written for people: the same in HTML, in captions and in the terminal."""

from typing import TYPE_CHECKING

from cell_assets.ledger.records import NumberDraft

if TYPE_CHECKING:
    from cell_assets.evaluation.resampling import Estimate


def value_text(value: float | None) -> str:
    """Three decimals for shares and distances, none for counts, `–` where there is no value."""
    if value is None:
        return "–"
    if value == 0 or (abs(value) >= 1 and value == round(value)):
        return f"{value:.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def interval_text(low: float | None, high: float | None) -> str:
    """`0.845 to 0.978`, or `–` where there is no interval."""
    if low is None or high is None:
        return "–"
    return f"{value_text(low)} to {value_text(high)}"


def estimate_text(estimate: "Estimate") -> str:
    """`0.918 (95 % interval 0.845 to 0.978)`, without the bracket or with the reason where it is missing."""
    if estimate.value is None:
        return f"not computed, because {estimate.why_missing}"
    if estimate.low is None:
        return value_text(estimate.value)
    return f"{value_text(estimate.value)} (95 % interval {interval_text(estimate.low, estimate.high)})"


def units_text(number: NumberDraft) -> str:
    """What stands behind a number, for example `36 tracks`."""
    return f"{number.n} {number.unit}".strip()


def seconds_text(seconds: float) -> str:
    """`0.4 s`, `12.3 min` or `26.0 h`."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def title_text(name: str) -> str:
    """`about_to_divide` as words."""
    return name.replace("_", " ")
