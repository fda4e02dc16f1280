"""The state of partitioned checks, kept between two looks at a page.

With every page that shows a check Dagster reads the newest result of each of its partitions and adds them to sets one
by one, which takes seconds of a webserver for 86,400 FOVs. Here what changed since the last look is read, and each set
is made at once. All of it is private to Dagster, and so tied to its pinned version.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from dagster import AssetCheckKey, DagsterEventType, PartitionsDefinition, RunsFilter
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.instance import DagsterInstance
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
    AssetCheckPartitionInfo,
)
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.storage.dagster_run import FINISHED_STATUSES, DagsterRunStatus
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

_LATE_S = 60.0
"""An event may be seen later than one with a higher id, by as long as it takes to store those that go together."""
_LATE_EVENTS = 10_000
"""So many of them may be late at the first look."""
_READ_ANEW_S = 600.0
"""What leaves no event behind, as a key that another process deleted, is seen after so long."""
_CHANGED_AT_MOST = 5_000
"""Of more partitions all are read, which asks less of the database than a list of them."""

_RESOLVED = {
    AssetCheckExecutionRecordStatus.SUCCEEDED: AssetCheckExecutionResolvedStatus.SUCCEEDED,
    AssetCheckExecutionRecordStatus.FAILED: AssetCheckExecutionResolvedStatus.FAILED,
}


@dataclass(frozen=True)
class _Planned:
    """A check that a run is to execute."""

    run_id: str


@dataclass
class _Known:
    """What was read of one check."""

    definition: PartitionsDefinition[str]
    since: float
    looks: list[tuple[float, int]] = field(default_factory=list)
    """When it was looked at, and the newest event's id then, from the newest look that is `_LATE_S` ago."""
    results: dict[str, AssetCheckExecutionResolvedStatus | _Planned] = field(default_factory=dict)
    """Of every partition whose newest bytes were checked, or will be."""
    state: AssetCheckState | None = None

    def is_of(self, definition: PartitionsDefinition[str]) -> bool:
        return self.definition == definition and time.monotonic() - self.since < _READ_ANEW_S

    def settled(self) -> int:
        """Events up to this id need not be looked at again."""
        old = [n for n, (when, _) in enumerate(self.looks) if time.monotonic() - when >= _LATE_S]
        if not old:
            return self.looks[0][1] - _LATE_EVENTS
        del self.looks[: old[-1]]
        return self.looks[0][1]


class CheckStates:
    """For one event log storage; memory: 140 bytes for each partition of each check."""

    def __init__(self, storage: SqlEventLogStorage) -> None:
        self._storage = storage
        self._known: dict[AssetCheckKey, _Known] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Read everything anew at the next look."""
        with self._lock:
            self._known.clear()

    def of(
        self, instance: DagsterInstance, keys: Iterable[tuple[AssetCheckKey, PartitionsDefinition[str]]]
    ) -> dict[AssetCheckKey, AssetCheckState]:
        """The state of each of these checks, all partitioned."""
        with self._lock:
            return {key: self._of(instance, key, definition) for key, definition in keys}

    def _of(
        self, instance: DagsterInstance, key: AssetCheckKey, definition: PartitionsDefinition[str]
    ) -> AssetCheckState:
        known = self._known.get(key)
        if known is None or not known.is_of(definition):
            known = self._known[key] = _Known(definition, time.monotonic())
        newest = self._storage.get_maximum_record_id() or 0
        changed = None if known.state is None else self._changed(key, known.settled(), newest)
        if changed is not None and len(changed) > _CHANGED_AT_MOST:
            known.results.clear()
            changed = None
        if changed is None or changed:
            infos = self._storage.get_asset_check_partition_info([key], partition_keys=changed)
            _take(infos, known)
        awaits = any(isinstance(one, _Planned) for one in known.results.values())
        if known.state is None or changed is None or changed or awaits:
            known.state = _state(instance, key, known, newest)
        # Last, so that a look that fails is no look.
        known.looks.append((time.monotonic(), newest))
        return known.state

    def _changed(self, key: AssetCheckKey, after: int, newest: int) -> list[str]:
        """Partitions with an execution of the check, or with new bytes, after an event; the newest is given."""
        if newest == after:
            return []
        checks, events = AssetCheckExecutionsTable.c, SqlEventLogStorageTable.c
        asset = key.asset_key.to_string()
        executed = sa.select(checks.partition).where(
            checks.asset_key == asset,
            checks.check_name == key.name,
            checks.evaluation_event_storage_id > after,
            checks.partition.is_not(None),
        )
        made = sa.select(events.partition).where(
            events.asset_key == asset,
            events.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value,
            events.id > after,
            events.partition.is_not(None),
        )
        with self._storage.index_connection() as connection:
            return list(connection.execute(executed.union(made)).scalars())


def _take(infos: Sequence[AssetCheckPartitionInfo], known: _Known) -> None:
    for info in infos:
        partition = info.partition_key
        if partition is None:
            continue
        known.results.pop(partition, None)
        if not known.definition.has_partition_key(partition):
            continue
        if info.latest_execution_status is AssetCheckExecutionRecordStatus.PLANNED:
            known.results[partition] = _Planned(info.latest_planned_run_id)
        elif info.is_current:
            known.results[partition] = _RESOLVED[info.latest_execution_status]


def _state(instance: DagsterInstance, key: AssetCheckKey, known: _Known, newest: int) -> AssetCheckState:
    """As Dagster says it: planned checks of a run that has ended were skipped, or failed with it."""
    by_status: dict[AssetCheckExecutionResolvedStatus, list[str]] = defaultdict(list)
    by_run: dict[str, list[str]] = defaultdict(list)
    for partition, result in known.results.items():
        if isinstance(result, _Planned):
            by_run[result.run_id].append(partition)
        else:
            by_status[result].append(partition)
    ended = _ended(instance, list(by_run))
    for run_id, partitions in by_run.items():
        by_status[_of_run(ended.get(run_id))] += partitions

    def subset(partitions: list[str]) -> SerializableEntitySubset[AssetCheckKey]:
        return SerializableEntitySubset.from_coercible_value(key, partitions, known.definition)

    return AssetCheckState(
        latest_storage_id=newest,
        subsets={status: subset(by_status[status]) for status in AssetCheckExecutionResolvedStatus},
        in_progress_runs={run: subset(partitions) for run, partitions in by_run.items() if run not in ended},
    )


def _ended(instance: DagsterInstance, run_ids: list[str]) -> Mapping[str, DagsterRunStatus]:
    if not run_ids:
        return {}
    runs = instance.get_runs(RunsFilter(run_ids=run_ids, statuses=FINISHED_STATUSES))
    return {run.run_id: run.status for run in runs}


def _of_run(status: DagsterRunStatus | None) -> AssetCheckExecutionResolvedStatus:
    if status is None:
        return AssetCheckExecutionResolvedStatus.IN_PROGRESS
    if status is DagsterRunStatus.FAILURE:
        return AssetCheckExecutionResolvedStatus.EXECUTION_FAILED
    return AssetCheckExecutionResolvedStatus.SKIPPED
