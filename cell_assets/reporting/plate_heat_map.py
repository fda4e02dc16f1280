"""Whole-plate heat maps: one square per well of a 96-, 384- or 1536-well plate, one panel per measure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cell_assets.imaging.quality.wells import PlateLayout
from cell_assets.reporting.style import CONTINUOUS, MUTED, Sheet, house_style

MIN_WELLS = 2
"""With values: one well has no neighbours to be compared with."""

_PANEL_WIDTH_IN = 5.2
_HATCH_COLOUR = "#b6bfc9"
_MOST_ROW_NAMES = 16

_SHOWN: Mapping[str, tuple[str, str]] = {
    "over_background": ("Intensity over background", "grey value"),
    "background": ("Background", "grey value"),
    "focus_slope": ("Focus: slope of the power spectrum", "log power per log frequency"),
    "high_frequency_share": ("Focus: high-frequency share", "share of power"),
    "saturated_share": ("Saturation", "share of pixels"),
    "drift_um": ("Drift between time points", "µm"),
    "n_cells": ("Cells", "cells per FOV"),
}
"""Title and unit of each measure of a well that is shown."""


@dataclass(frozen=True)
class HeatMapPanel:
    """One measure of every well."""

    title: str
    unit: str
    values: NDArray[np.float64]
    """(rows, columns) of the layout; NaN where a well has no value."""


@house_style()
def plate_heat_map_figure(layout: PlateLayout, title: str, panels: Sequence[HeatMapPanel]) -> bytes:
    """Values by place on the plate, a scale per panel, in colours told apart with any colour vision (viridis).

    A well without a value is hatched.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    panel_height = 0.85 + 0.8 * _PANEL_WIDTH_IN * layout.n_rows / layout.n_columns
    sheet = Sheet(_PANEL_WIDTH_IN * columns, 0.4 + panel_height * rows, rows, columns)
    every = [axes for row in sheet.axes for axes in row]
    for axes, panel in zip(every, panels, strict=False):
        _draw_panel(sheet, axes, layout, panel)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    # A dollar in a channel's name would begin a formula.
    sheet.figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontweight="bold", fontsize=11)
    return sheet.png()


def write_plate_heat_maps(folder: Path, wells: pd.DataFrame, layout: PlateLayout) -> None:
    """Write one PNG per channel, and one of cell counts, into `folder`, which is made when there is any.

    `wells` has a row per `channel` (null for cell counts) and `well`, and columns of measures. A measure with
    values in fewer than two wells is left out, and so is a figure without measures.
    """
    for number, (channel, of_channel) in enumerate(wells.groupby("channel", sort=False, dropna=False)):
        by_well = of_channel.set_index("well")
        panels = [
            HeatMapPanel(title, unit, layout.grid(by_well[measure]))
            for measure, (title, unit) in _SHOWN.items()
            if measure in by_well and by_well[measure].notna().sum() >= MIN_WELLS
        ]
        if not panels:
            continue
        of_cells = bool(pd.isna(channel))
        name = "cell_counts" if of_cells else f"{number}_{re.sub('[^A-Za-z0-9]+', '_', str(channel))}"
        folder.mkdir(exist_ok=True)
        title = "Cell counts" if of_cells else f"Channel {channel}"
        (folder / f"plate_{name}.png").write_bytes(plate_heat_map_figure(layout, title, panels))


def _draw_panel(sheet: Sheet, axes: Axes, layout: PlateLayout, panel: HeatMapPanel) -> None:
    image = axes.imshow(panel.values, cmap=CONTINUOUS, interpolation="nearest", aspect="equal")
    _label_wells(axes, layout)
    missing = np.argwhere(np.isnan(panel.values))
    for row, column in missing:
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), 1, 1, facecolor="white", edgecolor=_HATCH_COLOUR, hatch="/////",
                linewidth=0,
            )
        )  # fmt: skip
    axes.set_title(panel.title)
    notes = []
    low, high = float(np.nanmin(panel.values)), float(np.nanmax(panel.values))
    if low == high:
        notes.append(f"every well: {low:g} {panel.unit}")
    else:
        bar = sheet.figure.colorbar(image, ax=axes, shrink=0.9, label=panel.unit)
        bar.outline.set_visible(False)
    if len(missing):
        notes.append(f"hatched: no value ({len(missing)} of {panel.values.size} wells)")
    axes.set_xlabel("; ".join(notes), color=MUTED)


def _label_wells(axes: Axes, layout: PlateLayout) -> None:
    step = -(-layout.n_rows // _MOST_ROW_NAMES)
    columns, rows = range(0, layout.n_columns, step), range(0, layout.n_rows, step)
    axes.set_xticks(columns, [str(column + 1) for column in columns])
    axes.set_yticks(rows, [layout.row_names[row] for row in rows])
    axes.tick_params(length=0, labelsize=8 if layout.n_columns <= 12 else 6)
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(layout.n_columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(layout.n_rows + 1) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0, top=False)
    axes.grid(False)
    # Lines between wells, so that neighbours of one colour stay two wells.
    axes.grid(True, which="minor", color="white", linewidth=1.0 if layout.n_columns <= 12 else 0.5)
    axes.set_axisbelow(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
