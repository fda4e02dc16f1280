"""Numbers for the terminal: a plain text table, and JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cell_assets.ledger.records import Number, NumberDraft
from cell_assets.reporting.wording import interval_text, value_text

if TYPE_CHECKING:
    # Who lists numbers should not wait for pandas, SciPy and Zarr.
    from cell_assets.evaluation.left_out import LeftOut

_HEADINGS = ("id", "report", "metric", "split", "value", "95 % interval", "n", "unit")
_RIGHT = frozenset({"id", "value", "n"})


def numbers_table(numbers: Sequence[Number | NumberDraft]) -> str:
    """One line per number under a heading; a number without a value, or withdrawn, says why below the table.

    Numbers that the ledger has not recorded yet have no id and show `–`.
    """
    drafts = [
        (number.draft, str(number.id)) if isinstance(number, Number) else (number, "–") for number in numbers
    ]
    withdrawn = {
        str(number.id): number.withdrawn_because
        for number in numbers
        if isinstance(number, Number) and number.withdrawn_because is not None
    }
    rows = [
        (
            number_id,
            draft.report,
            draft.name,
            draft.split,
            "withdrawn" if number_id in withdrawn else value_text(draft.value),
            "–" if number_id in withdrawn else interval_text(draft.ci_low, draft.ci_high),
            str(draft.n),
            draft.unit,
        )
        for draft, number_id in drafts
    ]
    widths = [max(len(cell) for cell in column) for column in zip(_HEADINGS, *rows, strict=True)]
    lines = [_line(_HEADINGS, widths), "  ".join("─" * width for width in widths)]
    lines += [_line(row, widths) for row in rows]
    lines += [
        f"{'' if number_id == '–' else number_id + ' '}{draft.report} {draft.name}: not computed, "
        f"because {draft.why_missing}"
        for draft, number_id in drafts
        if draft.value is None
    ]
    lines += [
        f"{number_id} {draft.report} {draft.name}: withdrawn, because {withdrawn[number_id]}"
        for draft, number_id in drafts
        if number_id in withdrawn
    ]
    return "\n".join(lines)


def left_out_text(left_out: "LeftOut") -> str:
    """What an experiment's thresholds left out, one line per plate and measure under a sentence."""
    lines = [" ".join(left_out.sentences())]
    lines += [
        f"  {count.plate} {count.measure}: {count.places}, {count.n_cells} cell images"
        for count in left_out.counts
    ]
    return "\n".join(lines)


def numbers_json(numbers: Sequence[Number]) -> str:
    """Recorded numbers with their ids as a JSON list; times are UTC, ISO 8601."""
    rows = [
        {
            "id": number.id,
            "run_id": number.run_id,
            "artifact_id": number.artifact_id,
            "experiment": number.experiment,
            "recorded": number.recorded.isoformat(),
            "withdrawn_because": number.withdrawn_because,
            **asdict(number.draft),
        }
        for number in numbers
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
        for heading, cell, width in zip(_HEADINGS, cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()
