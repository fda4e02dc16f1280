"""One prediction behind a number, walked back to the chunks of the raw plate that show its cell."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.audit.explanation_text import number_text
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.imaging.acquisition import PLATE, open_acquisition
from cell_assets.imaging.chunk_ranges import ChunkRange, open_sharded
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.imaging.patches import ResolvedPatches, crop_starts
from cell_assets.ledger.records import Artifact, JsonValue, Number
from cell_assets.store.store import Store

FORMAT = "cell_assets.cell"
FORMAT_VERSION = 1
_IDENTITY = ("plate", "fov_name", "track_id", "t")


@dataclass(frozen=True)
class Crop:
    """What a patch shows of its frame. Pixels; ranges end before their last value."""

    t: int
    channels: tuple[str, ...]
    z: tuple[int, int]
    y: tuple[int, int]
    x: tuple[int, int]
    leaves_frame: bool
    """Part of it lies outside the frame, where the frame's edge is repeated."""


@dataclass(frozen=True)
class ExplainedCell:
    """One row of a report's predictions and everything that leads to it."""

    number: Number
    row: int
    plate: str
    fov_name: str
    track_id: int
    t: int
    lineage_root: int
    predicted: tuple[tuple[str, JsonValue], ...]
    """The row's other columns: label, probabilities."""
    lineage: tuple[Artifact, ...]
    """Report, embeddings, patch table, tracks, raw acquisition."""
    table_row: int
    """Row of the patch table."""
    crop: Crop
    chunks: tuple[ChunkRange, ...]
    """Bytes of the raw acquisition that hold the crop."""
    gives_patch: bool
    """Whether just those bytes, read now, give the patch that the model was shown."""


def explain_cell(store: Store, number_id: int, row: int) -> ExplainedCell:
    """Walk row `row` of the predictions behind a number back to the bytes that show the cell.

    Raises:
        NotFoundError: no such number, or it rests on no predictions of single cells, or bytes are gone.
        BadInputError: there is no such row.
        ChangedBytesError: a chunk of the plate cannot be found where its shard says.
    """
    ledger = store.ledger
    number = ledger.number(number_id)
    report = ledger.artifact(number.artifact_id)
    file = (
        store.read_artifact(report.id).path
        / "predictions"
        / f"{number.draft.report.rpartition('/')[2]}.parquet"
    )
    if not file.exists():
        raise NotFoundError(
            f"number {number.id} ({number.draft.report} {number.draft.name}) rests on no predictions of single cells"
        )
    predictions = pd.read_parquet(file)
    if not 0 <= row < len(predictions):
        raise BadInputError(f"--cell is {row}, but {file.name} has rows 0 to {len(predictions) - 1}")
    said = predictions.iloc[row]
    plate, fov, track, t = str(said["plate"]), str(said["fov_name"]), int(said["track_id"]), int(said["t"])
    found = _lineage(store, number, plate, fov)
    table = open_patch_table(
        store.read_artifact(found["patch_table"].id).path, acquisition=store.fetch(found["raw_acquisition"])
    )
    cells = table.cells
    (at,) = np.flatnonzero((cells["track_id"] == track) & (cells["t"] == t))
    crop = _crop(store, found["raw_acquisition"], table.info.parameters, cells.iloc[at], fov, t)
    chunks, gives = _chunks(store, found["raw_acquisition"], fov, crop, table.read([at])[0])
    return ExplainedCell(
        number,
        row,
        plate,
        fov,
        track,
        t,
        int(cells["lineage_root"].iloc[at]),
        tuple((str(name), _plain(said[name])) for name in predictions.columns if name not in _IDENTITY),
        (report, *found.values()),
        int(at),
        crop,
        chunks,
        gives,
    )


def _lineage(store: Store, number: Number, plate: str, fov: str) -> dict[str, Artifact]:
    """Embeddings, patch table, tracks and raw acquisition that this cell's prediction rests on, by asset."""
    embeddings = f"{number.draft.report.partition('/')[0]}_embeddings"
    wanted = {"patch_table": f"{plate}|{fov}", "tracks": f"{plate}|{fov}", "raw_acquisition": plate}
    wanted[embeddings] = f"{number.experiment}|{plate}"
    behind = store.ledger.artifacts_with_ids(
        sorted(store.ledger.ancestors([number.artifact_id]).artifact_ids)
    )
    embedded = [
        one.id for one in behind.values() if (one.asset, one.partition) == (embeddings, wanted[embeddings])
    ]
    # What is behind the embeddings: annotations may have been made for earlier tracks of the same FOV.
    ids = {*embedded, *store.ledger.ancestors(embedded).artifact_ids}
    found: dict[str, Artifact] = {}
    for artifact in store.ledger.artifacts_with_ids(sorted(ids)).values():
        if wanted.get(artifact.asset) == artifact.partition:
            found[artifact.asset] = artifact
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise NotFoundError(f"number {number.id} rests on no {missing[0]} of {wanted[missing[0]]}")
    order = (next(iter(found.keys() - {"patch_table", "tracks", "raw_acquisition"})), *list(wanted)[:3])
    return {asset: found[asset] for asset in order}


def _crop(
    store: Store, raw: Artifact, parameters: ResolvedPatches, cell: "pd.Series[float]", fov: str, t: int
) -> Crop:
    shape = open_acquisition(store.read_artifact(raw.id).path).info.position(fov).shape
    side = parameters.side_px
    y, x = (int(one) for one in crop_starts(np.array([[cell["y"], cell["x"]]], np.float64), side)[0])
    leaves = y < 0 or x < 0 or y + side > shape[3] or x + side > shape[4]
    names = tuple(channel.name for channel in parameters.channels)
    return Crop(t, names, parameters.z_range, (y, y + side), (x, x + side), leaves)


def _chunks(
    store: Store, raw: Artifact, fov: str, crop: Crop, patch: NDArray[np.generic]
) -> tuple[tuple[ChunkRange, ...], bool]:
    """The chunks that hold the crop, and whether they give `patch` `(C, Z, Y, X)`."""
    folder = store.read_artifact(raw.id).path
    info = open_acquisition(folder).info
    array = open_sharded(folder, f"{PLATE}/{fov}/0")
    inside = [_within(crop.y, array.shape[3]), _within(crop.x, array.shape[4])]
    found: list[ChunkRange] = []
    volumes = []
    for name in crop.channels:
        channel = info.channel_names.index(name)
        part = [(crop.t, crop.t + 1), (channel, channel + 1), crop.z, *inside]
        chunks = array.chunks_of(part)
        found += chunks
        volumes.append(array.read(part, chunks)[0, 0])
    rows, columns = (
        np.clip(np.arange(*asked), low, high - 1) - low
        for asked, (low, high) in zip((crop.y, crop.x), inside, strict=True)
    )
    pixels = np.stack(volumes)[:, :, rows[:, None], columns]
    return tuple(found), bool(np.array_equal(pixels, patch))


def _within(asked: tuple[int, int], length: int) -> tuple[int, int]:
    """The part of a range that lies in the frame; one edge pixel where all of it lies outside."""
    low = min(max(asked[0], 0), length - 1)
    return low, max(min(asked[1], length), low + 1)


def _plain(value: object) -> JsonValue:
    return value.item() if isinstance(value, np.generic) else str(value) if value is not None else None


def to_text(cell: ExplainedCell) -> str:
    """The prediction, the artifacts it went through, and the bytes that show the cell."""
    crop = cell.crop
    said = ", ".join(f"{name} {_short(value)}" for name, value in cell.predicted)
    lines = [
        number_text(cell.number),
        f"row {cell.row} of its predictions: plate {cell.plate}, FOV {cell.fov_name}, track {cell.track_id}, "
        f"t {cell.t}, lineage root {cell.lineage_root}: {said}",
    ]
    lines += [
        f"  {one.asset} {one.partition} · artifact {one.id} · {one.digest[:12]}" for one in cell.lineage
    ]
    edge = ", the frame's edge repeated outside" if crop.leaves_frame else ""
    lines.append(
        f"patch: row {cell.table_row} of its table, channels {', '.join(crop.channels)}, z {_span(crop.z)}, "
        f"y {_span(crop.y)}, x {_span(crop.x)}{edge}"
    )
    lines.extend(
        f"  {one.file} bytes {one.offset} to {one.offset + one.n_bytes - 1} = "
        + ", ".join(
            f"{axis} {_span(span)}"
            for axis, span in zip("tczyx", zip(one.start, one.stop, strict=True), strict=True)
        )
        for one in cell.chunks
    )
    lines.append(
        "these bytes give back the patch, pixel for pixel"
        if cell.gives_patch
        else "these bytes do NOT give back the patch: verify the plate"
    )
    return "\n".join(lines)


def to_json(cell: ExplainedCell) -> str:
    """The whole of it as one JSON document."""
    document: dict[str, JsonValue] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "number": {"id": cell.number.id, **asdict(cell.number.draft)},
        "row": cell.row,
        "plate": cell.plate,
        "fov_name": cell.fov_name,
        "track_id": cell.track_id,
        "t": cell.t,
        "lineage_root": cell.lineage_root,
        "predicted": dict(cell.predicted),
        "lineage": [
            {"id": one.id, "asset": one.asset, "partition": one.partition, "digest": one.digest}
            for one in cell.lineage
        ],
        "patch_table_row": cell.table_row,
        "crop": asdict(cell.crop),
        "chunks": [asdict(one) for one in cell.chunks],
        "chunks_give_patch": cell.gives_patch,
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _span(span: tuple[int, int]) -> str:
    return str(span[0]) if span[1] == span[0] + 1 else f"{span[0]} to {span[1] - 1}"


def _short(value: JsonValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
