"""Figures of states over time: how the fraction of cells in a state grows, and when single tracks turn."""

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.states.onset import Course, onset_errors
from cell_assets.evaluation.states.onset_scores import Onsets
from cell_assets.evaluation.states.state_calls import StateCalls
from cell_assets.evaluation.states.state_dynamics import StateDynamics
from cell_assets.evaluation.states.state_fraction import ConditionFraction, FractionCurve
from cell_assets.evaluation.states.survival import Survival
from cell_assets.reporting.style import ACCENT, INK, MUTED, PALETTE, Sheet, house_style

_MOST_COLUMNS = 3
_FIT_POINTS = 200


@house_style()
def fraction_figure(calls: StateCalls, dynamics: StateDynamics) -> bytes:
    """A panel per condition: the fraction called, its interval, the logistic fit, and the fraction annotated.

    Beside it the fraction called by track, and either less its mistakes: of tracks where cells are called by them.
    """
    fractions = dynamics.fractions
    by_track = {one.condition: one.called for one in dynamics.along_tracks}
    corrected = {one.condition: one.called for one in dynamics.along_tracks_corrected or dynamics.corrected}
    columns = min(len(fractions), _MOST_COLUMNS)
    rows = -(-len(fractions) // columns)
    sheet = Sheet(0.9 + 3.5 * columns, 3.0 * rows + 0.5, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    for k, axes in enumerate(panels):
        if k >= len(fractions):
            axes.set_visible(False)
            continue
        _draw_fraction(axes, fractions[k])
        if (other := by_track.get(fractions[k].condition)) is not None:
            axes.plot(other.time, other.values, color=PALETTE[1], linewidth=1.3, label="called by track")
        if (other := corrected.get(fractions[k].condition)) is not None:
            _draw_corrected(axes, other, "by track, less mistakes" if by_track else "less mistakes")
        axes.set(ylim=(-0.02, 1.02), xlabel=calls.time_title)
        axes.set_title(fractions[k].condition)
        if k % columns == 0:
            axes.set_ylabel(f"fraction {calls.direction.state}")
    drawn = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    sheet.figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=6)
    return sheet.png()


@house_style()
def onset_figure(calls: StateCalls, onsets: Onsets) -> bytes:
    """Left: survival per condition by the probe, dashed by annotation. Right: onset by both, track by track."""
    sheet = Sheet(9.4, 3.9, columns=2)
    left, right = sheet.axes[0]
    state = calls.direction.state
    for colour, one in zip(_colours(len(onsets.conditions)), onsets.conditions, strict=True):
        if one.called is not None:
            _draw_survival(left, one.called, colour, one.condition)
        if one.annotated is not None:
            _draw_steps(left, one.annotated, color=INK, linestyle=(0, (3, 2)), linewidth=1.1)
    left.plot([], [], color=INK, linestyle=(0, (3, 2)), linewidth=1.1, label="annotated")
    left.axhline(0.5, color=MUTED, linewidth=0.8)
    left.set(ylim=(-0.02, 1.02), xlabel=calls.time_title, ylabel=f"share not yet {state}")
    left.set_title("Survival of test tracks")
    _draw_onsets(right, calls, onsets)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return sheet.png()


def _colours(n: int) -> list[str]:
    return [PALETTE[k % len(PALETTE)] for k in range(n)]


def _draw_survival(axes: Axes, survival: Survival, colour: str, label: str) -> None:
    x, low = _steps(survival, survival.low)
    _, high = _steps(survival, survival.high)
    axes.fill_between(x, low, high, step="post", color=colour, alpha=0.2, linewidth=0)
    _draw_steps(axes, survival, color=colour, label=label)


def _draw_steps(axes: Axes, survival: Survival, **look: object) -> None:
    x, y = _steps(survival, survival.survival)
    axes.step(x, y, where="post", **look)  # type: ignore[arg-type]


def _steps(survival: Survival, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the first track's entry, where all are there, to the last one's end."""
    x = np.concatenate([[survival.start], survival.time, [survival.end]])
    y = np.concatenate([[1.0], value, value[-1:] if len(value) else [1.0]])
    return x, y


def _draw_onsets(axes: Axes, calls: StateCalls, onsets: Onsets) -> None:
    tracks = onsets.tracks
    known = tracks[(tracks["split"] == "test") & (tracks["annotated_course"] == Course.TURNS)]
    found = known[known["onset_t"].notna()]
    x, y = found["annotated_onset_time"].to_numpy(), found["onset_time"].to_numpy()
    span = [float(calls.rows["time"].min()), float(calls.rows["time"].max())]
    groups = [(np.full(len(found), True), ACCENT, "o", "a test track, no interval")]
    if onsets.radius.value is not None:
        inside = onset_errors(found) <= onsets.radius.value
        reach = onsets.radius.value * calls.interval
        axes.errorbar(x, y, yerr=reach, fmt="none", ecolor=ACCENT, elinewidth=0.9, alpha=0.35)
        groups = [
            (inside, ACCENT, "o", "interval holds it"),
            (~inside, PALETTE[1], "o", "interval misses it"),
        ]
    for which, colour, marker, label in groups:
        if which.any():
            axes.plot(x[which], y[which], marker, color=colour, markersize=4, alpha=0.7, label=label)
    missed = known[known["onset_t"].isna()]["annotated_onset_time"].to_numpy()
    if len(missed):
        axes.plot(
            missed, np.full(len(missed), span[1]), "x", color=INK, markersize=5, label="not seen to turn"
        )
    axes.plot(span, span, color=MUTED, linewidth=1.0)
    axes.set(xlabel=f"annotated onset ({calls.time_unit})", ylabel=f"onset by the probe ({calls.time_unit})")
    axes.set_title("Onset, track by track")


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


def _draw_corrected(axes: Axes, curve: FractionCurve, label: str) -> None:
    low, high = _bounds(curve)
    reach = np.array([curve.values - low, high - curve.values])
    axes.errorbar(
        curve.time, curve.values, yerr=reach, color=PALETTE[2], marker="s", markersize=3, linestyle="none",
        elinewidth=0.9, alpha=0.8, label=label,
    )  # fmt: skip


def _bounds(curve: FractionCurve) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (T,), NaN where a time point has no interval."""
    low = [np.nan if one.low is None else one.low for one in curve.fraction]
    high = [np.nan if one.high is None else one.high for one in curve.fraction]
    return np.array(low), np.array(high)
