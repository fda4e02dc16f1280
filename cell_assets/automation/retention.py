"""What the daemon lets go of every night: old log lines of finished runs, what crashes left, bytes out of use.

Ticks of schedules and sensors are Dagster's own to remove, see `dagster.yaml`. Nothing here touches history: that is
the ledger's, and what Dagster shows of it rests on events that are never removed.
"""

from datetime import timedelta

import dagster as dg
import sqlalchemy as sa

# Private, and so tied to the pinned version of Dagster.
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable
from dagster_postgres.event_log import PostgresEventLogStorage

from cell_assets.assets.evicting import evict, plan_evictions
from cell_assets.errors import BadInputError
from cell_assets.resources.lab import Retention
from cell_assets.store.room import said_bytes
from cell_assets.store.store import Store

PROGRESS_EVENTS = (
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "LOGS_CAPTURED",
    "OBJECT_STORE_OPERATION",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
)
"""Events that only tell how a run went along. All others stay: whatever is about an asset or a check, since status and
checks in the UI rest on it, failures and retries, and the start and end of every run."""

_AT_ONCE = 10_000
"""Rows of one transaction: a table of millions is not locked for minutes."""

_ENDED = [
    one.value
    for one in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]


def trim_event_log(instance: dg.DagsterInstance, older_than: timedelta) -> int:
    """Remove log lines and progress events of finished runs that are older; returns how many.

    Dagster keeps times as UTC without a zone, and they are held against the database's clock in UTC, whatever zone
    its sessions are in.

    Raises:
        BadInputError: the instance does not keep its events in PostgreSQL.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        raise BadInputError("only an event log in PostgreSQL is trimmed: set CELL_ASSETS_DATABASE_URL")
    event, run = SqlEventLogStorageTable.c, RunsTable.c
    now = sa.func.timezone("UTC", sa.func.clock_timestamp())
    finished = sa.select(run.run_id).where(run.status.in_(_ENDED))
    old = (
        sa.select(event.id)
        .where(
            event.timestamp < now - older_than,
            event.run_id.in_(finished),
            event.dagster_event_type.is_(None) | event.dagster_event_type.in_(PROGRESS_EVENTS),
        )
        .limit(_AT_ONCE)
    )
    removed = 0
    while True:
        with storage.index_connection() as connection:
            found = connection.execute(
                sa.delete(SqlEventLogStorageTable).where(event.id.in_(old.scalar_subquery()))
            )
        removed += found.rowcount
        if found.rowcount < _AT_ONCE:
            return removed


@dg.op
def trim_log(context: dg.OpExecutionContext, retention: dg.ResourceParam[Retention]) -> None:
    """Remove old progress of finished runs from Dagster's event log."""
    days = retention.event_log_days
    removed = trim_event_log(context.instance, timedelta(days=days))
    context.log.info(
        f"removed {removed} log lines and progress events of finished runs, older than {days} days"
    )
    context.add_output_metadata({"removed": removed})


@dg.op
def let_go(
    context: dg.OpExecutionContext, store: dg.ResourceParam[Store], retention: dg.ResourceParam[Retention]
) -> None:
    """Sweep what crashes left, then evict what is out of use and can be made again; as `cell-assets gc` does."""
    swept = store.sweep()
    done = evict(store, plan_evictions(store, timedelta(days=retention.evict_after_days)))
    for one in done.gone:
        context.log.info(f"evicted {one.sentence}")
    copies = store.let_go_of_copies(timedelta(days=retention.copy_days))
    freed = swept.freed_bytes + done.freed_bytes
    context.log.info(f"{len(done.gone)} artifacts evicted, {said_bytes(freed)} freed with what crashes left")
    if store.bucket is not None:
        context.log.info(f"{said_bytes(copies)} of copies that nobody reads let go of; the bucket keeps them")
    context.add_output_metadata({"evicted": len(done.gone), "freed_bytes": freed, "copies_bytes": copies})


@dg.job(description="Remove old progress of runs, what crashes left, and bytes that are out of use.")
def retain() -> None:
    """Two ops."""
    trim_log()
    let_go()


def retention_schedule() -> dg.ScheduleDefinition:
    """Every night at 3:00 UTC, after the other nightly jobs; switched on from the start."""
    return dg.ScheduleDefinition(
        name="nightly_retain",
        job=retain,
        cron_schedule="0 3 * * *",
        execution_timezone="UTC",
        description=retain.description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
