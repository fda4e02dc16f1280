"""Figure of divisions (DynaCLR, Figure 4): where dividing cells go in the embedding, and what they look like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.motion.division_steps import DivisionTrajectory
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.style import INK, MUTED, OTHER, PALETTE, RIVAL, Sheet, bare, house_style

PARENT, FIRST, SECOND = INK, "#1f5fd0", "#c0453c"
"""As in the paper: the parent black, its daughters blue and red."""
_MOST_PARENT_FRAMES, _MOST_DAUGHTER_FRAMES = 3, 2
_MOST_POINTS = 20_000
_GAP_PX = 2


@dataclass(frozen=True)
class Highlight:
    """Cells that are coloured among the grey ones."""

    title: str
    rows: BoolArray
    """(N,)"""


@dataclass(frozen=True)
class FamilyPatches:
    """A cell before its division and two daughters after it; one plane per channel."""

    images: FloatArray
    """(T, C, Y, X): the parent's frames, then the first daughter's, then the second's."""
    minutes: FloatArray
    """(T,) relative to the division, the parent's last frame."""
    who: IntArray
    """(T,) 0 for the parent, 1 and 2 for the daughters."""


def pictured_rows(family: DivisionTrajectory, t: IntArray) -> tuple[IntArray, IntArray]:
    """The few rows of a family whose patches are shown, and whose each is (0 parent, 1 and 2 daughters).

    The parent's last frames up to the division, and each daughter's first.
    """
    parts = [
        family.parent[-_MOST_PARENT_FRAMES:],
        *(rows[:_MOST_DAUGHTER_FRAMES] for rows in family.daughters),
    ]
    parts = [rows[np.argsort(t[rows])] for rows in parts]
    return np.concatenate(parts), np.repeat(np.arange(3), [len(rows) for rows in parts])


@house_style()
def division_figure(
    projections: Sequence[Projection],
    highlights: Sequence[Highlight],
    families: Sequence[DivisionTrajectory],
    minutes: FloatArray,
    patches: Sequence[FamilyPatches | None],
) -> bytes:
    """A column per family: its trajectory in every projection over all cells, and patches below.

    Args:
        minutes: (N,) time of every row.
        patches: of each family, None where they are not at hand.
    """
    n, p = len(families), len(projections)
    with_patches = any(one is not None for one in patches)
    heights = [3.3] * p + ([2.5] if with_patches else [])
    sheet = Sheet(0.6 + 3.7 * n, sum(heights) + 0.6, rows=len(heights), columns=n, height_ratios=heights)
    for column, (family, pictures) in enumerate(zip(families, patches, strict=True)):
        for row, projection in enumerate(projections):
            axes = sheet.axes[row][column]
            _draw_cells(axes, projection, highlights)
            _draw_family(axes, projection.xy, family, minutes)
            axes.set_xlabel(projection.axis_titles[0], color=MUTED, fontsize=8)
            axes.set_ylabel(projection.axis_titles[1], color=MUTED, fontsize=8)
            axes.set_title(f"{projection.name}, division {column + 1}")
        if with_patches:
            _draw_patches(sheet.axes[p][column], pictures)
    handles, labels = sheet.axes[0][0].get_legend_handles_labels()
    sheet.figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return sheet.png()


def _draw_cells(axes: Axes, projection: Projection, highlights: Sequence[Highlight]) -> None:
    xy = projection.xy
    drawn = np.random.default_rng(0).permutation(len(xy))[:_MOST_POINTS]
    size = float(np.clip(6000 / max(len(drawn), 1), 1.5, 10))
    axes.scatter(xy[drawn, 0], xy[drawn, 1], s=size, color=OTHER, alpha=0.6, linewidths=0)
    coloured = list(zip(highlights, (RIVAL, PALETTE[2]), strict=False))
    # The fewest last: cells about to divide are mostly among those in mitosis, and would lie beneath them.
    for highlight, colour in sorted(coloured, key=lambda pair: -int(pair[0].rows.sum())):
        xy_of = xy[highlight.rows]
        axes.scatter(
            xy_of[:, 0], xy_of[:, 1], s=max(2.2 * size, 9), color=colour, linewidths=0, label=highlight.title
        )
    bare(axes)
    axes.set_aspect("equal", adjustable="datalim")


def _draw_family(axes: Axes, xy: FloatArray, family: DivisionTrajectory, minutes: FloatArray) -> None:
    division = family.parent[-1]
    zero = minutes[division]
    for rows, colour, label in zip(
        family.daughters, (FIRST, SECOND), ("daughter", "other daughter"), strict=True
    ):
        path = np.append(division, rows)
        axes.plot(*xy[path].T, color=colour, marker=".", markersize=4, linewidth=1.3, label=label)
        _mark_time(axes, xy[rows[-1]], _relative(minutes[rows[-1]] - zero), colour)
    axes.plot(*xy[family.parent].T, color=PARENT, marker=".", markersize=4, linewidth=1.3, label="parent")
    axes.plot(*xy[division], "*", color=PARENT, markersize=11, markeredgecolor="white", label="division")
    _mark_time(axes, xy[family.parent[0]], _relative(minutes[family.parent[0]] - zero), PARENT)


def _mark_time(axes: Axes, place: FloatArray, text: str, colour: str) -> None:
    axes.annotate(
        text,
        (float(place[0]), float(place[1])),
        xytext=(3, 3),
        textcoords="offset points",
        color=colour,
        fontsize=7,
    )


def _relative(minutes: float) -> str:
    """Time from the division."""
    return f"{minutes:+g} min" if minutes else "0 min"


def _draw_patches(axes: Axes, pictures: FamilyPatches | None) -> None:
    bare(axes)
    if pictures is None:
        return
    images = _stretched(pictures.images)
    n_frames, n_channels, height, width = images.shape
    block, column = n_channels * (height + _GAP_PX), width + _GAP_PX
    n_parent = int((pictures.who == 0).sum())
    n_columns = n_parent + max(int((pictures.who == one).sum()) for one in (1, 2))
    canvas = np.full((2 * block, n_columns * column), np.nan)
    top_of = {0: block // 2, 1: 0, 2: block}
    left_of = {0: 0, 1: n_parent, 2: n_parent}
    colour_of = {0: PARENT, 1: FIRST, 2: SECOND}
    shown = {0: 0, 1: 0, 2: 0}
    for frame in range(n_frames):
        who = int(pictures.who[frame])
        x, y = (left_of[who] + shown[who]) * column, top_of[who]
        shown[who] += 1
        for channel in range(n_channels):
            top = y + channel * (height + _GAP_PX)
            canvas[top : top + height, x : x + width] = images[frame, channel]
        label = _relative(pictures.minutes[frame])
        if who < 2:
            axes.text(x + width / 2, y - 2, label, color=colour_of[who], fontsize=7, ha="center", va="bottom")
        else:
            axes.text(
                x + width / 2, y + block, label, color=colour_of[who], fontsize=7, ha="center", va="top"
            )
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _stretched(images: FloatArray) -> FloatArray:
    """0 to 1 by one contrast for all frames of a channel, or brightness could not be compared over time."""
    low, high = np.percentile(images, [1, 99.5], axis=(0, 2, 3), keepdims=True)
    return np.clip((images - low) / np.maximum(high - low, 1e-9), 0, 1)
