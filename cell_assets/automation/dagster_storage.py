"""Dagster's storage in PostgreSQL, which waits for a server that is away and keeps what pages ask for again and again.

Dagster's own asks again for six seconds; then the step that wanted to log an event ends, and the run with it, of which
nothing can be recorded. It connects anew for every event; a connection that it keeps, as in a webserver, it does not
ask whether it still leads anywhere.
"""

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from dagster import AssetCheckKey, DagsterInstance, EventLogEntry, PartitionsDefinition
from dagster._core.events import DagsterEvent
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.storage.event_log import EventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetEventTagsTable
from dagster._core.storage.runs import RunStorage
from dagster._core.storage.schedules import ScheduleStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry

from cell_assets.automation.check_states import CheckStates
from cell_assets.ledger.lost_connections import PATIENCE_S, Patience

_KEYS_HOLD_S = 10.0
"""So long a page that asks for one partition after the other is answered from one look at the database."""
_ASKED_ONE_BY_ONE = 50
"""So many are looked for one by one first, so that who asks for few does not read all."""


class PatientPostgresStorage(DagsterPostgresStorage):
    """What `dagster.yaml` names; configured as Dagster's own."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self.postgres_url = postgres_url
        self.should_autocreate_tables = should_autocreate_tables
        self._inst_data = inst_data
        # Each looks for its tables by a connection that is not waited for.
        _wait_for(postgres_url)
        self._run_storage = PatientRunStorage(postgres_url, should_autocreate_tables)
        self._event_log_storage = PatientEventLogStorage(postgres_url, should_autocreate_tables)
        self._schedule_storage = PatientScheduleStorage(postgres_url, should_autocreate_tables)
        super(DagsterPostgresStorage, self).__init__()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PatientPostgresStorage":
        """Built by Dagster from what `dagster.yaml` says."""
        tables = bool(config_value.get("should_autocreate_tables", True))
        return PatientPostgresStorage(pg_url_from_config(config_value), tables, inst_data)


class _KeepsConnections:
    """A storage with one connection that it keeps, and more while it needs them, closed with its instance.

    Each is asked before use whether it leads anywhere. By default Dagster connects three times for every event.
    """

    _engine: sa.Engine

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimize_for_webserver(statement_timeout=0, pool_recycle=3600, max_overflow=8)

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Called again by a webserver, which has limits of its own."""
        super().optimize_for_webserver(statement_timeout, pool_recycle, max_overflow)  # type: ignore[misc]
        _ask_before_use(self._engine)

    def dispose(self) -> None:
        """Close what is kept open."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


class _PartitionKeys:
    """Keys of one kind of partitions that are known to be there, for `_KEYS_HOLD_S` at most."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.asked = itertools.count()
        self.there: frozenset[str] | None = None

    def are_old(self) -> bool:
        return time.monotonic() - self._since > _KEYS_HOLD_S


class PatientEventLogStorage(_KeepsConnections, PostgresEventLogStorage):
    """Events, each stored once, whatever becomes of the connection meanwhile."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._keys: dict[str, _PartitionKeys] = {}
        self._check_states = CheckStates(self)
        super().__init__(*args, **kwargs)

    def has_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> bool:
        """Whether there is this key.

        For the state of a partitioned check Dagster asks that of every key, in a query each, with every page.
        """
        keys = self._keys.get(partitions_def_name)
        if keys is None or keys.are_old():
            keys = self._keys[partitions_def_name] = _PartitionKeys()
        if keys.there is None and next(keys.asked) >= _ASKED_ONE_BY_ONE:
            keys.there = frozenset(self.get_dynamic_partitions(partitions_def_name))
        # One that was not there may be by now.
        known = keys.there is not None and partition_key in keys.there
        return known or super().has_dynamic_partition(partitions_def_name, partition_key)

    def delete_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> None:
        """Forget a key; other processes may know it for `_KEYS_HOLD_S` longer."""
        super().delete_dynamic_partition(partitions_def_name, partition_key)
        self._keys.pop(partitions_def_name, None)
        self._check_states.forget()

    def get_asset_check_state(
        self, keys: Sequence[tuple[AssetCheckKey, PartitionsDefinition[str] | None]]
    ) -> Mapping[AssetCheckKey, AssetCheckState]:
        """What is known of checks, of partitioned ones by what changed since the last look."""
        whole = [(key, None) for key, definition in keys if definition is None]
        partitioned = [(key, definition) for key, definition in keys if definition is not None]
        of_whole = super().get_asset_check_state(whole) if whole else {}
        return {**of_whole, **self._check_states.of(self._instance, partitioned)}

    def _connect(self) -> AbstractContextManager[sa.Connection]:
        return _connected(self._engine)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event of a run."""
        self._store_once([event], lambda: super(PatientEventLogStorage, self).store_event(event))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of a run together."""
        self._store_once(events, lambda: super(PatientEventLogStorage, self).store_event_batch(events))

    def _store_once(self, events: Sequence[EventLogEntry], store: Callable[[], None]) -> None:
        attempts = itertools.count()

        def attempt() -> None:
            if next(attempts) > 0:
                self._forget(events)
            store()

        _patience(self._engine.url).outlive(attempt)

    def _forget(self, events: Sequence[EventLogEntry]) -> None:
        """Take back what an attempt stored whose connection was lost."""
        rows = [self._event_to_row(one) for one in events]
        log, tags = SqlEventLogStorageTable.c, AssetEventTagsTable.c
        stored = sa.select(log.id).where(
            log.run_id.in_([row["run_id"] for row in rows]), log.event.in_([row["event"] for row in rows])
        )
        with self.index_transaction() as connection:
            connection.execute(sa.delete(AssetEventTagsTable).where(tags.event_id.in_(stored)))
            connection.execute(sa.delete(SqlEventLogStorageTable).where(log.id.in_(stored)))


class PatientRunStorage(_KeepsConnections, PostgresRunStorage):
    """Runs and their states."""

    def connect(self) -> AbstractContextManager[sa.Connection]:
        """A connection, waited for."""
        return _connected(self._engine)

    def handle_run_event(self, run_id: str, event: DagsterEvent, *args: Any, **kwargs: Any) -> None:
        """Bring a run into the state that an event of it says."""

        def handle() -> None:
            super(PatientRunStorage, self).handle_run_event(run_id, event, *args, **kwargs)

        _patience(self._engine.url).outlive(handle)


class PatientScheduleStorage(_KeepsConnections, PostgresScheduleStorage):
    """Sensors, schedules and their ticks."""

    def connect(self, run_id: str | None = None) -> AbstractContextManager[sa.Connection]:
        """A connection, waited for."""
        return _connected(self._engine)


class LabInstance(DagsterInstance):
    """Dagster with these storages where its Helm chart writes `dagster.yaml`, which names its own: `instance_class`."""

    def __init__(
        self,
        *,
        run_storage: RunStorage,
        event_storage: EventLogStorage,
        schedule_storage: ScheduleStorage,
        **given: Any,
    ) -> None:
        if isinstance(run_storage, PostgresRunStorage):
            run_storage = PatientRunStorage(run_storage.postgres_url)
        if isinstance(event_storage, PostgresEventLogStorage):
            event_storage = PatientEventLogStorage(event_storage.postgres_url)
        if isinstance(schedule_storage, PostgresScheduleStorage):
            schedule_storage = PatientScheduleStorage(schedule_storage.postgres_url)
        super().__init__(
            run_storage=run_storage, event_storage=event_storage, schedule_storage=schedule_storage, **given
        )

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """It has no config of its own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """Those of Dagster."""
        return InstanceRef.config_defaults(base_dir)


@functools.cache
def _patience(url: sa.URL) -> Patience:
    """One for each database: its three storages do not wait one after the other for a server that stays away."""
    patience = Patience(f"Dagster's database at {url.render_as_string()}", PATIENCE_S)
    # Commands and services reach a server before they open Dagster on it: its address is not wrong.
    patience.note_answer()
    return patience


def _wait_for(url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    _connected(engine).close()


def _connected(engine: sa.Engine) -> sa.Connection:
    return _patience(engine.url).outlive(engine.connect)


def _ask_before_use(engine: sa.Engine) -> None:
    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: ConnectionPoolEntry, proxy: object) -> None:
        dialect = engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError(str(error)) from error
