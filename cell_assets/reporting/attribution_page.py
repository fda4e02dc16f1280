"""The page about class attribution: the look of a report, other words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import (
    RANDOM_DROP,
    MapKind,
    Region,
    area_column,
    correlation_column,
    drop_column,
    share_column,
)
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import JsonValue, NumberDraft, ReadReceipt
from cell_assets.reporting.html import Card, ReportFigure, card, render_page
from cell_assets.reporting.wording import title_text, value_text


@dataclass(frozen=True)
class HeadWords:
    """What a reader is told of one head."""

    column: str
    rule: str

    @property
    def title(self) -> str:
        """As a heading."""
        return title_text(self.column).capitalize()


@dataclass(frozen=True)
class AttributionContent:
    """Everything that the page shows."""

    title: str
    subtitle: str
    simulated: bool
    method: str
    baseline: str
    split: SplitStatement
    heads: tuple[HeadWords, ...]
    without: Mapping[str, str]
    """By annotation column that has no head: why."""
    numbers: tuple[NumberDraft, ...]
    figures: tuple[ReportFigure, ...]
    notes: tuple[str, ...]
    inputs: tuple[ReadReceipt, ...]
    settings: AttributionParameters
    parameters: Mapping[str, JsonValue]

    @property
    def window(self) -> str:
        """(Z, Y, X) in words."""
        return " × ".join(map(str, self.settings.occlusion_window))

    @property
    def stride(self) -> str:
        """(Z, Y, X) in words."""
        return " × ".join(map(str, self.settings.occlusion_stride))

    @property
    def path(self) -> str:
        """How integrated gradients are integrated."""
        steps, cuts = self.settings.path_steps, self.settings.path_cuts
        if not cuts:
            return f"by a Gauss-Legendre rule of {steps} points"
        return f"by {steps} Gauss-Legendre points on each piece of the path, which is cut at " + ", ".join(
            f"{cut:g}" for cut in cuts
        )

    @property
    def n_resamples(self) -> int:
        """Of the bootstrap."""
        return self.settings.n_resamples

    @property
    def dilation(self) -> str:
        """In µm."""
        return f"{self.settings.dilation_um:g}"

    @property
    def deleted(self) -> str:
        """Share of pixels."""
        return f"{self.settings.deleted_share:.0%}".replace("%", " %")


def render_attribution(content: AttributionContent) -> str:
    """The whole page. The same content gives the same text."""
    return render_page(
        "attribution.html",
        content,
        content.numbers,
        list(_cards(content)),
        simulated=content.simulated,
        notes=content.notes,
    )


def _cards(content: AttributionContent) -> Iterable[Card]:
    for head in content.heads:
        about = f"{content.method}/attribution_{head.column}"
        numbers = {number.name: number for number in content.numbers if number.report == about}
        for kind in MapKind:
            beside = (
                ("chance: its share of the area", area_column(Region.SEGMENT)),
                ("rank correlation, randomised network", correlation_column(kind)),
                ("logit drop, most attributed pixels", drop_column(kind)),
                ("logit drop, random pixels", RANDOM_DROP),
            )
            yield card(
                f"{title_text(head.column)}: share of {title_text(kind.value)} in the segmented region",
                numbers[share_column(kind, Region.SEGMENT)],
                [(title, value_text(numbers[name].value)) for title, name in beside],
            )
