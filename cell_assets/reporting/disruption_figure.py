"""Figures of injected tracking errors: how unusual their steps are, what finds them, and what one looks like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cell_assets.evaluation.motion.disruption_study import (
    COMBINED,
    MOTION,
    PREDICTION,
    ExampleTracks,
    KindStudy,
)
from cell_assets.evaluation.scores.scoring import CHANCE, EMBEDDING
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.style import ACCENT, INK, MUTED, OTHER, PALETTE, RIVAL, Sheet, bare, house_style
from cell_assets.reporting.wording import value_text

_COLOURS = {EMBEDDING: ACCENT, MOTION: RIVAL, PREDICTION: PALETTE[2], COMBINED: PALETTE[3]}
_BINS = 40
_HOURS_FROM_MIN = 240.0


MOST_FRAMES_BESIDE = 3
"""Of an example that are shown before its first error and from its last one on."""
_GAP = 0.08
"""Between patches, of their width: outlines must not touch."""
_INCHES_PER_PATCH = 0.55
_CONTRAST = (1, 99.5)
"""Percentiles that are black and white."""


@dataclass(frozen=True)
class DisruptionPatches:
    """What two tracks show around an injected error."""

    t: IntArray
    """(F,) frames."""
    images: FloatArray
    """(2, F, C, Y, X), of the event's track and of its partner as they are then named; NaN where there is no patch."""
    is_own: BoolArray
    """(2, F) whether it is the cell that the track is of, and not the partner's."""


def pictured_frames(example: ExampleTracks) -> IntArray:
    """The few frames of an example whose patches are shown: those around its error that either track has."""
    event = example.event
    end = event.start if event.stop is None else event.stop
    t = np.unique(example.rows["t"].to_numpy(dtype=np.int64))
    return t[(t >= event.start - MOST_FRAMES_BESIDE) & (t < end + MOST_FRAMES_BESIDE)]


@house_style()
def disruption_figure(kinds: Sequence[KindStudy]) -> bytes:
    """A row per kind of error: distribution of step scores, and precision against recall."""
    sheet = Sheet(8.0, 3.9 * len(kinds), rows=len(kinds), columns=2)
    for (left, right), study in zip(sheet.axes, kinds, strict=True):
        _draw_scores(left, study)
        _draw_curves(right, study)
    return sheet.png()


@house_style()
def disruption_example_figure(
    kinds: Sequence[KindStudy],
    projection: Projection,
    interval_min: float,
    patches: Sequence[DisruptionPatches | None],
) -> bytes:
    """A row per kind of error, one example each: its way in the projection, and its cells around the error.

    Args:
        projection: (N, 2) of the cells that the examples' rows point to.
        patches: of each kind's example, None where they are not at hand.
    """
    n_channels = max((one.images.shape[2] for one in patches if one is not None), default=0)
    n_frames = max((len(one.t) for one in patches if one is not None), default=0)
    with_patches, wide = n_frames > 0, n_frames * _INCHES_PER_PATCH
    sheet = Sheet(
        5.2 + wide,
        max(3.6, 2 * n_channels * _INCHES_PER_PATCH + 1.5) * len(kinds),
        rows=len(kinds),
        columns=2 if with_patches else 1,
        width_ratios=[4.6, wide] if with_patches else [1.0],
    )
    for row, study, pictures in zip(sheet.axes, kinds, patches, strict=True):
        _draw_example(row[0], study.example, projection, interval_min)
        if with_patches:
            _draw_patches(row[1], study.example, pictures, interval_min)
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


def _draw_example(axes: Axes, example: ExampleTracks, projection: Projection, interval_min: float) -> None:
    event, rows = example.event, example.rows
    unit, unit_name = _time_unit(example, interval_min)
    first, second = projection.axis_titles
    for name, colour in ((event.track, ACCENT), (event.partner, RIVAL)):
        own = rows[rows["track"] == name]
        time, xy = own["t"].to_numpy() * unit, projection.xy[own["row"].to_numpy()]
        title = _title(name)
        axes.plot(
            time, xy[:, 0], color=colour, marker="o", markersize=2.5, linewidth=1.4, label=f"{title}, {first}"
        )
        axes.plot(
            time, xy[:, 1], color=colour, linestyle=(0, (3, 2)), linewidth=1.1, label=f"{title}, {second}"
        )
    for frame in _changes(example):
        axes.axvline((frame - 0.5) * unit, color=INK, linewidth=0.9, alpha=0.7)
    axes.set(xlabel=f"time since the first frame ({unit_name})", ylabel=projection.name)
    axes.set_title(f"One injected {event.kind}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)


def _draw_patches(
    axes: Axes, example: ExampleTracks, pictures: DisruptionPatches | None, interval_min: float
) -> None:
    """A row of frames per track and channel; the outline has the colour of the track that the cell is truly of."""
    bare(axes)
    if pictures is None:
        return
    unit, unit_name = _time_unit(example, interval_min)
    low, high = np.nanpercentile(pictures.images, _CONTRAST, axis=(0, 1, 3, 4), keepdims=True)
    light = np.clip((pictures.images - low) / np.maximum(high - low, 1e-9), 0, 1)
    _, n_frames, n_channels, height, width = light.shape
    gap = max(2, round(_GAP * width))
    step_y, step_x = height + gap, width + gap
    block = n_channels * step_y + 2 * gap
    canvas = np.full((2 * block, n_frames * step_x), np.nan)
    colours = (ACCENT, RIVAL)
    for place, name in enumerate((example.event.track, example.event.partner)):
        top = place * block
        for frame in range(n_frames):
            x = frame * step_x
            for channel in range(n_channels):
                y = top + channel * step_y
                canvas[y : y + height, x : x + width] = light[place, frame, channel]
            if np.isfinite(light[place, frame]).all():
                colour = colours[place] if pictures.is_own[place, frame] else colours[1 - place]
                size = (width, n_channels * step_y - gap)
                axes.add_patch(
                    Rectangle((x - 0.5, top - 0.5), *size, fill=False, edgecolor=colour, linewidth=1.4)
                )
        axes.text(
            -6, top + block / 2, _title(name), color=colours[place], rotation=90, ha="right", va="center",
            fontsize=8,
        )  # fmt: skip
    for frame, t in enumerate(pictures.t):
        axes.text(
            frame * step_x + width / 2, -4, f"{t * unit:g} {unit_name}", fontsize=7, ha="center", va="bottom"
        )
    for change in _changes(example):
        x = int(np.searchsorted(pictures.t, change)) * step_x - gap / 2 - 0.5
        axes.axvline(x, color=INK, linewidth=1.2)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_anchor("W")


def _time_unit(example: ExampleTracks, interval_min: float) -> tuple[float, str]:
    """What one frame lasts, in which unit."""
    in_hours = float(example.rows["t"].max()) * interval_min >= _HOURS_FROM_MIN
    return (interval_min / 60.0, "h") if in_hours else (interval_min, "min")


def _changes(example: ExampleTracks) -> list[int]:
    """First frames in which a name shows another cell than before."""
    return [frame for frame in (example.event.start, example.event.stop) if frame is not None]


def _title(track: str) -> str:
    return f"track {track.rpartition('|')[2]}"
