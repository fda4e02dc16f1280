"""Figures of a channel that the embedding did not see, around the onset of a state that it calls."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.features.remodelling import AroundOnset, Remodelling
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.style import ACCENT, MUTED, Sheet, house_style
from cell_assets.reporting.wording import title_text

_COLUMNS = 3


def remodelling_figures(
    found: Sequence[Remodelling], heading: str = "", tracks: str = "test tracks"
) -> tuple[ReportFigure, ...]:
    """One figure for each column and unseen channel that has curves; why others have none stands in the numbers.

    Titles begin with `heading`; `tracks` says which are averaged.
    """
    return tuple(
        ReportFigure(
            name=f"{one.column}_remodelling_{place}",
            title=f"{heading}{one.channel} as cells turn {title_text(one.state)}",
            caption=(
                f"The embedding did not see {one.channel}. Mean of each feature over the {one.n_tracks} {tracks} "
                f"that are seen to turn {title_text(one.state)}, by hours from the onset that the probe calls, with "
                "95 % intervals over tracks. Far from 0 there are fewer tracks, and others."
                + (
                    f" Grey: the {one.n_control} {tracks} that never turn, by hours from the median onset of the "
                    "others, which is what time alone does."
                    if one.control
                    else ""
                )
            ),
            png=remodelling_figure(one),
        )
        for place, one in enumerate(found, start=1)
        if one.curves
    )


@house_style()
def remodelling_figure(one: Remodelling) -> bytes:
    """A panel per feature: mean and interval against hours from onset."""
    columns = min(_COLUMNS, len(one.curves))
    rows = -(-len(one.curves) // columns)
    sheet = Sheet(0.4 + 3.0 * columns, 0.3 + 2.3 * rows, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    for axes, curve in zip(panels, one.curves, strict=False):
        for beside in one.control:
            if beside.feature == curve.feature:
                _draw(axes, beside, MUTED)
        _draw(axes, curve, ACCENT)
        axes.axvline(0, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
        axes.set_title(title_text(curve.feature.removeprefix("Nuclei_")), fontsize=8)
        axes.set_xlabel("hours from onset")
    for axes in panels[len(one.curves) :]:
        axes.set_axis_off()
    return sheet.png()


def _draw(axes: Axes, curve: AroundOnset, colour: str) -> None:
    value, low, high = (
        np.array([np.nan if part is None else part for part in parts])
        for parts in zip(*((one.value, one.low, one.high) for one in curve.means), strict=True)
    )
    axes.fill_between(curve.hours, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(curve.hours, value, color=colour, marker="o", markersize=2.6)
