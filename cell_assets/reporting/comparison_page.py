"""The trainings of one experiment side by side (DynaCLR, Table 1, Fig. 2 and 4, App. Fig. 1): figures and page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cell_assets.evaluation.studies.training_comparison import ReportedTraining, shared_tasks
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import JsonValue, NumberDraft, ReadReceipt
from cell_assets.reporting.compared_track_figures import compared_track_figures
from cell_assets.reporting.division_grid import division_grid
from cell_assets.reporting.html import ReportFigure, card, render_page
from cell_assets.reporting.style import MUTED, PALETTE, Sheet, house_style
from cell_assets.reporting.wording import interval_text, title_text, value_text

_SCORES = ("accuracy", "f1", "balanced_accuracy")
_SPACES = ("features", "umap")
"""In which curves are drawn, as the paper's Figure 2b."""
_CONFOUNDED = "_confounded"
"""Ends the report name of false calls in a look-alike, see `evaluation.scores.confounder`."""
_PER_ROW = 3
_MOST_CARDS = 3


@dataclass(frozen=True)
class ComparisonContent:
    """Everything that the page shows."""

    title: str
    subtitle: str
    simulated: bool
    split: SplitStatement
    trainings: tuple[ReportedTraining, ...]
    numbers: tuple[NumberDraft, ...]
    figures: tuple[ReportFigure, ...]
    notes: tuple[str, ...]
    inputs: tuple[ReadReceipt, ...]
    parameters: Mapping[str, JsonValue]


@dataclass(frozen=True)
class TableRow:
    """One training in a table."""

    training: str
    cells: tuple[tuple[str, str], ...]
    """Value and interval of each column."""


@dataclass(frozen=True)
class Table:
    """One question, one row for each training."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def comparison_figures(trainings: Sequence[ReportedTraining]) -> tuple[ReportFigure, ...]:
    """Scores of every shared task; displacement over time; one cell, and all test cells; explained variance; one
    division. What no report holds is not drawn."""
    figures = []
    if tasks := shared_tasks(trainings):
        figures.append(
            ReportFigure(
                "scores",
                "What probes find",
                "Balanced accuracy of each training's probes on the same test cells; one half is a guess. Bars are the "
                "95 % intervals that the reports state.",
                _draw_scores(trainings, tasks),
            )
        )
    if any(len(one.report.displacement) for one in trainings):
        figures.append(
            ReportFigure(
                "displacement",
                "How far cells move over time",
                "Mean distance between a cell and itself τ later (Eq. 3), and from its first time point (Eq. 2), of "
                "normalised features and, below, of normalised UMAP coordinates where reports hold them (DynaCLR, "
                "Fig. 2b), with 95 % intervals over tracks. UMAP keeps neighbours and not distances.",
                _draw_displacement(trainings),
            )
        )
    figures += compared_track_figures(trainings)
    if any(len(one.report.explained) for one in trainings):
        figures.append(
            ReportFigure(
                "explained_variance",
                "How many directions are used",
                "Variance of the test cells' features that the first principal directions hold together.",
                _draw_explained(trainings),
            )
        )
    return (*figures, *division_grid(trainings))


@house_style()
def _draw_scores(trainings: Sequence[ReportedTraining], tasks: Sequence[str]) -> bytes:
    columns = min(len(tasks), _PER_ROW)
    rows = -(-len(tasks) // columns)
    height = 0.9 + 0.28 * len(trainings)
    sheet = Sheet(2.4 + 2.2 * columns, height * rows + 0.2, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    for axes, task in zip(panels, tasks, strict=False):
        for place, one in enumerate(trainings):
            number = one.number(task, "balanced_accuracy")
            if number is None or number.value is None:
                continue
            colour = PALETTE[place % len(PALETTE)]
            if number.ci_low is not None and number.ci_high is not None:
                axes.plot(
                    [number.ci_low, number.ci_high], [place, place], color=colour, linewidth=2.2, alpha=0.45
                )
            axes.plot(number.value, place, "o", color=colour, markersize=5)
        axes.axvline(0.5, color=MUTED, linestyle=(0, (3, 2)), linewidth=1.0)
        axes.set_title(title_text(task))
        axes.set_ylim(len(trainings) - 0.5, -0.5)
        axes.set_yticks(range(len(trainings)), [one.label for one in trainings])
        axes.set_xlabel("balanced accuracy")
    for place, axes in enumerate(panels):
        if place % columns:
            axes.set_yticklabels([])
        if place >= len(tasks):
            axes.set_visible(False)
    return sheet.png()


@house_style()
def _draw_displacement(trainings: Sequence[ReportedTraining]) -> bytes:
    curves = [one.report.displacement for one in trainings]
    spaces = [space for space in _SPACES if any(len(one) and (one["space"] == space).any() for one in curves)]
    sheet = Sheet(8.6, 3.3 * len(spaces) + 0.3, rows=len(spaces), columns=2)
    for row, space in zip(sheet.axes, spaces, strict=True):
        for axes, curve, title in zip(
            row, ("displacement", "from_first"), ("between two time points", "from the first"), strict=True
        ):
            for place, one in enumerate(trainings):
                if not len(one.report.displacement):
                    continue
                shown = one.report.displacement.query("space == @space and curve == @curve")
                _draw_curve(axes, shown.sort_values("lag_min"), PALETTE[place % len(PALETTE)], one.label)
            axes.set_title(f"{'UMAP' if space == 'umap' else space}, {title}")
            axes.set_xlabel("minutes apart" if curve == "displacement" else "minutes since the first")
            axes.set_ylabel("distance, 0 to 2")
            axes.set_ylim(bottom=0)
    sheet.legend_below(*sheet.axes[0][0].get_legend_handles_labels())
    return sheet.png()


def _draw_curve(axes: Axes, shown: pd.DataFrame, colour: str, label: str) -> None:
    minutes = shown["lag_min"].to_numpy(dtype=np.float64)
    axes.fill_between(
        minutes,
        shown["low"].astype(float),
        shown["high"].astype(float),
        color=colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(minutes, shown["mean"].astype(float), color=colour, label=label)


@house_style()
def _draw_explained(trainings: Sequence[ReportedTraining]) -> bytes:
    sheet = Sheet(5.2, 3.4)
    axes = sheet.axes[0][0]
    for place, one in enumerate(trainings):
        if len(one.report.explained):
            together = np.cumsum(one.report.explained["share"].to_numpy(dtype=np.float64))
            axes.plot(
                one.report.explained["direction"],
                together,
                color=PALETTE[place % len(PALETTE)],
                label=one.label,
            )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("principal directions")
    axes.set_ylabel("share of the variance, together")
    axes.legend(loc="lower right")
    return sheet.png()


def render_comparison(content: ComparisonContent) -> str:
    """The whole page. The same content gives the same text."""
    return render_page(
        "comparison.html",
        content,
        content.numbers,
        [card(title_text(number.name), number, []) for number in content.numbers if _is_told(number)][
            :_MOST_CARDS
        ],
        simulated=content.simulated,
        notes=content.notes,
        tables=_tables(content.trainings),
    )


def _is_told(gain: NumberDraft) -> bool:
    """From 0, by its interval."""
    return gain.ci_low is not None and gain.ci_high is not None and (gain.ci_low > 0 or gain.ci_high < 0)


def _tables(trainings: Sequence[ReportedTraining]) -> list[Table]:
    """Scores of every shared task, false calls in look-alikes, then what holds of the features. No empty table."""
    asked = [
        *((task, [(task, name) for name in _SCORES]) for task in shared_tasks(trainings)),
        *_false_calls(trainings),
        (
            "steps of features",
            [
                ("temporal_smoothness", "displacement_one_interval"),
                *_stated(trainings, "temporal_smoothness", "displacement_ratio_"),
            ],
        ),
        ("rank of features", [("feature_rank", "effective_rank"), ("feature_rank", "matrix_rank")]),
        ("rank of projections", [("projection_rank", "effective_rank"), ("projection_rank", "matrix_rank")]),
        (
            "the same cell, and the state of cells in other FOVs",
            [
                ("smoothness_and_identity", "same_cell"),
                *_stated(trainings, "smoothness_and_identity", "state_in_other_fovs_"),
            ],
        ),
    ]
    return [
        Table(
            title_text(title),
            tuple(title_text(name) for _, name in columns),
            tuple(_row(one, columns) for one in trainings),
        )
        for title, columns in asked
        if any(one.number(*column) for one in trainings for column in columns)
    ]


def _false_calls(trainings: Sequence[ReportedTraining]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Of the probes on the embeddings; what the rivals of each call stands in its own report."""
    abouts = dict.fromkeys(
        about
        for one in trainings
        for number in one.report.numbers
        if (about := number.report.partition("/")[2]).endswith(_CONFOUNDED)
    )
    found = []
    for about in abouts:
        columns = _stated(trainings, about, "false_")
        # A rival's number has the embedding's name and its own behind it.
        own = [one for one in columns if not any(one[1].startswith(f"{name}_") for _, name in columns)]
        found.append((f"{about.removesuffix(_CONFOUNDED)}, false calls", own))
    return found


def _stated(trainings: Sequence[ReportedTraining], about: str, prefix: str) -> list[tuple[str, str]]:
    """What any training states about this under names that begin so, in the order of the first that does."""
    return list(
        dict.fromkeys(
            (about, number.name)
            for one in trainings
            for number in one.report.numbers
            if number.report.partition("/")[2] == about and number.name.startswith(prefix)
        )
    )


def _row(training: ReportedTraining, asked: Sequence[tuple[str, str]]) -> TableRow:
    cells = []
    for about, name in asked:
        number = training.number(about, name)
        if number is None:
            cells.append(("–", "–"))
        else:
            cells.append((value_text(number.value), interval_text(number.ci_low, number.ci_high)))
    return TableRow(training.label, tuple(cells))
