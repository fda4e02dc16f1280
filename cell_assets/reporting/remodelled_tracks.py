"""Figure of example tracks in a channel that the embedding did not see (DynaCLR, Figure 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.style import INK, MUTED, OTHER, PALETTE, Sheet, bare, house_style
from cell_assets.reporting.wording import title_text

MOST_FRAMES = 8
_MOST_POINTS = 20_000
_GAP_PX = 3
_INCHES_PER_PATCH = 0.85
_LABELS_IN = 0.22
"""Height of the hours above a row of patches."""


@dataclass(frozen=True)
class RemodelledTrack:
    """A track, and its cell in the unseen channel."""

    track: str
    """For example `track 12`."""
    condition: str
    rows: IntArray
    """(T,) among the study's cells, by time."""
    images: FloatArray
    """(F, C, Y, X) of some of its frames: maximum over Z of the unseen channel and, where C is 2, of the sensor."""
    hours: FloatArray
    """(F,)"""
    in_state: BoolArray
    """(F,) from the called onset on."""


def remodelled_tracks_figure(
    name: str,
    state: str,
    channels: Sequence[str],
    tracks: Sequence[RemodelledTrack],
    projection: Projection,
    time_title: str,
    *,
    heading: str = "",
    chosen_from: str = "test tracks",
) -> ReportFigure:
    """The tracks in the projection and, a row each, their cells over time.

    Args:
        name: of the figure.
        channels: what `RemodelledTrack.images` are of.
        time_title: since when hours count.
        heading: what the title begins with.
        chosen_from: which tracks these were chosen from.
    """
    unseen, *sensor = channels
    colours = f"{unseen} green" + (f", {sensor[0]} magenta" if sensor else "")
    return ReportFigure(
        name=name,
        title=f"{heading}{unseen} in cells that turn {title_text(state)}, and in one that does not",
        caption=(
            f"Left: example tracks among all cells, grey, in {projection.name} of the embedding, which did not see "
            f"{unseen}; a ring is the first frame. Right: their cells, maximum over depth, {colours}, with one "
            f"contrast for all. Times are {time_title}; a frame is outlined from the onset of {title_text(state)} on "
            f"that the probe calls. They are the {chosen_from} that turn, and the one that does not, that were "
            "followed for longest, so they were not picked for their looks."
        ),
        png=_draw(tracks, projection),
    )


@house_style()
def _draw(tracks: Sequence[RemodelledTrack], projection: Projection) -> bytes:
    n_frames = max(len(one.images) for one in tracks)
    wide = _INCHES_PER_PATCH * n_frames
    high = (_INCHES_PER_PATCH + _LABELS_IN) * len(tracks)
    sheet = Sheet(3.6 + wide, max(high, 3.2) + 0.5, columns=2, width_ratios=[3.4, wide])
    left, right = sheet.axes[0]
    _draw_places(left, tracks, projection)
    _draw_cells(right, tracks, n_frames)
    sheet.legend_below(*left.get_legend_handles_labels())
    return sheet.png()


def _draw_places(axes: Axes, tracks: Sequence[RemodelledTrack], projection: Projection) -> None:
    xy = projection.xy
    drawn = np.random.default_rng(0).permutation(len(xy))[:_MOST_POINTS]
    size = float(np.clip(6000 / max(len(drawn), 1), 1.5, 10))
    axes.scatter(xy[drawn, 0], xy[drawn, 1], s=size, color=OTHER, alpha=0.6, linewidths=0)
    for one, colour in zip(tracks, PALETTE, strict=False):
        way = xy[one.rows]
        axes.plot(
            way[:, 0],
            way[:, 1],
            color=colour,
            marker=".",
            markersize=5,
            linewidth=1.2,
            label=f"{one.track}, {one.condition}",
        )
        axes.plot(*way[0], "o", color=colour, markerfacecolor="white", markersize=5.5)
    bare(axes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(projection.axis_titles[0], color=MUTED, fontsize=8)
    axes.set_ylabel(projection.axis_titles[1], color=MUTED, fontsize=8)
    axes.set_title(projection.name)


def _draw_cells(axes: Axes, tracks: Sequence[RemodelledTrack], n_frames: int) -> None:
    """One picture of all patches, since axes of their own for each would be slow and leave wide gaps."""
    side_y, side_x = tracks[0].images.shape[2:]
    label_px = round(side_y * _LABELS_IN / _INCHES_PER_PATCH)
    step_y, step_x = side_y + label_px + _GAP_PX, side_x + _GAP_PX
    canvas = np.ones((step_y * len(tracks), step_x * n_frames, 3))
    contrast = _contrast(np.concatenate([one.images for one in tracks]))
    for place, (one, colour) in enumerate(zip(tracks, PALETTE, strict=False)):
        top = place * step_y + label_px
        for frame, image in enumerate(coloured(one.images, contrast)):
            x = frame * step_x
            canvas[top : top + side_y, x : x + side_x] = image
            axes.text(
                x + side_x / 2,
                top - 2,
                f"{one.hours[frame]:.3g} h",
                color=INK,
                fontsize=7,
                ha="center",
                va="bottom",
            )
            if one.in_state[frame]:
                axes.add_patch(
                    Rectangle((x - 0.5, top - 0.5), side_x, side_y, fill=False, color=colour, linewidth=1.6)
                )
        axes.text(
            -4, top + side_y / 2, one.track, color=colour, fontsize=8, rotation=90, ha="right", va="center"
        )
    axes.imshow(canvas, interpolation="nearest")
    bare(axes)


def _contrast(images: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Black and white point (1, C, 1, 1) of all frames of a channel, or brightness could not be compared."""
    low, high = np.percentile(images, [1, 99.5], axis=(0, 2, 3), keepdims=True)
    return low, np.maximum(high, low + 1e-9)


def coloured(images: FloatArray, contrast: tuple[FloatArray, FloatArray]) -> FloatArray:
    """(F, Y, X, 3), 0 to 1: the first channel (F, C, Y, X) green, the second, where there is one, magenta.

    Args:
        contrast: value of each channel, (1, C, 1, 1), that is black, and that is brightest.
    """
    low, high = contrast
    light = np.clip((images - low) / (high - low), 0, 1)
    green = light[:, 0]
    magenta = light[:, 1] if images.shape[1] > 1 else np.zeros_like(green)
    return np.stack([magenta, green, magenta], axis=-1)
