"""What the Dagster UI shows of a published artifact, made from the ledger's rows and the bytes alone."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from cell_assets.assets.recipes import AssetName
from cell_assets.imaging.track_quality import TrackBegin, TrackEnd, TrackQualitySummary
from cell_assets.imaging.tracking import QUALITY_JSON, read_track_quality
from cell_assets.ledger.records import Artifact, ModelVersion, Number, Provenance
from cell_assets.reporting.wording import interval_text, value_text
from cell_assets.store.store import Store

FIGURES = "figures"
"""Folder of a report whose PNG files the UI shows."""

WIDEST_PX = 1100
"""The UI shows pictures pixel by pixel, in a dialogue of about this width."""

LEDGER_RUN = "ledger_run"
"""Metadata entry by which an event names the ledger run that it shows."""


ARTIFACT = "artifact"
DIGEST = "digest"

LEDGER_ENTRY = "ledger_entry"
"""Metadata entry that holds the digest of the entry which sealed that run in the ledger's chain: should the
chain's newest entries ever be cut off together with their rows, the event still names them."""


def display_metadata(
    store: Store,
    provenance: Provenance,
    entry_digest: str | None,
    numbers: Sequence[Number],
    models: Sequence[ModelVersion],
) -> dict[str, dg.MetadataValue]:
    """Ids, digest and size of the artifact and its place in history; a checkpoint adds its version in MLflow, a
    report its numbers and figures."""
    artifact = provenance.artifact
    folder = store.path_of(artifact)
    metadata: dict[str, dg.MetadataValue] = {
        ARTIFACT: dg.MetadataValue.int(artifact.id),
        LEDGER_RUN: dg.MetadataValue.int(provenance.run.id),
        DIGEST: dg.MetadataValue.text(artifact.digest),
        "bytes": dg.MetadataValue.int(artifact.n_bytes),
        "files": dg.MetadataValue.int(artifact.n_files),
        "folder": dg.MetadataValue.path(store.title(artifact.uri)),
        "parameters": dg.MetadataValue.json(dict(provenance.run.parameters)),
    }
    if entry_digest is not None:
        # Runs older than the chain were sealed together, by an entry that names none of them.
        metadata[LEDGER_ENTRY] = dg.MetadataValue.text(entry_digest)
    if models:
        metadata["mlflow"] = dg.MetadataValue.text(
            ", ".join(f"{one.registered_name} version {one.version}" for one in models)
        )
    if numbers:
        metadata["numbers"] = dg.MetadataValue.md(_numbers_table(numbers))
    if figures := sorted(folder.glob(f"{FIGURES}/*.png")):
        metadata["figures"] = dg.MetadataValue.md("\n\n".join(_embedded(figure) for figure in figures))
    if artifact.asset == AssetName.TRACKS and (folder / QUALITY_JSON).exists():
        metadata["track_quality"] = dg.MetadataValue.md(_quality_table(read_track_quality(folder)))
    report = folder / "report.html"
    if report.exists():
        metadata["report"] = dg.MetadataValue.path(str(report))
    return metadata


def withdrawal_observation(artifact: Artifact, reason: str) -> dg.AssetObservation:
    """Shows beside the event of a withdrawn output that it is withdrawn, and why."""
    return dg.AssetObservation(
        artifact.asset,
        partition=artifact.partition,
        description=f"withdrawn: {reason}",
        metadata={
            ARTIFACT: dg.MetadataValue.int(artifact.id),
            "withdrawn": dg.MetadataValue.text(reason),
            DIGEST: dg.MetadataValue.text(artifact.digest),
        },
    )


def ledger_run_of(event: dg.AssetMaterialization) -> int | None:
    """The ledger run that an event shows; None for an event that publishing did not make."""
    return _integer_of(event, LEDGER_RUN)


def artifact_of(event: dg.AssetObservation) -> int | None:
    """The artifact that an observation is about; None for one that was not made here."""
    return _integer_of(event, ARTIFACT)


def _integer_of(event: dg.AssetMaterialization | dg.AssetObservation, entry: str) -> int | None:
    said = event.metadata.get(entry)
    return said.value if isinstance(said, dg.IntMetadataValue) else None


def text_of(event: dg.AssetMaterialization, entry: str) -> str | None:
    """A text among an event's metadata."""
    said = event.metadata.get(entry)
    return said.text if isinstance(said, dg.TextMetadataValue) else None


def _numbers_table(numbers: Sequence[Number]) -> str:
    lines = [
        "| id | report | metric | split | value | 95 % interval | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for number in numbers:
        draft = number.draft
        cells = (
            str(number.id),
            draft.report,
            draft.name,
            draft.split,
            value_text(draft.value) if draft.why_missing is None else draft.why_missing,
            interval_text(draft.ci_low, draft.ci_high),
            f"{draft.n} {draft.unit}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _quality_table(quality: TrackQualitySummary) -> str:
    lengths = quality.lengths
    limit = quality.step_limit_um_per_min
    rows = {
        "tracks": quality.n_tracks,
        "cells per track: shortest, quartiles, longest": "none"
        if lengths is None
        else f"{lengths.shortest}, {lengths.quarter:g}, {lengths.median:g}, {lengths.three_quarters:g}, "
        f"{lengths.longest}",
        "of one frame in mid-movie": "not counted"
        if quality.n_of_one_frame is None
        else quality.n_of_one_frame,
        "with jumps": f"{quality.n_with_jumps}"
        + ("; no limit of speed is known" if limit is None else f" (steps over {limit:.3g} µm/min)"),
        "implausibly fast": quality.n_too_fast,
        "with one daughter": quality.n_with_one_daughter,
        "with more than two daughters": quality.n_with_excess_daughters,
        "begin": _counted(quality.begins),
        "end": _counted(quality.ends),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {said} |" for what, said in rows.items())])


def _counted(fates: Mapping[TrackBegin, int] | Mapping[TrackEnd, int]) -> str:
    return ", ".join(f"{fate.value.replace('_', '-')} {n}" for fate, n in fates.items() if n) or "none"


def _embedded(figure: Path) -> str:
    """The figure as Markdown, in the event itself: the UI may look from another machine, and serves no files."""
    # Not at the top: only a report has figures.
    from PIL import Image

    shown = io.BytesIO()
    with Image.open(figure) as image:
        image.thumbnail((WIDEST_PX, 4 * WIDEST_PX))
        image.save(shown, "PNG", optimize=True)
    encoded = base64.b64encode(shown.getvalue()).decode()
    return f"#### {figure.stem.replace('_', ' ')}\n\n![{figure.stem}](data:image/png;base64,{encoded})"
