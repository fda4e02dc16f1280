"""Figures of class attribution: maps over time (DynaCLR, Fig. 5 and appendix Fig. 2), and their sanity checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cell_assets.evaluation.pixels.attribution_scores import (
    RANDOM_DROP,
    MapKind,
    Region,
    area_column,
    correlation_column,
    drop_column,
    share_column,
)
from cell_assets.evaluation.units import FloatArray
from cell_assets.ledger.records import NumberDraft
from cell_assets.reporting.style import ACCENT, INK, MUTED, RIVAL, Sheet, bare, house_style
from cell_assets.reporting.wording import title_text

_MAP_COLOURS = "RdBu_r"
_CLIP_PERCENTILE = 99.5
"""Of |attribution|: extreme values are clipped so that the others can be seen (§3.4.2)."""
_COLUMN_IN, _ROW_IN = 1.12, 1.0


@dataclass(frozen=True)
class AttributedFrame:
    """One time point of a cell: its middle slice and what K heads say of it."""

    time: str
    image: NDArray[np.float32]
    """(C, Y, X)"""
    maps: Mapping[MapKind, NDArray[np.float32]]
    """(K, C, Y, X) each."""
    segment: NDArray[np.bool_] | None
    """(Y, X); None where the cell has no label."""
    probability: FloatArray
    """(K,) of each head's positive state."""
    true_state: tuple[str, ...]
    """(K) names, `not annotated` where nobody said."""


@dataclass(frozen=True)
class AttributedTrack:
    """One cell over time."""

    channel_names: tuple[str, ...]
    heads: tuple[str, ...]
    """(K) columns."""
    positive: tuple[str, ...]
    """(K) the state that each head's logit is of."""
    frames: tuple[AttributedFrame, ...]


@house_style()
def attribution_figure(track: AttributedTrack) -> bytes:
    """Time points side by side; rows: channels, then of every head both maps of each channel.

    Red speaks for the head's positive state, blue against it; one colour scale for a map of a head over all channels
    and time points. The line is the edge of the segmented region.
    """
    n_channels, n_frames = len(track.channel_names), len(track.frames)
    blocks = [(head, kind) for head in range(len(track.heads)) for kind in MapKind]
    n_rows = n_channels * (1 + len(blocks))
    sheet = Sheet(2.3 + _COLUMN_IN * n_frames, 0.3 + _ROW_IN * n_rows, rows=n_rows, columns=n_frames)
    for channel, name in enumerate(track.channel_names):
        images = np.stack([frame.image[channel] for frame in track.frames])
        low, high = np.percentile(images, [1, 99.5])
        for axes, image in zip(sheet.axes[channel], images, strict=True):
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
        _label_row(sheet.axes[channel][0], name)
    for axes, frame in zip(sheet.axes[0], track.frames, strict=True):
        axes.set_title(frame.time, fontsize=8, loc="center", fontweight="normal", pad=3)
    for block, (head, kind) in enumerate(blocks):
        first = n_channels * (1 + block)
        _draw_block(sheet.axes[first : first + n_channels], track, head, kind)
    for row in sheet.axes:
        for axes in row:
            bare(axes)
    return sheet.png()


def _draw_block(rows: Sequence[tuple[Axes, ...]], track: AttributedTrack, head: int, kind: MapKind) -> None:
    maps = np.stack([frame.maps[kind][head] for frame in track.frames])
    limit = float(np.percentile(np.abs(maps), _CLIP_PERCENTILE)) or 1e-12
    for channel, name in enumerate(track.channel_names):
        for axes, frame, attribution in zip(rows[channel], track.frames, maps[:, channel], strict=True):
            axes.imshow(attribution, cmap=_MAP_COLOURS, vmin=-limit, vmax=limit)
            if frame.segment is not None and frame.segment.any() and not frame.segment.all():
                axes.contour(frame.segment, levels=[0.5], colors=INK, linewidths=0.6)
            if channel == 0:
                said = f"P = {frame.probability[head]:.2f}\ntrue: {frame.true_state[head]}"
                axes.set_title(said, fontsize=7, loc="center", fontweight="normal", pad=3)
        _label_row(
            rows[channel][0],
            f"{title_text(kind.value)}\nfor “{track.positive[head]}”\n{name}\nclipped at ±{limit:.2g}",
        )


def _label_row(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, fontsize=7.5, rotation=0, ha="right", va="center", labelpad=6)


@house_style()
def sanity_figure(columns: Sequence[str], numbers: Sequence[NumberDraft]) -> bytes:
    """A row for each head: where attribution lies, what it depends on, what deleting pixels does; 95 % intervals."""
    by_name = {(number.report.rpartition("/")[2], number.name): number for number in numbers}
    sheet = Sheet(9.6, 0.5 + 1.75 * len(columns), rows=len(columns), columns=3)
    for row, column in zip(sheet.axes, columns, strict=True):
        found = {
            name: number for (report, name), number in by_name.items() if report == f"attribution_{column}"
        }
        _draw_points(
            row[0],
            [
                (
                    f"{title_text(kind.value)}, {region.value}",
                    found[share_column(kind, region)],
                    _colour(kind),
                )
                for region in Region
                for kind in MapKind
            ],
            [found[area_column(region)].value for region in Region for _ in MapKind],
        )
        _draw_points(
            row[1],
            [(title_text(kind.value), found[correlation_column(kind)], _colour(kind)) for kind in MapKind],
        )
        _draw_points(
            row[2],
            [
                *((title_text(kind.value), found[drop_column(kind)], _colour(kind)) for kind in MapKind),
                ("random pixels", found[RANDOM_DROP], MUTED),
            ],
        )
        row[0].set(xlim=(0, 1), xlabel="share of |attribution| inside")
        row[1].set(xlim=(-0.3, 1), xlabel="rank correlation, randomised")
        row[2].set_xlabel("fall of the logit by deletion")
        row[2].axvline(0, color=MUTED, linewidth=0.8)
        row[0].set_title(title_text(column).capitalize())
    return sheet.png()


def _draw_points(
    axes: Axes, rows: Sequence[tuple[str, NumberDraft, str]], chance: Sequence[float | None] = ()
) -> None:
    for place, (_, number, colour) in enumerate(rows):
        if number.ci_low is not None and number.ci_high is not None:
            axes.plot(
                [number.ci_low, number.ci_high], [place, place], color=colour, linewidth=2.2, alpha=0.55
            )
        if number.value is not None:
            axes.plot([number.value], [place], "o", color=colour, markersize=5)
    for place, value in enumerate(chance):
        if value is not None:
            axes.plot(
                [value, value], [place - 0.35, place + 0.35], color=INK, linestyle=(0, (2, 1)), linewidth=1.2
            )
    axes.set_yticks(range(len(rows)), [title for title, _, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")


def _colour(kind: MapKind) -> str:
    return ACCENT if kind is MapKind.OCCLUSION else RIVAL
