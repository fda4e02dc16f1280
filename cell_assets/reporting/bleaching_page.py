"""Figure and page about tolerance to photobleaching: the look of a report, other words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters, percent
from cell_assets.evaluation.pixels.bleaching_scores import (
    DISPLACEMENT,
    PER_INTERVAL,
    accuracy_name,
    at_share,
    lost_name,
)
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import JsonValue, NumberDraft, ReadReceipt
from cell_assets.reporting.html import Card, ReportFigure, card, render_page
from cell_assets.reporting.style import INK, MUTED, PALETTE, Sheet, house_style
from cell_assets.reporting.wording import title_text, value_text

_APART = 0.008
"""Between the points of two columns at one share of the light, so that no interval hides another."""


@dataclass(frozen=True)
class BleachingContent:
    """Everything that the page shows."""

    title: str
    subtitle: str
    simulated: bool
    split: SplitStatement
    columns: tuple[str, ...]
    """Annotation columns that have a probe."""
    without: Mapping[str, str]
    """By annotation column that has none: why."""
    cells_sentence: str
    """Which cells were dimmed."""
    interval_min: float | None
    numbers: tuple[NumberDraft, ...]
    figures: tuple[ReportFigure, ...]
    notes: tuple[str, ...]
    inputs: tuple[ReadReceipt, ...]
    settings: BleachingParameters
    parameters: Mapping[str, JsonValue]

    @property
    def shares(self) -> str:
        """Of the light, in words."""
        return ", ".join(f"{percent(share)} %" for share in self.settings.dimmed)

    @property
    def frame(self) -> str:
        """One frame, with its minutes where they are known."""
        return "one frame" if self.interval_min is None else f"one frame ({self.interval_min:g} min)"


def bleaching_figure(columns: Sequence[str], numbers: Sequence[NumberDraft]) -> ReportFigure:
    """Balanced accuracy of every column's probe, and displacement, against the light that remains."""
    return ReportFigure(
        "remaining_light",
        "What dimming does",
        "Left: balanced accuracy of the report's probes on dimmed test cells; one half is a guess. Right: how far "
        "dimming moves an embedding, in displacements over one frame of the same tracks: at 1, bleaching moves a cell "
        "as far as one frame of its life does. Bars are 95 % intervals over FOVs or tracks.",
        _draw(columns, {number.name: number for number in numbers}),
    )


@house_style()
def _draw(columns: Sequence[str], numbers: Mapping[str, NumberDraft]) -> bytes:
    sheet = Sheet(8.4, 3.4, columns=2)
    accuracy, displacement = sheet.axes[0]
    for n, column in enumerate(columns):
        _draw_curve(
            accuracy,
            _points(accuracy_name(column), numbers),
            PALETTE[n % len(PALETTE)],
            title_text(column),
            _APART * (n - (len(columns) - 1) / 2),
        )
    accuracy.axhline(0.5, color=MUTED, linestyle=(0, (3, 2)), linewidth=1.0)
    accuracy.set_ylabel("balanced accuracy")
    if columns:
        accuracy.legend(loc="lower left")
    else:
        accuracy.text(
            0.5, 0.5, "no column has a probe", transform=accuracy.transAxes, ha="center", va="bottom"
        )
    accuracy.set_ylim(0, 1.03)
    _draw_curve(displacement, _points(PER_INTERVAL, numbers), INK, None, 0.0)
    displacement.axhline(1.0, color=MUTED, linestyle=(0, (3, 2)), linewidth=1.0)
    displacement.set_ylabel("displacement, one frame = 1")
    displacement.set_ylim(bottom=0)
    for axes in sheet.axes[0]:
        axes.set_xlabel("light that remains")
        axes.set_xlim(1.04, 0.0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    return sheet.png()


def _points(name: str, numbers: Mapping[str, NumberDraft]) -> list[tuple[float, NumberDraft]]:
    """(share of the light, number), by falling share."""
    shares = (share / 100 for share in range(100, 0, -1))
    return [(share, numbers[at_share(name, share)]) for share in shares if at_share(name, share) in numbers]


def _draw_curve(
    axes: Axes, points: Sequence[tuple[float, NumberDraft]], colour: str, label: str | None, shift: float
) -> None:
    known = [(share + shift, number, number.value) for share, number in points if number.value is not None]
    axes.plot(
        [x for x, _, _ in known], [y for _, _, y in known], "o-", color=colour, markersize=4.5, label=label
    )
    for x, number, _ in known:
        if number.ci_low is not None and number.ci_high is not None:
            axes.plot([x, x], [number.ci_low, number.ci_high], color=colour, linewidth=2.2, alpha=0.45)


def render_bleaching(content: BleachingContent) -> str:
    """The whole page. The same content gives the same text."""
    return render_page(
        "bleaching.html",
        content,
        content.numbers,
        list(_cards(content)),
        simulated=content.simulated,
        notes=content.notes,
    )


def _cards(content: BleachingContent) -> Iterable[Card]:
    """Of the least light."""
    numbers = {number.name: number for number in content.numbers}
    full, least = content.settings.remaining[0], content.settings.remaining[-1]
    light = f"at {percent(least)} % of the light"
    yield card(
        f"displacement {light}, one frame = 1",
        numbers[at_share(PER_INTERVAL, least)],
        [("displacement", value_text(numbers[at_share(DISPLACEMENT, least)].value))],
    )
    for column in content.columns:
        yield card(
            f"{title_text(column)}: balanced accuracy {light}",
            numbers[at_share(accuracy_name(column), least)],
            [
                ("with all of the light", value_text(numbers[at_share(accuracy_name(column), full)].value)),
                ("lost", value_text(numbers[at_share(lost_name(column), least)].value)),
            ],
        )
