"""Figures of the embedding itself: where cells lie, how training went, what a dividing cell looks like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cell_assets.evaluation.units import FloatArray
from cell_assets.reporting.style import (
    ACCENT,
    CONTINUOUS,
    INK,
    MUTED,
    OTHER,
    PALETTE,
    Sheet,
    bare,
    house_style,
)
from cell_assets.reporting.wording import title_text

_MOST_POINTS = 20_000
_MOST_CATEGORIES = 7
MOST_FRAMES = 12
"""Of a strip."""


@dataclass(frozen=True)
class Projection:
    """Two coordinates per cell, for example the first two principal components."""

    name: str
    xy: FloatArray
    """(N, 2)"""
    axis_titles: tuple[str, str]


@dataclass(frozen=True)
class Colouring:
    """What the colour of a point says: categories (text) or an amount (numbers, unit in the title)."""

    title: str
    values: pd.Series
    """(N,); missing values are drawn grey."""


@dataclass(frozen=True)
class PatchStrip:
    """One cell over time."""

    task: str
    """That it is an example of."""
    images: FloatArray
    """(T, C, Y, X), one plane per channel."""
    channel_names: tuple[str, ...]
    minutes: FloatArray
    """(T,) time of each frame, counted as `clock` says."""
    probability: FloatArray | None = None
    """(T,) what the probe says of each frame, drawn beneath it."""
    probability_title: str = "probe"
    clock: str = "minutes before the end of the track"


@house_style()
def scatter_figure(projections: Sequence[Projection], colourings: Sequence[Colouring]) -> bytes:
    """Every projection (rows) coloured by every colouring (columns).

    At most 20,000 points, evenly spaced in a fixed shuffle, so that no category is always drawn on top.
    """
    rows, columns = len(projections), len(colourings)
    sheet = Sheet(1.0 + 3.3 * columns, 3.1 * rows + 0.5, rows=rows, columns=columns)
    n_points = len(projections[0].xy)
    drawn = np.random.default_rng(0).permutation(n_points)[:_MOST_POINTS]
    size = float(np.clip(6000 / max(len(drawn), 1), 1.5, 14))
    for row, projection in enumerate(projections):
        for column, colouring in enumerate(colourings):
            axes = sheet.axes[row][column]
            xy, values = projection.xy[drawn], colouring.values.iloc[drawn]
            if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
                _draw_amount(sheet, axes, xy, values.to_numpy(dtype=np.float64), size, colouring.title)
            else:
                _draw_categories(axes, xy, values, size, row == rows - 1)
            bare(axes)
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_xlabel(projection.axis_titles[0], color=MUTED, fontsize=8)
            axes.set_ylabel(projection.axis_titles[1], color=MUTED, fontsize=8)
            axes.set_title(f"{projection.name} by {title_text(colouring.title)}")
    return sheet.png()


@house_style()
def loss_figure(history: pd.DataFrame) -> bytes:
    """Loss against epoch: one line per column of `history` beside `epoch` that has numbers."""
    sheet = Sheet(5.2, 3.2)
    axes = sheet.axes[0][0]
    columns = [column for column in history.columns if "loss" in str(column)]
    for colour, column in zip(PALETTE, columns, strict=False):
        known = history[["epoch", column]].dropna()
        axes.plot(
            known["epoch"], known[column], color=colour, marker="o", markersize=3,
            label=title_text(str(column).replace("/", " ")),
        )  # fmt: skip
    axes.set(xlabel="epoch", ylabel="loss", title="Training")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper right")
    return sheet.png()


@house_style()
def patch_strip_figure(strip: PatchStrip) -> bytes:
    """The last frames of one cell side by side, a row per channel, and what the probe says beneath."""
    images, minutes = strip.images[-MOST_FRAMES:], strip.minutes[-MOST_FRAMES:]
    probability = None if strip.probability is None else strip.probability[-MOST_FRAMES:]
    n_frames, n_channels = len(images), images.shape[1]
    extra = 0 if probability is None else 1
    sheet = Sheet(
        max(4.0, 0.85 * n_frames + 0.9),
        0.95 * n_channels + 0.62 * extra + 0.6,
        rows=n_channels + extra,
        columns=n_frames,
        height_ratios=[1.0] * n_channels + [0.5] * extra,
    )
    for channel in range(n_channels):
        # One contrast for all frames of a channel, or brightness could not be compared over time.
        low, high = np.percentile(images[:, channel], [1, 99.5])
        for frame in range(n_frames):
            axes = sheet.axes[channel][frame]
            axes.imshow(images[frame, channel], cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
            bare(axes)
            if channel == 0:
                axes.set_title(f"{minutes[frame]:g}", fontsize=8, loc="center", fontweight="normal", pad=3)
        sheet.axes[channel][0].set_ylabel(strip.channel_names[channel], fontsize=8)
    sheet.figure.suptitle(strip.clock, fontsize=8, x=0.01, ha="left")
    if probability is not None:
        for frame, value in enumerate(probability):
            _draw_bar(sheet.axes[n_channels][frame], float(value))
        sheet.axes[n_channels][0].set_ylabel(
            strip.probability_title, fontsize=8, rotation=0, ha="right", va="center"
        )
    return sheet.png()


def _draw_bar(axes: Axes, value: float) -> None:
    bare(axes)
    axes.bar([0], [1.0], color="#eef1f4", width=0.7)
    axes.bar([0], [value], color=ACCENT, width=0.7)
    axes.set(xlim=(-0.8, 0.8), ylim=(0, 1))
    axes.set_xlabel(f"{value:.2f}", fontsize=7.5, color=INK, labelpad=2)


def _draw_amount(
    sheet: Sheet, axes: Axes, xy: FloatArray, values: FloatArray, size: float, title: str
) -> None:
    missing = np.isnan(values)
    axes.scatter(xy[missing, 0], xy[missing, 1], s=size, color=OTHER, linewidths=0)
    points = axes.scatter(
        xy[~missing, 0], xy[~missing, 1], s=size, c=values[~missing], cmap=CONTINUOUS, linewidths=0
    )
    bar = sheet.figure.colorbar(points, ax=axes, shrink=0.75, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(title_text(title), fontsize=8)


def _draw_categories(axes: Axes, xy: FloatArray, values: pd.Series, size: float, legend: bool) -> None:
    text = values.astype("object").where(values.notna(), "not known").astype(str)
    names = [str(name) for name in text.value_counts(sort=True).index if name != "not known"]
    shown = sorted(names[:_MOST_CATEGORIES])
    colours = dict(zip(shown, PALETTE, strict=False))
    axes.scatter(xy[:, 0], xy[:, 1], s=size, c=[colours.get(name, OTHER) for name in text], linewidths=0)
    if not legend:
        return
    rest = [("other", OTHER)] if len(names) > len(shown) else []
    rest += [("not known", OTHER)] if (text == "not known").any() else []
    for name, colour in [*colours.items(), *rest]:
        axes.scatter([], [], s=22, color=colour, label=name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, handletextpad=0.2)
