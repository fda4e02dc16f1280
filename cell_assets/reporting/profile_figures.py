"""Figures of a study of profiles: scores by representation, plates, compounds, batch effect, and where wells lie."""

from collections.abc import Iterator, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.profiling.batch_effect import Among, BatchScore
from cell_assets.evaluation.profiling.profile_scores import ALL_COMPOUNDS, PlateScore, Score
from cell_assets.evaluation.profiling.profile_study import FoundCompounds, ProfileStudy
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.significance import SIGNIFICANT
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL, MOA, PLATE_SPLIT, PlateSplit
from cell_assets.evaluation.resampling import Estimate
from cell_assets.imaging.feature_tables.columns import PLATE
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.profile_umap import umap_figure
from cell_assets.reporting.style import ACCENT, INK, MUTED, PALETTE, Sheet, house_style
from cell_assets.reporting.wording import title_text, value_text

TASK_TITLES = {
    Task.MECHANISM: "mechanism, any plate",
    Task.MECHANISM_OTHER_PLATE: "mechanism, other plates",
    Task.MECHANISM_OTHER_BATCH: "mechanism, other batches",
    Task.MECHANISM_ON_PLATE: "mechanism, own plate",
    Task.MECHANISM_OF_PLATES: "mechanism, plate by plate",
    Task.MECHANISM_WITHIN_DOSES: "mechanism, doses apart",
    Task.REPLICATE_ON_PLATE: "replicate, own plate",
    Task.REPLICATE_OTHER_PLATE: "replicate, other plates",
}
_PANELS_ABREAST = 3
_DASHED = (0, (4, 3))
_AVERAGE_PRECISION = "mean average precision"
_LEGEND_ENTRY = 1.6
"""Inches that a name of a representation takes."""


def profile_figures(study: ProfileStudy) -> tuple[ReportFigure, ...]:
    """All figures that the study has something to draw for."""
    return tuple(_figures(study))


def _figures(study: ProfileStudy) -> Iterator[ReportFigure]:
    everyone = [one for one in study.scores if one.stratum.name == ALL_COMPOUNDS]
    missing = sorted(
        {one.task for one in everyone if one.mean_average_precision.value is None}, key=list(Task).index
    )
    not_asked = (
        f" Not drawn, because it could not be asked: {'; '.join(TASK_TITLES[task] for task in missing)}."
        if missing
        else ""
    )
    if any(one.mean_average_precision.value is not None for one in everyone):
        yield ReportFigure(
            "scores",
            "Mean average precision by representation",
            "Each panel asks another question; bars are 95 % intervals over compounds. Dashed: what a random order "
            "gives." + not_asked,
            scores_figure(everyone, study.representations),
        )
    by_split = [
        one for one in study.scores if one.stratum.plates is not None and one.stratum.compounds is not None
    ]
    if any(one.mean_average_precision.value is not None for one in by_split):
        yield ReportFigure(
            "splits",
            "By what was learned from",
            "Compounds and plates that a model learned from, and those that it never saw; all are ranked against "
            "everything. Bars are 95 % intervals over compounds; small panels lack them where compounds are few.",
            splits_figure(by_split, study.representations),
        )
    by_dose = [one for one in study.scores if one.stratum.doses is not None]
    if any(one.mean_average_precision.value is not None for one in by_dose):
        yield ReportFigure(
            "doses",
            "By dose",
            "Doses that a model learned from, and those that it never learned from. Where doses are asked apart, each "
            "are ranked among themselves, else against everything. Bars are 95 % intervals over compounds; small "
            "panels lack them where compounds are few.",
            splits_figure(by_dose, study.representations),
        )
    if any(one.mean_average_precision.value is not None for one in study.plates):
        yield ReportFigure(
            "plates",
            "Plate by plate",
            "A point is the mean average precision of one plate, asked for itself; the line is their mean. Below each "
            f"representation stands the p of Welch's t-test against {study.parameters.reference} over plates."
            + (" Hollow: plates that nothing was learned from." if study.has_splits else ""),
            plates_figure(study),
        )
    if len(study.found) > 1 and len(study.found[0].table):
        yield ReportFigure(
            "compounds",
            f"Compounds against {study.parameters.reference}",
            "Average precision of each compound's mechanism; above the line a representation does better than "
            f"{study.parameters.reference}. Filled: found beyond chance (corrected p below {SIGNIFICANT:g}).",
            compounds_figure(study.found, study.parameters.reference),
        )
    if any(one.same.value is not None for one in study.batch):
        yield ReportFigure(
            "batch_effect",
            "Batch effect",
            "Share of wells whose nearest neighbour is of their own plate or batch: of treated wells the nearest well "
            "of another treatment, of control wells the nearest other control. Grey: what would be expected without a "
            "batch effect. Bars are 95 % intervals over plates or batches.",
            batch_figure(study.batch, study.representations),
        )
    if any(one.xy is not None for one in study.umaps):
        n_compounds = study.wells.loc[~study.wells[IS_CONTROL].astype(bool), COMPOUND].nunique()
        yield ReportFigure(
            "umap",
            "Where wells lie",
            f"UMAP of the wells' cosine distances, a row for each representation: {n_compounds} compounds, "
            f"{study.wells[MOA].nunique()} mechanisms, {study.wells[PLATE].nunique()} plates, each its own colour; "
            "control wells and unknown mechanisms are grey. UMAP keeps neighbours and not distances, and no number is "
            "computed from it." + _not_laid_out(study),
            umap_figure(study),
        )


def _not_laid_out(study: ProfileStudy) -> str:
    missing = [
        f"{title_text(one.representation)} ({one.why_missing})" for one in study.umaps if one.xy is None
    ]
    return f" Not drawn: {'; '.join(missing)}." if missing else ""


@house_style()
def scores_figure(scores: Sequence[Score], representations: Sequence[str]) -> bytes:
    """A panel for each task that has an answer."""
    tasks = [
        task
        for task in Task
        if any(one.task is task and one.mean_average_precision.value is not None for one in scores)
    ]
    columns = min(_PANELS_ABREAST, len(tasks))
    rows = -(-len(tasks) // columns)
    sheet = Sheet(1.0 + 2.7 * columns, rows * (0.9 + 0.24 * len(representations)), rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    for place, (axes, task) in enumerate(zip(panels, tasks, strict=False)):
        own = {one.representation: one for one in scores if one.task is task}
        _draw_rows(axes, [own[name].mean_average_precision for name in representations], representations)
        chance = next(iter(own.values())).chance.value
        if chance is not None:
            axes.axvline(chance, color=MUTED, linestyle=_DASHED, linewidth=1.2)
        axes.set_title(TASK_TITLES[task])
        axes.set_xlim(0, 1.02)
        if place % columns:
            axes.set_yticklabels([])
        if place + columns >= len(tasks):
            axes.set_xlabel(_AVERAGE_PRECISION)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    return sheet.png()


@house_style()
def splits_figure(scores: Sequence[Score], representations: Sequence[str]) -> bytes:
    """A panel for each task, a group of rows for each stratum."""
    tasks = [
        task
        for task in Task
        if any(one.task is task and one.mean_average_precision.value is not None for one in scores)
    ]
    strata = [
        name
        for name in dict.fromkeys(one.stratum.name for one in scores)
        if any(one.stratum.name == name and one.mean_average_precision.value is not None for one in scores)
    ]
    n = len(representations)
    width = 2.2 + 3.3 * len(tasks)
    sheet = Sheet(width, 1.1 + 0.2 * len(strata) * (n + 1), columns=len(tasks))
    for place, (axes, task) in enumerate(zip(sheet.axes[0], tasks, strict=True)):
        found = {(one.stratum.name, one.representation): one for one in scores if one.task is task}
        for row, stratum in enumerate(strata):
            for offset, name in enumerate(representations):
                estimate = found[stratum, name].mean_average_precision
                _draw_estimate(axes, estimate, row * (n + 1) + offset, PALETTE[offset % len(PALETTE)])
        axes.set_yticks(
            [row * (n + 1) + (n - 1) / 2 for row in range(len(strata))],
            [fill(name, 18) for name in strata] if place == 0 else [],
        )
        axes.set_ylim(len(strata) * (n + 1) - 1, -1)
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 1.02), xlabel=_AVERAGE_PRECISION, title=TASK_TITLES[task])
    for offset, name in enumerate(representations):
        sheet.axes[0][0].plot([], [], "o", color=PALETTE[offset % len(PALETTE)], label=title_text(name))
    handles = sheet.axes[0][0].get_legend_handles_labels()
    sheet.figure.legend(*handles, loc="outside lower center", ncols=min(n, int(width / _LEGEND_ENTRY)))
    return sheet.png()


@house_style()
def plates_figure(study: ProfileStudy) -> bytes:
    """A panel for each task within plates that some plate answers."""
    known = [one for one in study.plates if one.mean_average_precision.value is not None]
    tasks = list(dict.fromkeys(one.task for one in known))
    n = len(study.representations)
    sheet = Sheet(0.9 + len(tasks) * max(2.6, 0.85 * n), 3.6, columns=len(tasks))
    held_out = _held_out(study)
    for place, (axes, task) in enumerate(zip(sheet.axes[0], tasks, strict=True)):
        labels = []
        for x, name in enumerate(study.representations):
            own = [one for one in known if (one.task, one.representation) == (task, name)]
            _draw_plates(axes, x, own, held_out)
            gain = study.score(task, name).gain
            p_values = [] if gain is None else [one.p_value for one in gain.welch if one.over == "plates"]
            tested = [f"p {value_text(p)}" for p in p_values if p is not None]
            labels.append("\n".join([title_text(name), *tested]))
        axes.set_xticks(range(n), labels)
        axes.set(xlim=(-0.6, n - 0.4), ylim=(0, 1.03), title=TASK_TITLES[task])
        axes.grid(axis="x", visible=False)
        if place == 0:
            axes.set_ylabel(_AVERAGE_PRECISION)
    return sheet.png()


@house_style()
def compounds_figure(found: Sequence[FoundCompounds], reference: str) -> bytes:
    """Every rival's compounds against the reference's."""
    tables = {one.representation: one.table.set_index(COMPOUND) for one in found}
    rivals = [name for name in tables if name != reference]
    columns = min(_PANELS_ABREAST, len(rivals))
    rows = -(-len(rivals) // columns)
    sheet = Sheet(0.5 + 2.9 * columns, 2.9 * rows, rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    of_reference = tables[reference]["mean_average_precision"]
    for place, (axes, name) in enumerate(zip(panels, rivals, strict=False)):
        table = tables[name].reindex(of_reference.index)
        significant = (table["corrected_p_value"] < SIGNIFICANT).to_numpy()
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=_DASHED, linewidth=1.0)
        axes.scatter(
            of_reference,
            table["mean_average_precision"],
            s=26,
            facecolors=np.where(significant, ACCENT, "white"),
            edgecolors=ACCENT,
            linewidths=1.0,
            alpha=0.85,
        )
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05), xlabel=title_text(reference), title=title_text(name))
        axes.set_aspect("equal")
        if place % columns == 0:
            axes.set_ylabel("average precision")
    for axes in panels[len(rivals) :]:
        axes.set_visible(False)
    return sheet.png()


@house_style()
def batch_figure(scores: Sequence[BatchScore], representations: Sequence[str]) -> bytes:
    """A panel for each of plates and batches, among treated and control wells."""
    kinds = [
        (what, among)
        for what in ("plate", "batch")
        for among in Among
        if any((one.of_what, one.among) == (what, among) and one.same.value is not None for one in scores)
    ]
    columns = min(2, len(kinds))
    rows = -(-len(kinds) // columns)
    sheet = Sheet(1.2 + 3.2 * columns, rows * (0.9 + 0.26 * len(representations)), rows=rows, columns=columns)
    panels = [axes for row in sheet.axes for axes in row]
    for place, (axes, (what, among)) in enumerate(zip(panels, kinds, strict=False)):
        own = {one.representation: one for one in scores if (one.of_what, one.among) == (what, among)}
        _draw_rows(axes, [own[name].same for name in representations], representations)
        expected = next(iter(own.values())).expected.value
        if expected is not None:
            axes.axvline(expected, color=MUTED, linestyle=_DASHED, linewidth=1.2)
        axes.set(xlim=(0, 1.02), title=f"nearest of own {what}, {among.value}")
        if place % columns:
            axes.set_yticklabels([])
        if place + columns >= len(kinds):
            axes.set_xlabel("share of wells")
    for axes in panels[len(kinds) :]:
        axes.set_visible(False)
    return sheet.png()


def _draw_rows(axes: Axes, estimates: Sequence[Estimate], names: Sequence[str]) -> None:
    """Estimates one below the other, their values written beside."""
    for row, estimate in enumerate(estimates):
        _draw_estimate(axes, estimate, row, PALETTE[row % len(PALETTE)])
    axes.set_yticks(range(len(names)), [title_text(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _draw_estimate(axes: Axes, estimate: Estimate, row: float, colour: str) -> None:
    if estimate.value is None:
        axes.annotate("not computed", (0.02, row), va="center", color=MUTED, fontsize=7)
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2.4, alpha=0.45)
    axes.plot(estimate.value, row, "o", color=colour, markersize=4.5)


def _held_out(study: ProfileStudy) -> frozenset[str]:
    if PLATE_SPLIT not in study.wells.columns:
        return frozenset()
    held_out = (study.wells[PLATE_SPLIT] != PlateSplit.LEARNED.value).fillna(False)
    return frozenset(study.wells.loc[held_out, PLATE].astype(str))


def _draw_plates(axes: Axes, x: int, scores: Sequence[PlateScore], held_out: frozenset[str]) -> None:
    values = np.array([one.mean_average_precision.value for one in scores], np.float64)
    shift = np.random.default_rng(0).uniform(-0.16, 0.16, len(values))
    hollow = np.array([one.plate in held_out for one in scores], bool)
    axes.scatter(
        x + shift,
        values,
        s=18,
        facecolors=np.where(hollow, "white", ACCENT),
        edgecolors=ACCENT,
        linewidths=0.9,
        alpha=0.8,
    )
    if len(values):
        axes.plot([x - 0.28, x + 0.28], [values.mean()] * 2, color=INK, linewidth=1.8)
