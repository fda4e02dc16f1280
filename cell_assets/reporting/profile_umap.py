"""Where the wells of an experiment lie, coloured by what is known of them (Fig. 5 of CytoSummaryNet)."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL, MOA
from cell_assets.evaluation.units import FloatArray
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.reporting.style import OTHER, Sheet, bare, house_style
from cell_assets.reporting.wording import title_text

_MOST_NAMED = 18
"""Colours that a legend can name; beyond, each still has its own."""


@house_style()
def umap_figure(study: ProfileStudy) -> bytes:
    """Every representation (rows) by compound, mechanism and plate."""
    drawn = [one for one in study.umaps if one.xy is not None]
    wells = study.wells
    control = wells[IS_CONTROL].to_numpy(np.bool_)
    columns = (
        ("compound", wells[COMPOUND].mask(control)),
        ("mechanism", wells[MOA].mask(control)),
        ("plate", wells[PLATE]),
    )
    sheet = Sheet(9.2, 3.0 * len(drawn) + 0.8, rows=len(drawn), columns=len(columns))
    for row, one in zip(sheet.axes, drawn, strict=True):
        for axes, (what, values) in zip(row, columns, strict=True):
            assert one.xy is not None
            _draw_points(axes, one.xy, values)
            axes.set_title(f"{title_text(one.representation)} by {what}")
    mechanisms = _colours(columns[1][1])
    if 0 < len(mechanisms) <= _MOST_NAMED:
        axes = sheet.axes[0][0]
        for name, colour in mechanisms.items():
            axes.scatter([], [], s=26, color=colour, label=name)
        handles = axes.get_legend_handles_labels()
        sheet.figure.legend(*handles, loc="outside lower center", ncols=4, title="mechanism")
    return sheet.png()


def _draw_points(axes: Axes, xy: FloatArray, values: pd.Series) -> None:
    colours = _colours(values)
    known = values.notna().to_numpy(np.bool_)
    size = float(np.clip(7000 / max(len(xy), 1), 2.0, 16))
    axes.scatter(xy[~known, 0], xy[~known, 1], s=size, color=OTHER, linewidths=0)
    order = np.random.default_rng(0).permutation(np.flatnonzero(known))
    names = values.astype(str).to_numpy(str)
    axes.scatter(xy[order, 0], xy[order, 1], s=size, c=[colours[name] for name in names[order]], linewidths=0)
    bare(axes)
    axes.set_aspect("equal", adjustable="datalim")


def _colours(values: pd.Series) -> dict[str, tuple[float, ...]]:
    """By name, in the order of names; neighbours in that order are no neighbours in hue."""
    names = sorted(set(values.dropna().astype(str)))
    if len(names) <= _MOST_NAMED:
        table = colormaps["tab20"]
        # The map holds each hue dark, then light; all dark ones come first, and its greys mean something else here.
        places = [place for place in (*range(0, 20, 2), *range(1, 20, 2)) if place not in (14, 15)]
        return {name: table(places[place]) for place, name in enumerate(names)}
    spread = np.random.default_rng(0).permutation(len(names)) / len(names)
    return {name: colormaps["turbo"](float(share)) for name, share in zip(names, spread, strict=True)}
