"""Figure of one division in the embeddings of several trainings (DynaCLR, Figure 4 c to f)."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from matplotlib.artist import Artist

from cell_assets.evaluation.studies.training_comparison import ReportedTraining, chosen_divisions
from cell_assets.reporting.division_figure import MEMBERS, draw_division, highlight_colours
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.style import Sheet, house_style

_MOST_PER_ROW = 3
_TITLE_CHARACTERS = 42
"""As many as fit above a panel."""


def division_grid(trainings: Sequence[ReportedTraining]) -> tuple[ReportFigure, ...]:
    """A panel for every training whose report holds trajectories through a division; no figure where none does."""
    tables = {one.label: table for one in trainings if (table := one.report.trajectories) is not None}
    tables = {label: table for label, table in tables.items() if len(table)}
    if not tables:
        return ()
    shared = set.intersection(*({*table["projection"]} for table in tables.values()))
    # UMAP, where every report has it: it stands behind the principal components.
    first = next(iter(tables.values()))
    projection = [name for name in first["projection"].unique() if name in shared][-1]
    chosen = chosen_divisions(list(tables.values()))
    sentences = [
        f"{projection} of each training's embedding, all cells in grey, those that are labelled coloured; the star is "
        "the parent's last frame (DynaCLR, Fig. 4 c to f).",
        f"The same family in every panel, {_parent(first, chosen.numbers[0])} and its daughters: of those that all "
        "reports show, that which was followed for longest."
        if chosen.same_cells
        else "No division is shown by all reports, so each panel has the family that its own report followed for "
        "longest.",
        "Each embedding has axes of its own, and UMAP keeps neighbours and not distances: ways compare by their shape."
        if projection == "UMAP"
        else "Each embedding has axes of its own: ways compare by their shape.",
        *without_trajectories(trainings),
    ]
    return (
        ReportFigure(
            "division_trajectories",
            "One division in every embedding",
            " ".join(sentences),
            _draw_grid(
                {label: table[table["projection"] == projection] for label, table in tables.items()},
                chosen.numbers,
            ),
        ),
    )


def _parent(table: pd.DataFrame, division: int) -> str:
    row = table[(table["division"] == division) & (table["drawn_as"] == MEMBERS[0])].iloc[0]
    return f"track {row['track_id']} of {row['plate']} {row['fov_name']}"


def without_trajectories(trainings: Sequence[ReportedTraining]) -> tuple[str, ...]:
    """A sentence for each reason why trainings have no panel in `division_grid`, which names them."""
    old = [one.label for one in trainings if one.report.trajectories is None]
    undivided = [
        one.label
        for one in trainings
        if one.report.trajectories is not None and one.report.trajectories.empty
    ]
    reasons = (
        (old, "the reports are of an earlier version, without a table of them; make them again"),
        (undivided, "no test track of theirs is seen to divide into two"),
    )
    return tuple(
        f"No trajectories through a division of {'; '.join(labels)}: {why}."
        for labels, why in reasons
        if labels
    )


@house_style()
def _draw_grid(drawn: dict[str, pd.DataFrame], numbers: Sequence[int]) -> bytes:
    # Two by two as in the paper.
    columns = 2 if len(drawn) == 4 else min(len(drawn), _MOST_PER_ROW)
    rows = -(-len(drawn) // columns)
    sheet = Sheet(0.4 + 3.7 * columns, 3.5 * rows + 0.4, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    colours = highlight_colours(list(drawn.values()))
    legend: dict[str, Artist] = {}
    for axes, (label, table), number in zip(panels, drawn.items(), numbers, strict=False):
        draw_division(axes, table, number, colours)
        axes.set_title(fill(label, _TITLE_CHARACTERS))
        legend |= {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    sheet.legend_below(list(legend.values()), list(legend))
    return sheet.png()
