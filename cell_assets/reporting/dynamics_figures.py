"""Figures of states over time: how the fraction of cells in a state grows, per condition."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.state_calls import StateCalls
from cell_assets.evaluation.state_fraction import ConditionFraction, FractionCurve
from cell_assets.reporting.style import ACCENT, INK, MUTED, Sheet, house_style

_MOST_COLUMNS = 3
_FIT_POINTS = 200


@house_style()
def fraction_figure(calls: StateCalls, fractions: Sequence[ConditionFraction]) -> bytes:
    """A panel per condition: the fraction called, its interval, the logistic fit, and the fraction annotated."""
    columns = min(len(fractions), _MOST_COLUMNS)
    rows = -(-len(fractions) // columns)
    sheet = Sheet(0.9 + 3.5 * columns, 3.0 * rows + 0.5, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    for k, axes in enumerate(panels):
        if k >= len(fractions):
            axes.set_visible(False)
            continue
        _draw_fraction(axes, fractions[k])
        axes.set(ylim=(-0.02, 1.02), xlabel=calls.time_title)
        axes.set_title(fractions[k].condition)
        if k % columns == 0:
            axes.set_ylabel(f"fraction {calls.direction.state}")
    drawn = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    sheet.figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=5)
    return sheet.png()


def _draw_fraction(axes: Axes, fraction: ConditionFraction) -> None:
    called = fraction.called
    low, high = _bounds(called)
    axes.fill_between(called.time, low, high, color=ACCENT, alpha=0.25, linewidth=0, label="95 % interval")
    axes.plot(
        called.time, called.values, color=ACCENT, marker="o", markersize=3, linewidth=0.8, label="called"
    )
    if fraction.annotated is not None:
        axes.plot(
            fraction.annotated.time, fraction.annotated.values, color=INK, marker="x", markersize=4,
            linestyle="none", markeredgewidth=1.1, label="annotated",
        )  # fmt: skip
    growth = fraction.growth
    if growth.curve is None:
        return
    time = np.linspace(called.time[0], called.time[-1], _FIT_POINTS)
    axes.plot(time, growth.curve.at(time), color=INK, linewidth=1.3, label="logistic fit")
    reached = growth.plateau_time
    if reached.value is not None:
        axes.axvline(
            reached.value, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2, label="95 % of the rise"
        )
        if reached.low is not None and reached.high is not None:
            axes.axvspan(
                reached.low, min(reached.high, called.time[-1]), color=MUTED, alpha=0.12, linewidth=0
            )


def _bounds(curve: FractionCurve) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (T,), NaN where a time point has no interval."""
    low = [np.nan if one.low is None else one.low for one in curve.fraction]
    high = [np.nan if one.high is None else one.high for one in curve.fraction]
    return np.array(low), np.array(high)
