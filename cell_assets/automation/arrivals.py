"""The sensor that brings plates in: what has arrived becomes a run, what cannot be taken goes into quarantine.

The ledger holds what became of every folder; the sensor's cursor only what is not still yet. A tick that was killed
anywhere is made good by the next one: an accepted arrival without a run is asked for again, under the same run key.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from cell_assets.assets.acquisitions import OnDuplicate
from cell_assets.assets.checks import first_of, quarantine_check_evaluation
from cell_assets.assets.choices import ExperimentChoices, merge
from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import EXPERIMENT, PARTITION_SAYS, PLATE, experiments, plates
from cell_assets.assets.recipes import AssetName
from cell_assets.audit.counting import counted
from cell_assets.automation.settling import ARRIVAL_TAG, settle
from cell_assets.errors import CellAssetsError
from cell_assets.landing.looking import Look
from cell_assets.landing.quarantine import quarantined
from cell_assets.landing.scan import Scan, ScanCursor, scan
from cell_assets.landing.side_files import ExperimentFile, PlateFile
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Arrival, ArrivalDraft, ArrivalState
from cell_assets.methods.registry import load_trainable
from cell_assets.settings import Settings
from cell_assets.store.store import Store

_LOOK_EVERY_S = 30

arrival_job = dg.define_asset_job(
    "ingest_arrival",
    selection=[AssetName.RAW_ACQUISITION.value, AssetName.PLATE_QC.value],
    partitions_def=plates,
    description="Bring a plate in that has arrived in a landing folder, and measure it.",
)


class SensorCursor(BaseModel):
    """What one tick leaves to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scan: ScanCursor = ScanCursor()
    settled_through: int = 0
    """No accepted arrival up to this id waits for its run any more."""

    @classmethod
    def read(cls, text: str | None) -> "SensorCursor":
        """The cursor as Dagster kept it; a new one where there is none, or somebody edited it."""
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class Tick:
    """What one look came to, for Dagster to act upon."""

    accepted: tuple[tuple[Arrival, PlateFile], ...]
    """Arrivals that need a run."""
    quarantine: Mapping[str, str] | None
    """Reason by folder, where it changed."""
    cursor: SensorCursor
    said: str
    """What happened, for the list of ticks."""


def arrivals_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor over the landing folders of `settings`, switched on from the start."""

    @dg.sensor(
        name="arrivals",
        job=arrival_job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=max(1, min(_LOOK_EVERY_S, int(settings.still_s))),
        description="Brings plates in that have arrived in the folders of CELL_ASSETS_LANDING.",
    )
    def arrivals(
        context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]
    ) -> dg.SensorResult | dg.SkipReason:
        if not settings.landing:
            return dg.SkipReason("CELL_ASSETS_LANDING names no landing folder, so nothing is watched")
        tick = look(settings, store, context.instance, SensorCursor.read(context.cursor), time.time())
        if tick.quarantine is not None:
            context.instance.report_runless_asset_event(quarantine_check_evaluation(tick.quarantine))
        context.log.info(tick.said)
        return dg.SensorResult(
            run_requests=[_run_request(arrival, file) for arrival, file in tick.accepted],
            dynamic_partitions_requests=list(
                _new_keys(context.instance, [file for _, file in tick.accepted])
            ),
            cursor=tick.cursor.model_dump_json(),
            skip_reason=None if tick.accepted else dg.SkipReason(tick.said),
        )

    return arrivals


def look(
    settings: Settings, store: Store, instance: dg.DagsterInstance, cursor: SensorCursor, now: float
) -> Tick:
    """One look at the runs of earlier arrivals and at all landing folders; what it finds is in the ledger after it.

    Args:
        now: seconds of the Unix clock.
    """
    ledger = store.ledger
    before = ledger.arrivals()
    settled = settle(instance, ledger, before, cursor.settled_through)
    ledger.record_arrivals(settled.drafts)
    # Arrivals that Dagster never heard of are as new: they are found, recorded as they are, and asked for again.
    unheard = {one.folder for one in settled.without_run}
    holding = {one.folder: one for one in (ledger.arrivals() if settled.drafts else before)}
    known = {folder: one for folder, one in holding.items() if folder not in unheard}
    found = scan(settings.landing, known, cursor.scan, still_s=settings.still_s, now=now)
    judged = _judge(ledger, found, settled.under_way)
    recorded = ledger.record_arrivals([draft for draft, _ in judged.drafts])
    accepted = [
        (arrival, file)
        for arrival, (_, file) in zip(recorded, judged.drafts, strict=True)
        if file is not None and arrival.state is ArrivalState.ACCEPTED
    ]
    now_holding = holding | {one.folder: one for one in recorded}
    held, held_before = quarantined(tuple(now_holding.values())), quarantined(before)
    taken = {one.folder for one in recorded}
    pending = {folder: seen for folder, seen in found.cursor.pending.items() if folder not in taken}
    left = SensorCursor(
        scan=found.cursor.model_copy(update={"pending": pending}), settled_through=settled.through
    )
    return Tick(
        tuple(accepted),
        held if held != held_before else None,
        left,
        _said(found, left, accepted, held, judged),
    )


@dataclass(frozen=True)
class _Judged:
    drafts: tuple[tuple[ArrivalDraft, PlateFile | None], ...]
    """What to record, with the plate where it is to be brought in."""
    waits: tuple[str, ...]
    """Who waits for whom."""


def _judge(ledger: Ledger, found: Scan, under_way: Mapping[str, Arrival]) -> _Judged:
    """What becomes of what has arrived. Of two folders with one plate the first goes, and the other waits for it."""
    going = {plate: arrival.folder for plate, arrival in under_way.items()}
    drafts: list[tuple[ArrivalDraft, PlateFile | None]] = []
    waits = []
    for one in found.arrived:
        if one.experiment is not None:
            drafts.append((_experiment_draft(ledger, one, one.experiment), None))
        elif one.problem is not None or one.plate is None:
            drafts.append((_draft(one, ArrivalState.QUARANTINED, one.problem or "it holds no plate"), None))
        elif going.setdefault(one.plate.plate, one.folder) != one.folder:
            waits.append(
                f"{one.folder} waits, as plate {one.plate.plate} comes from {going[one.plate.plate]}"
            )
        else:
            drafts.append((_draft(one, ArrivalState.ACCEPTED), one.plate))
    return _Judged(tuple(drafts), tuple(waits))


def _draft(look: Look, state: ArrivalState, reason: str | None = None) -> ArrivalDraft:
    file = look.plate or look.experiment
    return ArrivalDraft(
        folder=look.folder,
        digest=look.digest,
        fingerprint=look.fingerprint,
        experiment=None if file is None else file.experiment,
        plate=None if look.plate is None else look.plate.plate,
        state=state,
        # PostgreSQL's text takes no zero byte.
        reason=None if reason is None else reason.replace("\0", ""),
    )


def _experiment_draft(ledger: Ledger, look: Look, file: ExperimentFile) -> ArrivalDraft:
    """Record what an `experiment.yaml` says, or nothing of it where a part is wrong."""
    try:
        before = ExperimentChoices.of(ledger, file.experiment)
        values = before.model_dump(mode="json")
        merge(values, file.choices)
        for method in file.methods:
            values["training"].setdefault(method, {})
        choices = ExperimentChoices.checked(values, f"{look.folder}/experiment.yaml: choices")
        for method, training in choices.training.items():
            load_trainable(method).parameters(training.preset, training.changes)
        ledger.record_expected_plates(file.experiment, file.plates, file.closed, look.digest)
        if choices != before:
            choices.record(ledger, file.experiment)
    except CellAssetsError as error:
        return _draft(look, ArrivalState.QUARANTINED, str(error))
    return _draft(look, ArrivalState.ACCEPTED)


def _run_request(arrival: Arrival, file: PlateFile) -> dg.RunRequest:
    request = IngestRequest.of_landed(arrival.folder, file)
    config = {**as_config(request, PARTITION_SAYS), "on_duplicate": OnDuplicate(file.on_duplicate).value}
    return dg.RunRequest(
        # The digest, so that a corrected plate runs again; the arrival, so that a released one does.
        run_key=f"{arrival.digest}/{arrival.id}",
        partition_key=file.plate,
        run_config={"ops": {AssetName.RAW_ACQUISITION.value: {"config": config}}},
        tags={ARRIVAL_TAG: str(arrival.id)},
    )


def _new_keys(
    instance: dg.DagsterInstance, files: Sequence[PlateFile]
) -> Iterator[dg.AddDynamicPartitionsRequest]:
    """Keys that are new; those of positions come when the run has opened the plate."""
    for name, definition, keys in (
        (EXPERIMENT, experiments, [file.experiment for file in files]),
        (PLATE, plates, [file.plate for file in files]),
    ):
        there = set(instance.get_dynamic_partitions(name)) if keys else set()
        new = [key for key in dict.fromkeys(keys) if key not in there]
        if new:
            yield definition.build_add_request(new)


def _said(
    found: Scan,
    left: SensorCursor,
    accepted: Sequence[tuple[Arrival, PlateFile]],
    held: Mapping[str, str],
    judged: _Judged,
) -> str:
    parts = [f"{counted(found.n_folders, 'folder')} looked at"]
    if not found.is_complete:
        parts.append("time ran out, the next look goes on")
    if accepted:
        parts.append("arrived: " + ", ".join(arrival.folder for arrival, _ in accepted))
    if left.scan.pending:
        parts.append(f"not still yet: {first_of(sorted(left.scan.pending))}")
    if held:
        parts.append(f"in quarantine: {len(held)}")
    return "; ".join([*parts, *judged.waits, *found.unreachable])
