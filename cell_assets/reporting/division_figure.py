"""Figure of divisions (DynaCLR, Figure 4): where dividing cells go in the embedding, and what they look like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cell_assets.evaluation.motion.division_steps import DivisionTrajectory
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.style import INK, MUTED, OTHER, PALETTE, Sheet, bare, house_style

PARENT, FIRST, SECOND = INK, "#1f5fd0", "#c0453c"
"""As in the paper: the parent black, its daughters blue and red."""
CELL, MEMBERS = "cell", ("parent", "daughter", "other daughter")
"""What a point of a `trajectory_table` is drawn as, where it is no highlight."""
_COLUMNS = {
    "projection": "string",
    "drawn_as": "string",
    "division": "Int64",
    "plate": "string",
    "fov_name": "string",
    "track_id": "int64",
    "parent_track_id": "int64",
    "t": "int64",
    "minutes": "float64",
    "x": "float64",
    "y": "float64",
}
"""Name and type."""
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


def trajectory_table(
    cells: pd.DataFrame,
    projections: Sequence[Projection],
    highlights: Sequence[Highlight],
    families: Sequence[DivisionTrajectory],
    minutes: FloatArray,
) -> pd.DataFrame:
    """Every point that `division_figure` draws, a row each; no row where there is no family.

    `projection` is the name of one; `drawn_as` is CELL, the title of a highlight or one of MEMBERS; `division` counts
    the families from 1 and is null of what is no family's; `x` and `y` have the projection's unit. `minutes` of
    MEMBERS are from the parent's last frame, of others null.

    Args:
        cells: N rows, `plate, fov_name, track_id, parent_track_id, t`.
        minutes: (N,) time of every row.
    """
    if not families:
        return pd.DataFrame(columns=list(_COLUMNS)).astype(_COLUMNS)
    drawn = np.random.default_rng(0).permutation(len(cells))[:_MOST_POINTS]
    layers = [_layer(CELL, drawn), *(_layer(one.title, np.flatnonzero(one.rows)) for one in highlights)]
    for number, family in enumerate(families, start=1):
        zero = minutes[family.parent[-1]]
        layers += [
            _layer(member, rows, number, minutes[rows] - zero)
            for member, rows in zip(MEMBERS, (family.parent, *family.daughters), strict=True)
        ]
    points = pd.concat(layers, ignore_index=True)
    row = points.pop("row").to_numpy(dtype=np.int64)
    keys = cells[["plate", "fov_name", "track_id", "parent_track_id", "t"]].iloc[row].reset_index(drop=True)
    keys["parent_track_id"] = keys["parent_track_id"].fillna(-1)
    points = pd.concat([points, keys], axis=1)
    parts = [points.assign(projection=one.name, x=one.xy[row, 0], y=one.xy[row, 1]) for one in projections]
    return pd.concat(parts, ignore_index=True)[list(_COLUMNS)].astype(_COLUMNS)


def _layer(
    drawn_as: str, rows: IntArray, division: int | None = None, minutes: FloatArray | None = None
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "drawn_as": drawn_as,
            "division": pd.array([division] * len(rows), dtype="Int64"),
            "minutes": np.full(len(rows), np.nan) if minutes is None else minutes,
            "row": rows,
        }
    )


def highlight_colours(tables: Sequence[pd.DataFrame]) -> dict[str, str]:
    """Of every highlight that one of `tables` (as `trajectory_table` makes them) holds, by title."""
    titles = dict.fromkeys(title for table in tables for title in table["drawn_as"].unique())
    return dict(zip((title for title in titles if title not in (CELL, *MEMBERS)), PALETTE[1:], strict=False))


@house_style()
def division_figure(
    table: pd.DataFrame, projections: Sequence[Projection], patches: Sequence[FamilyPatches | None]
) -> bytes:
    """A column per family: its trajectory in every projection over all cells, and patches below.

    Args:
        table: as `trajectory_table` makes it of the same projections.
        patches: of each family, None where they are not at hand.
    """
    n, p = len(patches), len(projections)
    with_patches = any(one is not None for one in patches)
    heights = [3.3] * p + ([2.5] if with_patches else [])
    sheet = Sheet(0.6 + 3.7 * n, sum(heights) + 0.6, rows=len(heights), columns=n, height_ratios=heights)
    colours = highlight_colours([table])
    for column, pictures in enumerate(patches):
        for row, projection in enumerate(projections):
            axes = sheet.axes[row][column]
            draw_division(axes, table[table["projection"] == projection.name], column + 1, colours)
            axes.set_xlabel(projection.axis_titles[0], color=MUTED, fontsize=8)
            axes.set_ylabel(projection.axis_titles[1], color=MUTED, fontsize=8)
            axes.set_title(f"{projection.name}, division {column + 1}")
        if with_patches:
            _draw_patches(sheet.axes[p][column], pictures)
    handles, labels = sheet.axes[0][0].get_legend_handles_labels()
    sheet.figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return sheet.png()


def draw_division(axes: Axes, drawn: pd.DataFrame, division: int, colours: Mapping[str, str]) -> None:
    """One family over all cells.

    Args:
        drawn: rows of a `trajectory_table` in one projection.
        colours: by title of a highlight.
    """
    layers = {str(name): own for name, own in drawn.groupby("drawn_as", sort=False)}
    cells = layers[CELL]
    size = float(np.clip(6000 / max(len(cells), 1), 1.5, 10))
    axes.scatter(cells["x"], cells["y"], s=size, color=OTHER, alpha=0.6, linewidths=0)
    highlights = [title for title in layers if title in colours]
    # The fewest last: cells about to divide are mostly among those in mitosis, and would lie beneath them.
    for title in sorted(highlights, key=lambda title: -len(layers[title])):
        own = layers[title]
        axes.scatter(
            own["x"], own["y"], s=max(2.2 * size, 9), color=colours[title], linewidths=0, label=title
        )
    bare(axes)
    axes.set_aspect("equal", adjustable="datalim")
    family = drawn[drawn["division"] == division].sort_values("t", kind="stable")
    _draw_family(axes, *(family[family["drawn_as"] == member] for member in MEMBERS))


def _draw_family(axes: Axes, parent: pd.DataFrame, *daughters: pd.DataFrame) -> None:
    place = ["x", "y"]
    for rows, colour, label in zip(daughters, (FIRST, SECOND), MEMBERS[1:], strict=True):
        path = np.vstack([parent[place].iloc[-1], rows[place]]).astype(np.float64)
        axes.plot(*path.T, color=colour, marker=".", markersize=4, linewidth=1.3, label=label)
        _mark_time(axes, path[-1], _relative(rows["minutes"].iloc[-1]), colour)
    path = parent[place].to_numpy(dtype=np.float64)
    axes.plot(*path.T, color=PARENT, marker=".", markersize=4, linewidth=1.3, label=MEMBERS[0])
    axes.plot(*path[-1], "*", color=PARENT, markersize=11, markeredgecolor="white", label="division")
    _mark_time(axes, path[0], _relative(parent["minutes"].iloc[0]), PARENT)


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
