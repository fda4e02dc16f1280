"""Figures of the same test cells in the embeddings of several trainings (DynaCLR, Fig. 2a and 2c)."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.artist import Artist

from cell_assets.evaluation.studies.compared_track import ComparedTrack, compared_track
from cell_assets.evaluation.studies.held_out_cells import ANNOTATED, FROM_FIRST
from cell_assets.evaluation.studies.training_comparison import ReportedTraining
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.style import CONTINUOUS, INK, MUTED, OTHER, PALETTE, Sheet, bare, house_style
from cell_assets.reporting.wording import title_text

_PER_ROW = 3
_TITLE_CHARACTERS = 42
"""As many as fit above a panel."""
_MOST_POINTS = 20_000
_MOST_STATES = 7
_SPACES = {"features": "features", "umap": "UMAP"}
"""By the end of the table's column names, and for people."""


@dataclass(frozen=True)
class _Embedding:
    label: str
    cells: pd.DataFrame
    """As `held_out_cells` makes it."""


def compared_track_figures(trainings: Sequence[ReportedTraining]) -> tuple[ReportFigure, ...]:
    """One cell's distance from where it began, and the test cells of every training; what no report holds is not
    drawn."""
    known = [one for one in trainings if one.report.held_out_cells is not None]
    drawn = [
        _Embedding(one.label, one.report.held_out_cells)
        for one in known
        if one.report.held_out_cells is not None and len(one.report.held_out_cells)
    ]
    if not drawn:
        return ()
    track = compared_track([one.report for one in known])
    return (*_course(drawn, track), _projections(drawn, track))


def without_held_out_cells(trainings: Sequence[ReportedTraining]) -> tuple[str, ...]:
    """A sentence that names the trainings that the figures lack, where there are any."""
    old = [one.label for one in trainings if one.report.held_out_cells is None]
    if not old:
        return ()
    return (
        f"No places of single cells of {'; '.join(old)}: the reports are of an earlier version, without a table of "
        "them; make them again.",
    )


def _course(drawn: Sequence[_Embedding], track: ComparedTrack | None) -> tuple[ReportFigure, ...]:
    if track is None:
        return ()
    return (
        ReportFigure(
            "single_track",
            "One cell in every embedding",
            f"Distance of {track.words()} from its first time point (Eq. 2), of normalised features and of normalised "
            "UMAP coordinates where reports hold them (DynaCLR, Fig. 2a); 0 is the same direction, 2 the opposite one. "
            f"The dashed line is the first time point at which its {title_text(track.column)} is annotated to have "
            "turned. Of the test tracks that are annotated to turn in all reports it is the one that was followed for "
            "longest, so it was not picked for its looks.",
            _draw_course(drawn, track),
        ),
    )


@house_style()
def _draw_course(drawn: Sequence[_Embedding], track: ComparedTrack) -> bytes:
    spaces = [space for space in _SPACES if any(f"{FROM_FIRST}{space}" in one.cells for one in drawn)]
    sheet = Sheet(0.6 + 4.2 * len(spaces), 3.5, columns=len(spaces))
    for axes, space in zip(sheet.axes[0], spaces, strict=True):
        for place, one in enumerate(drawn):
            own = one.cells[track.rows(one.cells)].sort_values("t")
            if f"{FROM_FIRST}{space}" in own:
                axes.plot(
                    own["hours"] - own["hours"].iloc[0],
                    own[f"{FROM_FIRST}{space}"],
                    "o-",
                    color=PALETTE[place % len(PALETTE)],
                    markersize=3,
                    label=one.label,
                )
                turned = own.loc[own["t"] >= track.onset_t, "hours"] - own["hours"].iloc[0]
                if place == 0 and len(turned):
                    axes.axvline(turned.iloc[0], color=MUTED, linestyle=(0, (3, 2)), linewidth=1.2)
        axes.set_title(_SPACES[space])
        axes.set_xlabel("hours since its first time point")
        axes.set_ylabel("distance from the first, 0 to 2")
        axes.set_ylim(bottom=0)
    sheet.legend_below(*sheet.axes[0][0].get_legend_handles_labels())
    return sheet.png()


def _projections(drawn: Sequence[_Embedding], track: ComparedTrack | None) -> ReportFigure:
    axis = "umap" if all("umap_1" in one.cells for one in drawn) else "pc"
    name = "UMAP" if axis == "umap" else "Principal components"
    column = _column(drawn, track)
    coloured = "time point" if column is None else f"annotated {title_text(column)}"
    sentences = [
        f"{name} of the test cells of each training's embedding, a point per cell and time point, coloured by "
        f"{coloured} (DynaCLR, Fig. 2c).",
        *(
            []
            if track is None
            else [f"The line is the way of {track.words()}, from the ring at its first time point."]
        ),
        "Each embedding has axes of its own"
        + (", and UMAP keeps neighbours and not distances." if axis == "umap" else "."),
    ]
    return ReportFigure(
        "held_out_cells",
        "The same cells in every embedding",
        " ".join(sentences),
        _draw_projections(drawn, axis, column, track),
    )


def _column(drawn: Sequence[_Embedding], track: ComparedTrack | None) -> str | None:
    """The annotation that the track turns in, or else the first that all have and that has few values."""
    if track is not None and all(f"{ANNOTATED}{track.column}" in one.cells for one in drawn):
        return track.column
    for name in drawn[0].cells.columns:
        few = all(name in one.cells and 0 < one.cells[name].nunique() <= _MOST_STATES for one in drawn)
        if name.startswith(ANNOTATED) and few:
            return name.removeprefix(ANNOTATED)
    return None


@house_style()
def _draw_projections(
    drawn: Sequence[_Embedding], axis: str, column: str | None, track: ComparedTrack | None
) -> bytes:
    # Two by two as the paper's choices of channels and sampling.
    columns = 2 if len(drawn) == 4 else min(len(drawn), _PER_ROW)
    rows = -(-len(drawn) // columns)
    sheet = Sheet(0.4 + 3.5 * columns, 3.3 * rows + 0.4, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    values = (
        set() if column is None else {v for one in drawn for v in one.cells[f"{ANNOTATED}{column}"].dropna()}
    )
    colours = dict(zip(sorted(values), PALETTE, strict=False))
    legend: dict[str, Artist] = {}
    for axes, one in zip(panels, drawn, strict=False):
        shown = one.cells.iloc[np.random.default_rng(0).permutation(len(one.cells))[:_MOST_POINTS]]
        x, y = shown[f"{axis}_1"], shown[f"{axis}_2"]
        size = float(np.clip(6000 / max(len(shown), 1), 1.5, 10))
        if column is None:
            points = axes.scatter(x, y, s=size, c=shown["t"], cmap=CONTINUOUS, linewidths=0)
            bar = sheet.figure.colorbar(points, ax=axes, shrink=0.75, pad=0.02)
            bar.outline.set_visible(False)
            bar.set_label("time point", fontsize=8)
        else:
            said = shown[f"{ANNOTATED}{column}"].fillna("not known")
            axes.scatter(x, y, s=size, c=[colours.get(state, OTHER) for state in said], linewidths=0)
            for state in [*colours, *(["not known"] if (said == "not known").any() else [])]:
                legend[state] = axes.scatter([], [], s=22, color=colours.get(state, OTHER))
        if track is not None:
            way = one.cells[track.rows(one.cells)].sort_values("t")[[f"{axis}_1", f"{axis}_2"]].to_numpy()
            (legend[f"track {track.track_id}"],) = axes.plot(
                way[:, 0], way[:, 1], color=INK, marker=".", markersize=4, linewidth=1.1
            )
            axes.plot(*way[0], "o", color=INK, markerfacecolor="white", markersize=5.5)
        bare(axes)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(fill(one.label, _TITLE_CHARACTERS))
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    sheet.legend_below(list(legend.values()), list(legend))
    return sheet.png()
