"""Raw acquisitions and their quality: where every history begins."""

import shutil
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import (
    quality_check_evaluations,
    quality_check_specs,
    quarantine_check_evaluation,
    quarantine_check_spec,
    standing_check_specs,
)
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.display import FIGURES
from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.launchpad import one_of, request_fields, stated_request
from cell_assets.assets.partitions import PARTITION_SAYS, plates, register_plate_keys
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.assets.registering import (
    refuse_other_bytes,
    refuse_other_experiment,
    refuse_other_options,
)
from cell_assets.assets.sizing import GC_ADVICE
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.assets.table_request import rows_of
from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError
from cell_assets.landing.checksums import verify_checksums
from cell_assets.landing.quarantine import quarantined
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Plate
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store


class OnDuplicate(StrEnum):
    """What to do with a plate that came before, with the same bytes, from elsewhere."""

    REGISTER = "register"
    """Make it, and let the ledger say that it is registered already."""
    IGNORE = "ignore"
    """Make nothing, and end well."""
    QUARANTINE = "quarantine"
    """Make nothing, and fail."""


_ON_DUPLICATE = "on_duplicate"


@dg.multi_asset(
    name="raw_acquisition",
    specs=[
        asset_spec(
            AssetName.RAW_ACQUISITION,
            "acquisitions",
            "A plate as it was filmed, as OME-Zarr, equal to its source pixel for pixel. The Launchpad's config says "
            "where a new plate lies, as `cell-assets ingest` does; empty, a registered plate is made again from its "
            "source.",
            {"zarr"},
        )
    ],
    partitions_def=plates,
    can_subset=True,
    check_specs=[*standing_check_specs(AssetName.RAW_ACQUISITION), quarantine_check_spec()],
    config_schema={
        **request_fields(IngestRequest, PARTITION_SAYS),
        _ON_DUPLICATE: dg.Field(
            one_of("acquisitions.OnDuplicate", [one.value for one in OnDuplicate]),
            is_required=False,
            description="What to do with a plate that came before, with the same bytes, from elsewhere. One of "
            f"{', '.join(one.value for one in OnDuplicate)}. Default: {OnDuplicate.REGISTER.value}.",
        ),
    },
)
def raw_acquisition(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    progress: dg.ResourceParam[ProgressDisplay],
) -> StepResults:
    """Ingest the plate, or make it again from the source that it was registered with."""
    begin(context, store)
    plate = context.partition_key
    given = dict(context.op_execution_context.op_config or {})
    on_duplicate = OnDuplicate(given.pop(_ON_DUPLICATE, OnDuplicate.REGISTER))
    try:
        stated = stated_request(IngestRequest, AssetName.RAW_ACQUISITION.value, given, {"plate": plate})
        request = stated or registered(store.ledger, plate)
        refuse_other_experiment(store.ledger, plate, request.experiment)
        with ExitStack() as fetched:
            with Progress(context, progress, f"fetching {plate}", 0) as bar:
                local = fetched.enter_context(request.at_hand(_fetched(context, store), bar.stand))
            _ingest(context, store, progress, request, local, on_duplicate)
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.log_event(quarantine_check_evaluation(quarantined(store.ledger.arrivals())))
    yield finished(context, store, AssetName.RAW_ACQUISITION.value)


def _ingest(
    context: dg.AssetExecutionContext,
    store: Store,
    progress: ProgressDisplay,
    request: IngestRequest,
    local: IngestRequest,
    on_duplicate: OnDuplicate,
) -> None:
    """Check, write and register a plate; `local` is the request with its files on this machine."""
    from cell_assets.imaging.ingest import prepare_ingest

    plate = request.plate
    if local.checksums is not None:
        with Progress(context, progress, f"verifying {plate}", 0) as bar:
            n_files = verify_checksums(Path(local.checksums), local.checksum_kind, bar.stand)
        context.log.info(f"{n_files} files are as {request.checksums} lists them")
    prepared = prepare_ingest(Path(local.source), local.options())
    digest = prepared.source_digest
    refuse_other_bytes(store, AssetName.RAW_ACQUISITION, plate, digest)
    if on_duplicate is not OnDuplicate.REGISTER:
        before = came_before(store, request, local)
        if before is not None:
            if on_duplicate is OnDuplicate.QUARANTINE:
                raise BadInputError(f"{before}; its plate.yaml says that such a copy is to be quarantined")
            context.log.info(f"{before}: nothing to make")
            return
    known = store.ledger.plate(plate)
    refuse_other_options(plate, None if known is None else request_of(known), request)
    register_plate_keys(
        context.instance, request.experiment, plate, [place.name for place in prepared.source.positions]
    )
    parameters = {**request.recorded(), **local.side_digests(), "source_digest": digest}
    making = Making(
        RECIPES[AssetName.RAW_ACQUISITION], plate, parameters, None, dagster_run_id=context.run_id
    )

    def write(folder: Path) -> Written:
        store.require_room(prepared.bytes_at_most, f"plate {plate}", GC_ADVICE)
        with Progress(context, progress, f"ingesting {plate}", 0) as bar:
            info = prepared.write(folder, bar.stand)
        return Written(content_digest=info.content_digest)

    commit = Publisher(context, store).make(making, (), write, restore=True)
    register(store, request)
    if commit is not None:
        context.log.info(f"plate {plate} is artifact {commit.artifact.id}, digest {commit.artifact.digest}")


def _fetched(context: dg.AssetExecutionContext, store: Store) -> Path:
    """Where this run may fetch a remote plate to; what runs that were killed left there is removed."""
    folder = store.root.parent / "fetched"
    for left in folder.iterdir() if folder.is_dir() else ():
        run = context.instance.get_run_by_id(left.name)
        if run is None or run.is_finished:
            shutil.rmtree(left, ignore_errors=True)
    return folder / context.run_id


def came_before(store: Store, request: IngestRequest, local: IngestRequest) -> str | None:
    """Say where a plate with the same bytes and options came from before; None when it did not, or from here."""
    plate, latest = (
        store.ledger.plate(request.plate),
        store.ledger.latest(AssetName.RAW_ACQUISITION, request.plate),
    )
    if plate is None or latest is None or plate.draft.source_uri == request.source:
        return None
    if not request.says_the_same(latest.run.parameters, local):
        return None
    return (
        f"plate {request.plate} came before with the same bytes from {plate.draft.source_uri} "
        f"(artifact {latest.artifact.id})"
    )


@dg.multi_asset(
    name="plate_qc",
    specs=[
        asset_spec(
            AssetName.PLATE_QC,
            "acquisitions",
            "Quality of a plate: focus, saturation, flatness, drift, bleaching, edge effects, controls; heat maps.",
            {"parquet"},
        )
    ],
    partitions_def=plates,
    can_subset=True,
    check_specs=quality_check_specs(),
)
def plate_qc(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Measure a plate."""
    begin(context, store)
    plate = context.partition_key
    folder, receipt = store.read(AssetName.RAW_ACQUISITION, plate)
    making = Making(RECIPES[AssetName.PLATE_QC], plate, {}, None, dagster_run_id=context.run_id)

    def write(out: Path) -> Written:
        from cell_assets.imaging.acquisition import open_acquisition
        from cell_assets.imaging.quality.plate_quality import plate_quality
        from cell_assets.imaging.quality.wells import plate_layout
        from cell_assets.reporting.plate_heat_map import write_plate_heat_maps

        acquisition = open_acquisition(folder)
        quality = plate_quality(acquisition)
        quality.write(out)
        layout = plate_layout([well.name for well in acquisition.info.wells])
        if layout is not None and quality.screening is not None:
            write_plate_heat_maps(out / FIGURES, quality.screening.wells, layout)
        return Written()

    Publisher(context, store).make(making, [receipt], write)
    # Of what is published, made just before or long ago: thresholds may have changed since.
    for evaluation in quality_checks(store, plate):
        context.log_event(evaluation)
    yield finished(context, store, AssetName.PLATE_QC.value)


def quality_checks(store: Store, plate: str) -> list[dg.AssetCheckEvaluation]:
    """What the checks say of a plate's newest quality, by the thresholds of its experiment."""
    from cell_assets.imaging.quality.breaches import held_against
    from cell_assets.imaging.quality.plate_quality import read_plate_quality

    folder, _ = store.read(AssetName.PLATE_QC, plate)
    quality = read_plate_quality(folder)
    thresholds = ExperimentChoices.of(store.ledger, registered(store.ledger, plate).experiment).quality
    empty = [f"{frame.fov_name} {frame.channel} t={frame.t}" for frame in quality.empty_frames]
    return quality_check_evaluations(plate, empty, thresholds, held_against(quality, thresholds))


def registered(ledger: Ledger, plate: str) -> IngestRequest:
    """How a registered plate was ingested.

    Raises:
        NotFoundError: no plate of that name was ever ingested.
    """
    record = ledger.plate(plate)
    if record is None:
        raise NotFoundError(
            f"plate {plate} is not registered, so nobody knows where its pixels are: run `cell-assets ingest`"
        )
    return request_of(record)


def request_of(plate: Plate) -> IngestRequest:
    """The request that a plate was registered with.

    Raises:
        BadInputError: it was not filmed.
    """
    if rows_of(plate) is not None:
        raise BadInputError(
            f"plate {plate.draft.name} came as a {plate.draft.source_format}, without images; give a filmed plate "
            "another name"
        )
    return IngestRequest.model_validate(
        {
            **plate.draft.ingest_options,
            "source": plate.draft.source_uri,
            "experiment": plate.draft.experiment,
            "plate": plate.draft.name,
        }
    )


def register(store: Store, request: IngestRequest) -> None:
    """Make a published acquisition's plate known to the ledger; does nothing when it is."""
    from cell_assets.imaging.acquisition import open_acquisition

    folder, _ = store.read(AssetName.RAW_ACQUISITION, request.plate)
    info = open_acquisition(folder).info
    store.ledger.register_plate(
        request.plate_draft(info.source_format, info.wells, tuple(p.name for p in info.positions))
    )
