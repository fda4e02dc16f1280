"""Figure of injected tracking errors: how unusual their steps are, what finds them, and what one looks like."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.motion.disruption_study import (
    COMBINED,
    MOTION,
    PREDICTION,
    ExampleTracks,
    KindStudy,
)
from cell_assets.evaluation.scores.scoring import CHANCE, EMBEDDING
from cell_assets.evaluation.units import FloatArray
from cell_assets.reporting.style import ACCENT, INK, MUTED, OTHER, PALETTE, RIVAL, Sheet, house_style
from cell_assets.reporting.wording import value_text

_COLOURS = {EMBEDDING: ACCENT, MOTION: RIVAL, PREDICTION: PALETTE[2], COMBINED: PALETTE[3]}
_BINS = 40
_HOURS_FROM_MIN = 240.0


@house_style()
def disruption_figure(kinds: Sequence[KindStudy], pca: FloatArray, interval_min: float) -> bytes:
    """A row per kind of error: distribution of step scores, precision against recall, and one example over time.

    Args:
        pca: (N, 2) of the cells that the examples' rows point to.
    """
    sheet = Sheet(11.6, 3.9 * len(kinds), rows=len(kinds), columns=3)
    for (left, middle, right), study in zip(sheet.axes, kinds, strict=True):
        _draw_scores(left, study)
        _draw_curves(middle, study)
        _draw_example(right, study.example, pca, interval_min)
    return sheet.png()


def _draw_scores(axes: Axes, study: KindStudy) -> None:
    low, high = np.quantile(study.score, [0.001, 0.999])
    bins = np.linspace(low, high, _BINS).tolist()
    inside = np.clip(study.score, low, high)
    for chosen, colour, label in (
        (~study.disrupted, OTHER, "same cell"),
        (study.disrupted, ACCENT, f"across a {study.kind}"),
    ):
        axes.hist(
            inside[chosen],
            bins,
            density=True,
            color=colour,
            alpha=0.75,
            label=f"{label}, {chosen.sum()} steps",
        )
    if study.threshold is not None:
        axes.axvline(
            study.threshold,
            color=INK,
            linestyle=(0, (4, 3)),
            linewidth=1.1,
            label="threshold from train and val",
        )
    axes.set(xlabel="how unusual the step is (robust z)", ylabel="density")
    axes.set_title(f"Steps in the embedding: {study.kind}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1)


def _draw_curves(axes: Axes, study: KindStudy) -> None:
    for curve in study.curves:
        axes.step(
            np.append(0.0, curve.points.recall),
            np.append(curve.points.precision[:1], curve.points.precision),
            where="pre",
            color=_COLOURS[curve.of],
            label=f"{curve.title}, AP {value_text(curve.average_precision.value)}",
        )
    chance = study.estimate("average_precision", CHANCE).value
    if chance is not None:
        label = f"chance, AP {value_text(chance)}"
        axes.axhline(chance, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.3, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
    axes.set_title(f"Finding a {study.kind}, test tracks")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1)


def _draw_example(axes: Axes, example: ExampleTracks, pca: FloatArray, interval_min: float) -> None:
    event, rows = example.event, example.rows
    in_hours = float(rows["t"].max()) * interval_min >= _HOURS_FROM_MIN
    unit = interval_min / 60.0 if in_hours else interval_min
    for name, colour in ((event.track, ACCENT), (event.partner, RIVAL)):
        own = rows[rows["track"] == name]
        time, xy = own["t"].to_numpy() * unit, pca[own["row"].to_numpy()]
        title = f"track {name.rpartition('|')[2]}"
        axes.plot(
            time, xy[:, 0], color=colour, marker="o", markersize=2.5, linewidth=1.4, label=f"{title}, PC 1"
        )
        axes.plot(time, xy[:, 1], color=colour, linestyle=(0, (3, 2)), linewidth=1.1, label=f"{title}, PC 2")
    for frame in (event.start, event.stop):
        if frame is not None:
            axes.axvline((frame - 0.5) * unit, color=INK, linewidth=0.9, alpha=0.7)
    axes.set(
        xlabel=f"time since the first frame ({'h' if in_hours else 'min'})", ylabel="principal component"
    )
    axes.set_title(f"One injected {event.kind}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1)
