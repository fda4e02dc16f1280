"""Figures of scores: smoothness by lag, precision by recall, numbers with intervals, variance."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.motion.dynamics import Dynamics, LagCurve
from cell_assets.evaluation.motion.rank import FeatureSpectrum
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.scores.scoring import BOTH, CHANCE, EMBEDDING, METRICS, Score
from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.reporting.style import ACCENT, INK, MUTED, PALETTE, RIVAL, Sheet, house_style
from cell_assets.reporting.wording import title_text, value_text

_METRIC_TITLES = {
    "average_precision": "average precision",
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "f1": "F1",
}
_MINUTES_SHOWN_AS_HOURS_FROM = 240.0


@house_style()
def smoothness_figure(dynamics: Dynamics) -> bytes:
    """Eq. 3 against lag and Eq. 2 against time since the first time point, with strangers as reference."""
    sheet = Sheet(8.4, 3.8, columns=2)
    left, right = sheet.axes[0]
    for axes, curve, title, x_label in (
        (left, dynamics.displacement, "Displacement at lag τ (Eq. 3)", "τ"),
        (right, dynamics.from_first, "Distance to the first time point (Eq. 2)", "time since first seen"),
    ):
        _draw_lag_curve(axes, curve, x_label)
        _draw_reference(axes, dynamics.random_pairs, "cells of different tracks")
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    left.set_ylabel("distance between unit vectors")
    sheet.figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return sheet.png()


@house_style()
def precision_recall_figure(task: TaskEvaluation) -> bytes:
    """Precision against recall of the embedding and of each baseline, with chance as a dashed line."""
    sheet = Sheet(5.2, 3.6 + 0.2 * (len(task.curves) + 1))
    axes = sheet.axes[0][0]
    for colour, curve in zip(_rival_colours(len(task.curves)), task.curves, strict=True):
        average = value_text(curve.average_precision.value)
        axes.step(
            np.append(0.0, curve.points.recall),
            np.append(curve.points.precision[:1], curve.points.precision),
            where="pre",
            color=colour,
            label=f"{curve.title}, AP {average}",
        )
    _draw_reference(axes, task.prevalence, f"chance, AP {value_text(task.prevalence.value)}")
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
    axes.set_title(title_text(task.name).capitalize())
    # One below the other: a rival's title may be as long as the figure is wide.
    sheet.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return sheet.png()


@house_style()
def forest_figure(tasks: Sequence[TaskEvaluation]) -> bytes:
    """Every score with its 95 % interval, a panel per task, the embedding beside its rivals and chance."""
    longest = max(sum(len(scores) + 1 for _, scores in _known_scores(task)) for task in tasks)
    sheet = Sheet(0.9 + 3.9 * len(tasks), max(1.8, 0.2 * longest + 0.8), columns=len(tasks))
    for axes, task in zip(sheet.axes[0], tasks, strict=True):
        _draw_forest(axes, task)
    return sheet.png()


@house_style()
def spectrum_figure(spectrum: FeatureSpectrum, projections: FeatureSpectrum | None = None) -> bytes:
    """Share of variance along each principal direction of the features and, where given, of the projections."""
    sheet = Sheet(5.2, 3.2)
    axes = sheet.axes[0][0]
    axes.plot(np.arange(1, len(spectrum.explained) + 1), spectrum.explained, color=ACCENT, label="features")
    if projections is not None:
        directions = np.arange(1, len(projections.explained) + 1)
        axes.plot(directions, projections.explained, color=RIVAL, label="projections")
        axes.legend(loc="lower left")
    axes.set(xscale="log", yscale="log", xlabel="principal component", ylabel="share of variance")
    axes.set_ylim(bottom=max(1e-7, float(spectrum.explained[-1]) / 2))
    axes.axvline(spectrum.components_95, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.annotate(
        f"{spectrum.components_95} hold 95 %", (spectrum.components_95, 1), xytext=(5, -4),
        xycoords=("data", "axes fraction"), textcoords="offset points", va="top", color=INK, fontsize=8,
    )  # fmt: skip
    axes.set_title("Explained variance")
    return sheet.png()


def _draw_lag_curve(axes: Axes, curve: LagCurve, x_label: str) -> None:
    hours = bool(len(curve.lag_min)) and curve.lag_min[-1] >= _MINUTES_SHOWN_AS_HOURS_FROM
    x = curve.lag_min / 60.0 if hours else curve.lag_min
    axes.fill_between(
        x,
        curve.mean - curve.sd,
        curve.mean + curve.sd,
        color=ACCENT,
        alpha=0.12,
        linewidth=0,
        label="± sd of pairs",
    )
    axes.fill_between(
        x, curve.low, curve.high, color=ACCENT, alpha=0.35, linewidth=0, label="95 % interval of the mean"
    )
    axes.plot(x, curve.mean, color=ACCENT, marker="o", markersize=3.2, label="mean over cells")
    axes.set_xlabel(f"{x_label} ({'h' if hours else 'min'})")


def _draw_reference(axes: Axes, estimate: Estimate, label: str) -> None:
    if estimate.value is not None:
        axes.axhline(estimate.value, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.3, label=label)


def _known_scores(task: TaskEvaluation) -> list[tuple[str, list[Score]]]:
    """Scores that have a value, by metric."""
    by_metric = [
        (metric, [s for s in task.scores if s.metric == metric and s.estimate.value is not None])
        for metric in METRICS
    ]
    return [(metric, scores) for metric, scores in by_metric if scores]


def _draw_forest(axes: Axes, task: TaskEvaluation) -> None:
    labels: list[str] = []
    headings: list[int] = []
    for metric, scores in _known_scores(task):
        headings.append(len(labels))
        labels.append(_METRIC_TITLES[metric])
        for score in scores:
            draw_interval(axes, score.estimate, len(labels), _score_colour(score.of))
            labels.append(title_text(score.of))
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    for heading in headings:
        axes.get_yticklabels()[heading].set_fontweight("bold")
    axes.set(xlim=(0, 1.03), ylim=(len(labels) - 0.3, -0.7), xlabel="score with 95 % interval")
    axes.set_title(title_text(task.name).capitalize())
    axes.grid(False, axis="y")


def draw_interval(axes: Axes, estimate: Estimate, place: float, colour: str) -> None:
    """A dot at the value on its 95 % interval, at height `place`; nothing where there is no value."""
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2.2, alpha=0.55)
    if estimate.value is not None:
        axes.plot([estimate.value], [place], "o", color=colour, markersize=5)


def _score_colour(of: str) -> str:
    return {EMBEDDING: ACCENT, BOTH: PALETTE[2], CHANCE: MUTED, "majority": MUTED}.get(of, RIVAL)


def _rival_colours(n: int) -> list[str]:
    return [PALETTE[k % len(PALETTE)] for k in range(n)]
