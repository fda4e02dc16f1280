"""The report as one self-contained HTML page: no script, no outside resource, every value escaped."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cell_assets.evaluation.left_out import LeftOut
from cell_assets.evaluation.motion.identity_study import REPORT as IDENTITY_REPORT
from cell_assets.evaluation.scores.scoring import ENOUGH_COARSE_UNITS
from cell_assets.evaluation.scores.task_scores import TaskEvaluation
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation
from cell_assets.evaluation.studies.flat_parameters import flat_parameters
from cell_assets.ledger.records import JsonValue, NumberDraft, ReadReceipt
from cell_assets.reporting.suspicious_steps import suspicious_rows
from cell_assets.reporting.wording import interval_text, title_text, units_text, value_text

_PNG_WIDTH_BYTES = slice(16, 20)  # of the IHDR chunk
_SCREEN_SCALE = 0.62
"""PNGs have 160 dots per inch, screens about 100: text in figures then matches the page's."""
_NARROW = 560


@dataclass(frozen=True)
class ReportFigure:
    """One picture with its words."""

    name: str
    """File name without extension."""
    title: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report shows."""

    title: str
    subtitle: str
    evaluation: EmbeddingEvaluation
    left_out: LeftOut
    figures: tuple[ReportFigure, ...]
    inputs: tuple[ReadReceipt, ...]
    """What was read; the page shows asset, partition and digest, which do not depend on the database."""
    parameters: Mapping[str, JsonValue]
    onsets: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """By column: onset of every held-out track. Not on the page; written beside it."""
    further_tasks: tuple[TaskEvaluation, ...] = ()
    """On other cells than those of the evaluation; their predictions are written beside its own."""
    suspicious_steps: pd.DataFrame | None = None
    """Steps of real tracks that a person should look at, as in `TrackDisruptions`; also written beside the page."""
    trajectories: pd.DataFrame | None = None
    """Through divisions, as `division_figure.trajectory_table` makes them; written beside the page."""
    dynamics_page: str | None = None
    """An animated page that is written beside this one."""
    held_out_cells: pd.DataFrame | None = None
    """Where the test cells lie, as `held_out_cells` makes it; written beside the page."""


@dataclass(frozen=True)
class Card:
    """One headline: a value, its interval, and what to hold it against."""

    what: str
    value: str
    interval: str
    why_missing: str | None
    beside: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _TaskWords:
    title: str
    rule: str
    counts: str


@dataclass(frozen=True)
class _FigureSource:
    anchor: str
    title: str
    caption: str
    base64: str
    width: int
    narrow: bool
    """Leaves room for its caption at its side."""


@dataclass(frozen=True)
class _NumberRow:
    name: str
    value: str
    interval: str
    units: str
    split: str
    why_missing: str | None


def render_html(report: ReportContent) -> str:
    """The whole page. The same content gives the same text."""
    evaluation = report.evaluation
    return render_page(
        "report.html",
        report,
        evaluation.numbers,
        list(_cards(evaluation)),
        simulated=evaluation.settings.simulated,
        left_out=report.left_out,
        settings=evaluation.settings,
        split=evaluation.split,
        enough_units=ENOUGH_COARSE_UNITS,
        tasks=[_task_words(task) for task in (*evaluation.tasks, *evaluation.further, *report.further_tasks)],
        notes=evaluation.notes,
        suspicious=suspicious_rows(report.suspicious_steps),
    )


class PageContent(Protocol):
    """What every page shows, whatever it is about."""

    @property
    def title(self) -> str: ...
    @property
    def subtitle(self) -> str: ...
    @property
    def figures(self) -> tuple[ReportFigure, ...]: ...
    @property
    def inputs(self) -> tuple[ReadReceipt, ...]: ...
    @property
    def parameters(self) -> Mapping[str, JsonValue]: ...


def render_page(
    template: str, content: PageContent, numbers: Sequence[NumberDraft], cards: Sequence[Card], **own: object
) -> str:
    """A page of the house's look: `template` of this folder, with what is its `own` beside what all pages show."""
    environment = Environment(
        loader=PackageLoader("cell_assets.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        report=content,
        cards=cards,
        figures=[_figure_source(figure) for figure in content.figures],
        number_groups=_number_groups(numbers),
        parameters=list(flat_parameters("", content.parameters)),
        **own,
    )


def _cards(evaluation: EmbeddingEvaluation) -> Iterable[Card]:
    by_name = {(number.report, number.name): number for number in evaluation.numbers}
    method = evaluation.settings.method
    for task in (*evaluation.tasks, *evaluation.further):
        # Few numbers make a headline: the first metric that the task states, its rivals and what chance gives.
        about, metric = f"{method}/{task.name}", task.scores[0].metric
        rivals = [
            (title_text(name.removeprefix(f"{metric}_")), value_text(number.value))
            for (report, name), number in by_name.items()
            if report == about and name.startswith(f"{metric}_") and "_gain_" not in name
        ]
        yield card(f"{title_text(task.name)}: {title_text(metric)}", by_name[about, metric], rivals)
    smooth = f"{method}/temporal_smoothness"
    if (smooth, "smoothness") in by_name:
        names = ("displacement_one_interval", "displacement_random_pairs")
        beside = [(title_text(name), value_text(by_name[smooth, name].value)) for name in names]
        removed = by_name.get((f"{method}/{IDENTITY_REPORT}", "smoothness_identity_removed"))
        if removed is not None:
            beside.append(("after the track's mean is taken away", value_text(removed.value)))
        yield card("movement per interval, strangers = 1", by_name[smooth, "smoothness"], beside)


def card(what: str, number: NumberDraft, beside: Sequence[tuple[str, str]]) -> Card:
    """The headline of one number."""
    interval = (
        "no interval" if number.ci_low is None else f"{interval_text(number.ci_low, number.ci_high)} (95 %)"
    )
    return Card(
        what=what,
        value=value_text(number.value),
        interval=f"{interval}, {units_text(number)}",
        why_missing=number.why_missing,
        beside=tuple(beside),
    )


def _task_words(task: TaskEvaluation) -> _TaskWords:
    counts = (
        f"Learned from {task.n_fit_rows} cell images ({task.n_fit_positive} positive), scored on "
        f"{task.n_test_rows} ({task.n_test_positive} positive): {task.split}. Intervals are over {task.n_units_name}."
    )
    return _TaskWords(title_text(task.name).capitalize(), task.rule, counts)


def _figure_source(figure: ReportFigure) -> _FigureSource:
    pixels = int.from_bytes(figure.png[_PNG_WIDTH_BYTES], "big")
    width = round(pixels * _SCREEN_SCALE)
    return _FigureSource(
        anchor=figure.name.replace(" ", "_"),
        title=figure.title,
        caption=figure.caption,
        base64=base64.b64encode(figure.png).decode("ascii"),
        width=width,
        narrow=width <= _NARROW,
    )


def _number_groups(numbers: Sequence[NumberDraft]) -> list[tuple[str, list[_NumberRow]]]:
    return [
        (
            name,
            [
                _NumberRow(
                    name=number.name,
                    value=value_text(number.value),
                    interval=interval_text(number.ci_low, number.ci_high),
                    units=units_text(number),
                    split=number.split,
                    why_missing=number.why_missing,
                )
                for number in group
            ],
        )
        for name, group in groupby(numbers, key=lambda number: number.report)
    ]
