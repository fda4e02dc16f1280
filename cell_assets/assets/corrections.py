"""Corrections that people make of tracks: handed in by `cell-assets correct`, kept as versions of their own.

Each version holds what stands of all before it, so that one artifact tells the tracks stage everything.
"""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, ConfigDict

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.launchpad import request_fields, stated_request
from cell_assets.assets.partitions import PARTITION_SAYS, fov_key, fovs, position_of
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.correction_history import CorrectionHistory, read_correction_history, read_handed_in
from cell_assets.imaging.track_corrections import apply_corrections
from cell_assets.imaging.track_tables import Column, division_count
from cell_assets.imaging.tracking import read_found_tracks, read_tracks
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState, JsonValue, ReadReceipt
from cell_assets.store.store import Store


class CorrectionRequest(BaseModel):
    """What a person hands in: corrections, or a whole edited track table, of one position."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    plate: str
    position: str
    file: str
    """Absolute path."""
    by: str
    """Who looked."""
    why: str
    """What was wrong."""

    @property
    def key(self) -> str:
        """The position's partition."""
        return fov_key(self.plate, self.position)

    def recorded(self) -> dict[str, JsonValue]:
        """The run's parameters: who, why, and the file's name; what it held is in the artifact."""
        return {"by": self.by, "why": self.why, "file": Path(self.file).name}


@dataclass(frozen=True)
class CorrectedTracks:
    """What a request makes of a position's tracks, in memory."""

    history: CorrectionHistory
    before: ReadReceipt | None
    """The corrections that it follows."""
    n_tracks: tuple[int, int]
    """Without and with this file."""
    n_divisions: tuple[int, int]


@dg.multi_asset(
    name="track_corrections",
    specs=[
        asset_spec(
            AssetName.TRACK_CORRECTIONS,
            "fovs",
            "What people corrected of the tracks of one FOV so far, and why; by `cell-assets correct`, or by the "
            "Launchpad's config.",
            {"csv"},
        )
    ],
    partitions_def=fovs,
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=standing_check_specs(AssetName.TRACK_CORRECTIONS),
    config_schema=request_fields(CorrectionRequest, PARTITION_SAYS),
)
def track_corrections(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Record what a person handed in; asked for without a file, as by a backfill of everything, do nothing."""
    begin(context, store)
    if (request := _handed_in(context)) is not None:
        # Two people at once: the second one's file must follow the first one's, not replace it.
        with store.ledger.lock("handing in track_corrections", request.key):
            _record(context, store, request)
    else:
        context.log.info("corrections come from people, by `cell-assets correct`: nothing to make")
    yield finished(context, store, AssetName.TRACK_CORRECTIONS.value)


def _handed_in(context: dg.AssetExecutionContext) -> CorrectionRequest | None:
    """What the config states."""
    given = context.op_execution_context.op_config or {}
    try:
        identity = position_of(context.partition_keys) if given else {}
        return stated_request(CorrectionRequest, AssetName.TRACK_CORRECTIONS.value, given, identity)
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _record(context: dg.AssetExecutionContext, store: Store, request: CorrectionRequest) -> None:
    try:
        corrected = correct_tracks(store, request)
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    making = Making(
        RECIPES[AssetName.TRACK_CORRECTIONS],
        request.key,
        request.recorded(),
        None,
        dagster_run_id=context.run_id,
    )

    def write(folder: Path) -> Written:
        corrected.history.write(folder)
        return Written()

    Publisher(context, store).make(making, [corrected.before] if corrected.before else [], write)


def correct_tracks(store: Store, request: CorrectionRequest) -> CorrectedTracks:
    """Apply a request to what was found, after all corrections that stand; writes nothing.

    Raises:
        BadInputError: what is handed in is not sound or does not fit the tracks, or nobody says who and why.
        NotFoundError: there is no such position, or it has no tracks yet.
    """
    for name, text in (("--why", request.why), ("--by", request.by)):
        if not text.strip():
            raise BadInputError(f"{name} is empty: say it for whoever meets the corrected tracks")
    refuse_absent(store.ledger, request.plate, request.position)
    acquisition, _ = store.read(AssetName.RAW_ACQUISITION, request.plate)
    tracks, _ = store.read(AssetName.TRACKS, request.key)
    extent = open_acquisition(acquisition).info.position(request.position).extent
    handed_in = read_handed_in(Path(request.file), request.position, extent)
    found = read_found_tracks(tracks)
    newest = store.ledger.latest(AssetName.TRACK_CORRECTIONS, request.key, ArtifactState.PRESENT)
    earlier = (
        CorrectionHistory.none_of(request.position, found)
        if newest is None
        else read_correction_history(store.fetch(newest.artifact))
    )
    if isinstance(handed_in, tuple):
        before = earlier.apply(found if earlier.table is None else earlier.table)
        after = apply_corrections(before, handed_in, request.file)
    else:
        # It takes the place of whatever was corrected before, which need not fit any more.
        before, after = read_tracks(tracks), handed_in
    return CorrectedTracks(
        history=earlier.followed_by(handed_in, request.by, request.why),
        before=None if newest is None else store.receipt(newest.artifact),
        n_tracks=(before[Column.TRACK_ID].nunique(), after[Column.TRACK_ID].nunique()),
        n_divisions=(division_count(before), division_count(after)),
    )


def refuse_absent(ledger: Ledger, plate: str, position: str) -> None:
    """Nothing when the position stands.

    Raises:
        NotFoundError: the plate is not registered, or has no such position, or it was withdrawn.
    """
    record = ledger.plate(plate)
    if record is None:
        raise NotFoundError(f"plate {plate} is not registered: run `cell-assets ingest` for it")
    if position in record.withdrawn:
        raise NotFoundError(
            f"position {position} of plate {plate} was withdrawn: {record.withdrawn[position]}"
        )
    if position not in record.draft.positions:
        raise NotFoundError(
            f"plate {plate} has no position {position}; it has {', '.join(record.draft.positions[:5])}"
            + (" …" if len(record.draft.positions) > 5 else "")
        )
