"""publish(): one commit to the ledger, then one event to Dagster, the same way for every asset.

The ledger is the truth and Dagster its display. An event is made from the ledger's rows and the published
bytes alone, so that the one which a crash swallowed can be emitted again later, word for word.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import dagster as dg

# Private, and so tied to the pinned version of Dagster.
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata, generate_event_batch_id

from cell_assets.assets.display import display_metadata, ledger_run_of
from cell_assets.assets.edges import EDGES, is_for_the_picture_only
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.planning import currency
from cell_assets.assets.recipes import RECIPES, AssetName, Recipe
from cell_assets.assets.sizing import GC_ADVICE, largest
from cell_assets.errors import CellAssetsError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import (
    Commit,
    JsonValue,
    ModelVersion,
    Number,
    NumberDraft,
    Provenance,
    ReadReceipt,
    RunDraft,
)
from cell_assets.store.boundaries import Boundary
from cell_assets.store.code_identity import code_identity
from cell_assets.store.store import Staged, Store

_PAGE = 200
"""Events read at a time."""

_BEFORE_EVERY_EVENT = 1
"""Pointer of an edge through which nothing was read. The first event of an instance shows no output; 0 would be
taken for no pointer, and what comes later for unchanged."""

_NOTHING_READ = "NULL"
"""Dagster's own data version of an output that was never made."""

_AFTER_EVERY_EVENT = 2**62
"""Pointer of an edge that joins all partitions: other experiments' plates must not make this one's data stale."""


_SHOWN_THROUGH = "cell_assets/shown_through"
"""Cursor in Dagster's own database, so that it is lost together with the events that it speaks of."""

_SURELY_COMMITTED = timedelta(hours=1)
"""Runs get their ids before they are committed: one with a smaller id may appear after a later one, but not so late."""


@dataclass(frozen=True)
class Written:
    """What a body says of the bytes it wrote."""

    numbers: tuple[NumberDraft, ...] = ()
    content_digest: str | None = None


@dataclass(frozen=True)
class Making:
    """One output on its way: what is made, with which parameters, since when."""

    recipe: Recipe
    partition: str
    parameters: Mapping[str, JsonValue]
    experiment: str | None
    dagster_run_id: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, output: ExperimentOutput, dagster_run_id: str) -> Self:
        """An experiment's output on its way."""
        return cls(
            RECIPES[output.asset],
            output.partition,
            output.parameters,
            output.experiment,
            dagster_run_id=dagster_run_id,
        )

    def run_draft(self, ledger: Ledger) -> RunDraft:
        """The ledger's record of this attempt."""
        return RunDraft(
            code=code_identity(self.recipe.code, ledger),
            parameters=self.parameters,
            started=self.started,
            dagster_run_id=self.dagster_run_id,
        )


class Publisher:
    """Commits outputs of one Dagster step and emits their events."""

    def __init__(self, context: dg.AssetExecutionContext, store: Store) -> None:
        self._context = context
        self._store = store

    def commit(
        self,
        staged: Staged,
        making: Making,
        receipts: Sequence[ReadReceipt],
        numbers: Sequence[NumberDraft] = (),
        content_digest: str | None = None,
    ) -> Commit:
        """Publish the staged bytes and record them; visible from here on, but not yet shown by Dagster."""
        return self._store.publish(
            staged,
            making.run_draft(self._store.ledger),
            receipts,
            making.recipe.format,
            numbers=numbers,
            content_digest=content_digest,
            experiment=making.experiment,
        )

    def emit(self, commits: Sequence[Commit]) -> None:
        """Show committed outputs of one asset in Dagster and record which event shows them."""
        runs = self._store.ledger.provenances(commit.run_id for commit in commits)
        self._log_together(materializations(self._store, runs))
        record_events(self._context.instance, self._store, runs)

    def _log_together(self, events: Sequence[dg.AssetMaterialization]) -> None:
        """Log events of one asset in one write, as Dagster does for its own, where its batches are switched on.

        `log_event` knows no batches: one by one, the events took as long as a small FOV's own work.
        """
        step, batch = self._context.get_step_execution_context(), generate_event_batch_id()
        for n, event in enumerate(events, start=1):
            is_last = n == len(events)
            DagsterEvent.asset_materialization(step, event, DagsterEventBatchMetadata(batch, is_last))

    def make(
        self,
        making: Making,
        receipts: Sequence[ReadReceipt],
        write: Callable[[Path], Written],
        restore: bool = False,
        committed: Callable[[], None] = lambda: None,
    ) -> Commit | None:
        """Make one output unless it is current: stage, `write`, publish, show. None when it was current.

        Args:
            committed: called between the commit and the event that shows it.
            restore: re-hash an output that is current, and make it again where its bytes are damaged.

        Raises:
            dg.Failure: `write` refused its input; the attempt and its sentence are in the ledger.
        """
        asset, partition = making.recipe.asset, making.partition
        state = currency(self._store, asset, partition, making.parameters, receipts)
        if state.is_current and not (restore and self._is_damaged(asset, partition)):
            self._context.log.info(f"{asset} {partition} is current ({state.why}): nothing to make")
            return None
        try:
            self._store.require_room(
                largest(self._store.ledger, asset) or 0, f"{asset} {partition}", GC_ADVICE
            )
            with self._store.write(asset, partition) as staged:
                written = write(staged.path)
                commit = self.commit(staged, making, receipts, written.numbers, written.content_digest)
        except CellAssetsError as error:
            self.record_failure(making, str(error), receipts)
            raise dg.Failure(description=str(error), allow_retries=False) from error
        committed()
        self.emit([commit])
        return commit

    def _is_damaged(self, asset: str, partition: str) -> bool:
        latest = self._store.ledger.latest(asset, partition)
        if latest is None:
            return False
        verdict = self._store.verify(latest.artifact)
        if not verdict.is_verified:
            self._context.log.warning(f"{asset} {partition} is not what was published: {verdict.why}")
        return not verdict.is_verified

    def record_failure(self, making: Making, error: str, receipts: Sequence[ReadReceipt] = ()) -> None:
        """Keep the attempt and its error in the ledger."""
        self._store.ledger.record_failure(
            making.recipe.asset,
            making.partition,
            making.run_draft(self._store.ledger),
            error,
            receipts,
        )


def materializations(store: Store, runs: Sequence[Provenance]) -> list[dg.AssetMaterialization]:
    """The events that show `runs`."""
    read = sorted({artifact.id for run in runs for artifact in run.inputs})
    storage_ids = {
        run.artifact_id: run.event_storage_id
        for run in store.ledger.runs_of(read)
        if run.artifact_id is not None and run.event_storage_id is not None
    }
    entries = store.ledger.entries_of_runs([run.run.id for run in runs])
    uncorrected = _uncorrected(store, runs)
    models: dict[int, list[ModelVersion]] = {}
    for version in store.ledger.model_versions([run.artifact.id for run in runs]):
        models.setdefault(version.artifact_id, []).append(version)
    numbers: dict[int, list[Number]] = {}
    for number in store.ledger.numbers_of_runs([run.run.id for run in runs]):
        numbers.setdefault(number.run_id, []).append(number)
    return [
        dg.AssetMaterialization(
            asset_key=run.run.asset,
            partition=run.run.partition,
            metadata=display_metadata(
                store,
                run,
                entries.get(run.run.id),
                numbers.get(run.run.id, []),
                models.get(run.artifact.id, []),
            ),
            tags=_provenance_tags(run, storage_ids) | uncorrected.get(run.run.id, {}),
        )
        for run in runs
    ]


def _provenance_tags(run: Provenance, storage_ids: Mapping[int, int]) -> dict[str, str]:
    """The tags by which the UI calls an output stale: its code, its digest and, for every edge, what was read.

    Args:
        storage_ids: artifact id to the storage id of the event that shows it.
    """
    tags = {
        "dagster/code_version": run.run.code.code_version[:12],
        "dagster/data_version": run.artifact.digest[:12],
    }
    for edge in EDGES[run.run.asset]:
        upstream = edge.asset_key.to_user_string()
        shown = {
            storage_ids[artifact.id]: artifact
            for artifact in run.inputs
            if artifact.asset == upstream and artifact.id in storage_ids
        }
        if not shown:
            if is_for_the_picture_only(edge):
                tags |= _pointer(upstream, _NOTHING_READ, _AFTER_EVERY_EVENT)
            continue
        # Dagster keeps one pointer per edge and asks whether any partition has a later event.
        newest = max(shown)
        pointer = _AFTER_EVERY_EVENT if is_for_the_picture_only(edge) else newest
        tags |= _pointer(upstream, shown[newest].digest[:12], pointer)
    return tags


def _pointer(upstream: str, data_version: str, storage_id: int) -> dict[str, str]:
    """The tags of one edge: without both, Dagster takes it for a new one and calls the output stale."""
    return {
        f"dagster/input_data_version/{upstream}": data_version,
        f"dagster/input_event_pointer/{upstream}": str(storage_id),
    }


def _uncorrected(store: Store, runs: Sequence[Provenance]) -> dict[int, dict[str, str]]:
    """By run that made tracks without corrections, the tags that say so."""
    without = [
        run
        for run in runs
        if run.run.asset == AssetName.TRACKS
        and all(artifact.asset != AssetName.TRACK_CORRECTIONS for artifact in run.inputs)
    ]
    # There may be some that were withdrawn: they are no news.
    withdrawn = store.ledger.latest_many(AssetName.TRACK_CORRECTIONS, [run.run.partition for run in without])
    tags = {}
    for run in without:
        newest = withdrawn.get(run.run.partition)
        shown = None if newest is None else newest.run.event_storage_id
        tags[run.run.id] = _pointer(AssetName.TRACK_CORRECTIONS, _NOTHING_READ, shown or _BEFORE_EVERY_EVENT)
    return tags


def record_events(instance: dg.DagsterInstance, store: Store, runs: Sequence[Provenance]) -> None:
    """Write into the ledger which event shows each run."""
    for run in runs:
        store.reached(Boundary.EVENT, run.run.asset, run.run.partition)
    store.ledger.announce(_storage_ids(instance, runs))


def emit_lost_events(instance: dg.DagsterInstance, store: Store) -> int:
    """Show in Dagster what a crash committed but did not show; returns how many.

    A run that Dagster still holds to be alive shows its own events, so it is left alone. Every command and step asks
    this first, so Dagster remembers up to which run of the ledger all are shown, and only later ones are looked at.
    """
    ledger = store.ledger
    seen = instance.daemon_cursor_storage.get_cursor_values({_SHOWN_THROUGH}).get(_SHOWN_THROUGH)
    shown_through = int(seen) if seen else 0
    settled = ledger.newest_run_ended_before(ledger.now() - _SURELY_COMMITTED)
    unannounced: list[int] = []
    alive: list[int] = []
    for run in ledger.unannounced(after=shown_through):
        dagster_run = instance.get_run_by_id(run.dagster_run_id) if run.dagster_run_id else None
        is_alive = dagster_run is not None and not dagster_run.is_finished
        (alive if is_alive else unannounced).append(run.id)
    n_shown = show_runs(instance, store, unannounced)
    through = min([settled, *(run_id - 1 for run_id in alive)])
    if through > shown_through:
        instance.daemon_cursor_storage.set_cursor_values({_SHOWN_THROUGH: str(through)})
    return n_shown


def show_runs(instance: dg.DagsterInstance, store: Store, run_ids: Sequence[int]) -> int:
    """Show those of these ledger runs that Dagster does not show yet; returns how many they were."""
    runs = store.ledger.provenances(run_ids)
    shown = _storage_ids(instance, runs)
    hidden = [run for run in runs if run.run.id not in shown]
    for event in materializations(store, hidden):
        instance.report_runless_asset_event(event)
    record_events(instance, store, runs)
    return len(hidden)


def _storage_ids(instance: dg.DagsterInstance, runs: Sequence[Provenance]) -> dict[int, int]:
    """Ledger run to the storage id of the event that shows it, for those that are shown.

    Reads the newest events first, and for a run that is not shown all events of its asset's partition.
    """
    wanted: dict[str, set[int]] = {}
    partitions: dict[str, list[str]] = {}
    for run in runs:
        wanted.setdefault(run.run.asset, set()).add(run.run.id)
        partitions.setdefault(run.run.asset, []).append(run.run.partition)
    found: dict[int, int] = {}
    for asset, keys in partitions.items():
        asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=keys)
        cursor, has_more = None, True
        while has_more and wanted[asset] - found.keys():
            page = instance.fetch_materializations(asked, limit=_PAGE, cursor=cursor)
            cursor, has_more = page.cursor, page.has_more
            for record in page.records:
                event = record.asset_materialization
                shown = ledger_run_of(event) if event is not None else None
                if shown is not None and shown in wanted[asset]:
                    found[shown] = record.storage_id
    return found
