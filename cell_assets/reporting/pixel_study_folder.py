"""The folder of a study of pixels: its page, its figures as files, and its numbers as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from cell_assets.evaluation.studies.published_report import file_stem
from cell_assets.evaluation.units import SplitStatement
from cell_assets.ledger.records import NumberDraft
from cell_assets.reporting.html import PageContent

NUMBERS_FILE = "numbers.json"


class PixelStudyContent(PageContent, Protocol):
    """What the page of every such study shows."""

    @property
    def simulated(self) -> bool: ...
    @property
    def split(self) -> SplitStatement: ...
    @property
    def numbers(self) -> tuple[NumberDraft, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def write_pixel_study(
    out: Path, page: str, content: PixelStudyContent, format_name: str, format_version: str, **own: object
) -> None:
    """Writes `report.html`, `figures/` and `numbers.json`, which says `own` things beside what every study says."""
    (out / "figures").mkdir()
    for figure in content.figures:
        (out / "figures" / f"{file_stem(figure.name)}.png").write_bytes(figure.png)
    (out / "report.html").write_text(page, encoding="utf-8")
    document = {
        "format": format_name,
        "format_version": format_version,
        "simulated": content.simulated,
        "split": asdict(content.split),
        "numbers": [asdict(number) for number in content.numbers],
        "notes": list(content.notes),
        **own,
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (out / NUMBERS_FILE).write_text(text + "\n", encoding="utf-8")
