"""An experiment's class attribution, from what it reads to the folder that is published. No Dagster here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.assets.attribution_output import AttributionInputs, AttributionOutput
from cell_assets.assets.inputs import training_tables
from cell_assets.audit.counting import counted
from cell_assets.errors import BadInputError
from cell_assets.evaluation.pixels.attribution_cells import ChosenCells, ExampleTrack, choose_cells
from cell_assets.evaluation.pixels.attribution_scores import (
    SCORE_COLUMNS,
    MapKind,
    Region,
    attribution_numbers,
    numbers_without_head,
)
from cell_assets.evaluation.pixels.attribution_store import AttributionWriter
from cell_assets.evaluation.pixels.state_heads import StateHead, StateHeads, fit_state_heads
from cell_assets.evaluation.resampling import stated_split
from cell_assets.evaluation.studies.published_study import StudiedCells, read_studied
from cell_assets.imaging.cell_masks import cell_masks
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.patch_reading import read_patch_record
from cell_assets.imaging.tracking import LABEL, open_track_labels
from cell_assets.ledger.records import NumberDraft
from cell_assets.methods.attribution.classifier import PatchEncoder
from cell_assets.methods.attribution.explain import ExplainedCell, Masks, explain_cells, largest_disagreement
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.registry import load_attributable
from cell_assets.reporting.attribution_figures import (
    AttributedFrame,
    AttributedTrack,
    attribution_figure,
    sanity_figure,
)
from cell_assets.reporting.attribution_page import AttributionContent, HeadWords, render_attribution
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.pixel_study_folder import write_pixel_study
from cell_assets.reporting.wording import title_text

FORMAT_NAME, FORMAT_VERSION = "cell_assets.attribution", "1"
_KEYS = ["plate", "fov_name", "track_id", "t"]
_NOT_ANNOTATED = "not annotated"
_SAME_TO = 0.02
"""Relative difference of logits up to which published features are the network's: batches round differently."""


@dataclass
class _Kept:
    """What is held of the cells that passed by: a few values of each, and slices of those that are drawn."""

    writer: AttributionWriter
    drawn: frozenset[int]
    values: list[dict[str, object]] = field(default_factory=list)
    frames: dict[int, ExplainedCell] = field(default_factory=dict)

    def __call__(self, heads: StateHeads, cell: ExplainedCell) -> None:
        if largest_disagreement(heads.heads, cell) > _SAME_TO:
            where = " ".join(str(heads.cells[key].iloc[cell.row]) for key in _KEYS)
            raise BadInputError(
                f"the checkpoint says something else of {where} than the embeddings do: they were made with another "
                "checkpoint or other patches; make the embeddings again"
            )
        at = self.writer.write(cell.maps)
        for number, head in enumerate(heads.heads):
            self.values.append(
                {
                    "row": cell.row,
                    "column": head.column,
                    "attribution": at,
                    "head": number,
                    "positive": head.positive,
                    "true_state": _true_state(head, cell.row),
                    "logit": cell.logit[number],
                    "probability": _probability(cell.logit[number]),
                    "baseline_logit": cell.baseline_logit[number],
                }
            )
        if cell.row in self.drawn:
            self.frames[cell.row] = _middle_slice(cell)


def write_attribution(
    out: Path,
    method: str,
    title: str,
    experiment: str,
    output: AttributionOutput,
    progress: ProgressSink | None = None,
) -> tuple[NumberDraft, ...]:
    """Attribute, draw and write; returns the numbers that the page states.

    Raises:
        BadInputError: no annotation column gives a head, or embeddings and checkpoint do not belong together.
    """
    inputs, settings = output.inputs, output.settings
    studied = read_studied(
        inputs.folders(), f"the attribution of {experiment}", experiment, output.unused_states
    )
    heads = fit_state_heads(studied, experiment, output.probe_seed)
    chosen = choose_cells(heads, settings)
    encoder = load_attributable(method).open_encoder(
        inputs.report.checkpoint.folder, training_tables(inputs.tables), studied.frozen, settings
    )
    drawn = frozenset(int(row) for track in chosen.examples for row in track.rows)
    with AttributionWriter(
        out, len(chosen.rows), [head.column for head in heads.heads], encoder.channel_names, encoder.baseline
    ) as writer:
        kept = _Kept(writer, drawn)
        scores = explain_cells(
            encoder,
            heads,
            chosen.rows,
            chosen.scored,
            partial(_masks, inputs, heads, encoder.side_px, settings.dilation_um),
            settings,
            partial(kept, heads),
            progress,
        )
    table = _table(heads, kept.values, scores, drawn)
    write_parquet(table, out / "cells.parquet")
    split = stated_split(heads.split.short, studied.manifest.simulated)
    numbers = tuple(
        number
        for head in heads.heads
        for number in attribution_numbers(
            table[table["is_scored"] & (table["column"] == head.column)], head.column, method, split, settings
        )
    ) + tuple(
        number
        for column, why in heads.without.items()
        for number in numbers_without_head(column, why, method, split)
    )
    figures = _figures(heads, chosen, kept.frames, encoder, studied.interval_min, numbers)
    content = AttributionContent(
        title=f"{title.split(':')[0]} attribution on {experiment}",
        subtitle=f"{counted(len(heads.heads), 'head')}, {counted(len(chosen.rows), 'test cell image')} attributed, "
        f"{studied.manifest.split_statement()}",
        simulated=studied.manifest.simulated,
        method=method,
        baseline=encoder.baseline,
        split=heads.split,
        heads=tuple(_words(head, chosen, heads) for head in heads.heads),
        without=heads.without,
        numbers=numbers,
        figures=figures,
        notes=_notes(heads, chosen, table, studied),
        inputs=output.receipts,
        settings=settings,
        parameters=output.parameters,
    )
    write_pixel_study(
        out,
        render_attribution(content),
        content,
        FORMAT_NAME,
        FORMAT_VERSION,
        baseline=content.baseline,
        without_head=dict(content.without),
    )
    return numbers


def _masks(inputs: AttributionInputs, heads: StateHeads, side_px: int, dilation_um: float, row: int) -> Masks:
    cell = heads.cells.iloc[row]
    if LABEL not in heads.cells.columns or pd.isna(cell[LABEL]):
        return {}
    position = str(cell["plate"]), str(cell["fov_name"])
    found = cell_masks(
        open_track_labels(inputs.tracks[position].folder, inputs.segmentation[position].folder),
        int(cell["t"]),
        int(cell[LABEL]),
        (float(cell["y"]), float(cell["x"])),
        read_patch_record(inputs.tables[position].folder),
        side_px,
        dilation_um,
    )
    return {Region.SEGMENT: found.segment, Region.CELL: found.cell}


def _table(
    heads: StateHeads, values: Sequence[Mapping[str, object]], scores: pd.DataFrame, drawn: frozenset[int]
) -> pd.DataFrame:
    """One row for each attributed cell image and head; scores are null where it was not scored by that head."""
    table = pd.DataFrame(list(values)).merge(scores, on=["row", "column"], how="left", indicator="scored")
    table["is_scored"] = (table.pop("scored") == "both").to_numpy()
    rows = table.pop("row").to_numpy(np.int64)
    table["is_example"] = np.isin(rows, list(drawn))
    where = heads.cells[_KEYS].iloc[rows].reset_index(drop=True)
    where = where.astype({"plate": str, "fov_name": str})
    table = table.astype(dict.fromkeys(SCORE_COLUMNS, np.float64))
    return pd.concat([where, table], axis=1)


def _true_state(head: StateHead, row: int) -> str | None:
    if not head.known[row]:
        return None
    return head.positive if head.label[row] else head.negative


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def _middle_slice(cell: ExplainedCell) -> ExplainedCell:
    """The same with Z = 1, so that what is held for the figures is small."""
    z = cell.patch.shape[1] // 2
    return ExplainedCell(
        cell.row,
        cell.patch[:, z : z + 1].copy(),
        {kind: one[:, :, z : z + 1].copy() for kind, one in cell.maps.items()},
        {region: mask[z : z + 1].copy() for region, mask in cell.masks.items()},
        cell.logit,
        cell.baseline_logit,
        cell.completeness_error,
    )


def _figures(
    heads: StateHeads,
    chosen: ChosenCells,
    frames: Mapping[int, ExplainedCell],
    encoder: PatchEncoder,
    interval_min: float | None,
    numbers: Sequence[NumberDraft],
) -> tuple[ReportFigure, ...]:
    columns = [head.column for head in heads.heads]
    sanity = ReportFigure(
        "sanity_checks",
        "Sanity checks",
        "Means over the scored cells with 95 % intervals over tracks. “segment” is the cell's own segmented region, "
        "“cell” what lies near it; dashes are the share of the patch's area that each covers. A map that depends on "
        "what was learned has a low correlation with that of a randomised network; one that finds what the head uses "
        "lowers the logit more than random pixels do.",
        sanity_figure(columns, numbers),
    )
    drawn = [
        ReportFigure(
            f"example_{n}",
            f"{title_text(track.column).capitalize()} changes",
            f"{_place(heads, track)}, the middle slice. Rows: input channels, then for each head both maps of each "
            "channel. Red speaks for the state that is named, blue against it; extreme values are clipped for better "
            "visualisation, by one limit for all channels and time points of a map. The line is the edge of the "
            "segmented region. P is the head's probability of that state.",
            attribution_figure(_track(heads, track, frames, encoder, interval_min)),
        )
        for n, track in enumerate(chosen.examples, start=1)
    ]
    return (sanity, *drawn)


def _place(heads: StateHeads, track: ExampleTrack) -> str:
    cell = heads.cells.iloc[track.rows[0]]
    return f"Track {cell['track_id']} of {cell['plate']} {cell['fov_name']}"


def _track(
    heads: StateHeads,
    track: ExampleTrack,
    frames: Mapping[int, ExplainedCell],
    encoder: PatchEncoder,
    interval_min: float | None,
) -> AttributedTrack:
    cells = [frames[int(row)] for row in track.rows]
    return AttributedTrack(
        channel_names=encoder.channel_names,
        heads=tuple(head.column for head in heads.heads),
        positive=tuple(head.positive for head in heads.heads),
        frames=tuple(
            AttributedFrame(
                time=_time(int(heads.cells["t"].iloc[cell.row]), interval_min),
                image=cell.patch[:, 0],
                maps={kind: cell.maps[kind][:, :, 0] for kind in MapKind},
                segment=cell.masks[Region.SEGMENT][0] if cell.masks else None,
                probability=np.array([_probability(logit) for logit in cell.logit]),
                true_state=tuple(_true_state(head, cell.row) or _NOT_ANNOTATED for head in heads.heads),
            )
            for cell in cells
        ),
    )


def _time(t: int, interval_min: float | None) -> str:
    return f"t {t}" if interval_min is None else f"t {t}, {t * interval_min / 60:.3g} h"


def _words(head: StateHead, chosen: ChosenCells, heads: StateHeads) -> HeadWords:
    rows = chosen.scored[head.column]
    tracks = heads.cells.iloc[rows][["plate", "fov_name", "track_id"]].drop_duplicates()
    return HeadWords(
        head.column,
        f"The head's logit is of “{head.positive}”, against “{head.negative}”; {head.how_chosen}. Its numbers are "
        f"means over {len(rows)} random test cells ({int(head.label[rows].sum())} {head.positive}) of "
        f"{counted(len(tracks), 'track')}.",
    )


def _notes(
    heads: StateHeads, chosen: ChosenCells, table: pd.DataFrame, studied: StudiedCells
) -> tuple[str, ...]:
    notes = [*studied.known.notes]
    for head in heads.heads:
        if not any(track.column == head.column for track in chosen.examples):
            notes.append(f"{head.column}: no test track holds both states, so none is drawn.")
        scored = table[table["is_scored"] & (table["column"] == head.column)]
        without = int(scored["area_share_of_segment"].isna().sum())
        if without:
            notes.append(
                f"{head.column}: {without} of {len(scored)} scored cells have no label; shares leave them out."
            )
    notes.append(
        "Heads keep what they learned where the network is randomised: what differs is the encoder alone. The random "
        "network is drawn once, by the seed."
    )
    notes.append(
        "Integrated gradients start from an image without contrast. A network that begins with a normalisation answers "
        "to a faint image almost as to a full one, so that they tell of the step from no image to a faint one."
    )
    notes.append(
        "Deletion sets the most speaking pixels of all channels and slices together, wherever they lie; a network may "
        "answer to such an image, which it never saw, in ways that a cell would not make it answer."
    )
    return tuple(notes)
