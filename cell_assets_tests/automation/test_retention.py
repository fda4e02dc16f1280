"""The nightly retention on a real instance: what it removes, and that nothing that the UI shows rests on that."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from cell_assets.assets.partitions import fovs
from cell_assets.assets.recipes import RECIPES
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.retention import PROGRESS_EVENTS, retain, trim_event_log
from cell_assets.automation.session import Session
from cell_assets.definitions import build_defs
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import instance_of, opened, tiny_plate

DAY = timedelta(days=1)


@pytest.fixture
def settings(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lab of its own, on a server whose sessions are half a day away from UTC."""
    url = postgres_url.replace("/cell_assets?", "/retention?")
    return Settings(home=tmp_path_factory.mktemp("home"), database_url=url, workers=1)


def rows(instance: dg.DagsterInstance) -> list[sa.Row[tuple[int, str | None]]]:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    event = SqlEventLogStorageTable.c
    with storage.index_connection() as connection:
        return list(connection.execute(sa.select(event.id, event.dagster_event_type, event.run_id)).all())


def age(instance: dg.DagsterInstance, by: timedelta) -> None:
    """Make every event older."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    event = SqlEventLogStorageTable.c
    with storage.index_connection() as connection:
        connection.execute(sa.update(SqlEventLogStorageTable).values(timestamp=event.timestamp - by))


def shown(session: Session) -> dict[str, object]:
    """Everything that the UI says of assets: partitions by status, checks, events; worked out anew."""
    said: dict[str, object] = {}
    with instance_of(session) as instance:
        storage = instance.event_log_storage
        keys = list(fovs.get_partition_keys(dynamic_partitions_store=instance))
        for asset in RECIPES:
            key = dg.AssetKey(asset)
            storage.wipe_asset_cached_status(key)
            if asset in ("segmentation", "tracks", "patch_table"):
                said[f"{asset} status"] = dict(instance.get_status_by_partition(key, keys, fovs) or {})
            made = instance.fetch_materializations(key, limit=1000).records
            said[f"{asset} events"] = [record.storage_id for record in made]
        checks = storage.get_latest_asset_check_execution_by_key(
            [key for asset in build_defs().assets or () for key in asset.check_keys]  # type: ignore[union-attr]
        )
        said["checks"] = {str(key): (record.status, record.id) for key, record in checks.items()}
        said["runs"] = {run.run_id: run.status for run in instance.get_runs()}
    return said


def test_old_progress_goes_and_nothing_that_is_shown(settings: Settings, tmp_path: Path) -> None:
    plate = tiny_plate(tmp_path / "plate")
    with opened(settings) as session:
        ingest_plate(session, plate.request("E1", "P1"))
        url = session.addresses.dagster.replace("postgresql+psycopg2", "postgresql")
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("ALTER DATABASE retention_dagster SET timezone TO 'Pacific/Auckland'")
        with session.executor() as executor:
            chain = ["segmentation", "tracks", "patch_table"]
            assert executor.materialise(chain, partition="P1|A/1/000").succeeded
            # A run that fails: its partition is red.
            executor.instance.add_dynamic_partitions("position", ["Z/9/9"])
            assert not executor.materialise(chain, partition="P1|Z/9/9").succeeded
        assert session.reconcile(mend=False).left == ()
        before = shown(session)
        with instance_of(session) as instance:
            age(instance, 90 * DAY - timedelta(minutes=5))
            assert trim_event_log(instance, 90 * DAY) == 0
            age(instance, timedelta(minutes=10))
            kinds = Counter(row.dagster_event_type for row in rows(instance))
            progress = sum(n for kind, n in kinds.items() if kind is None or kind in PROGRESS_EVENTS)
            runless = [row.id for row in rows(instance) if row.run_id == ""]
            assert progress > 20
            assert trim_event_log(instance, 90 * DAY) == progress
            left = Counter(row.dagster_event_type for row in rows(instance))
            assert left == Counter(
                {kind: n for kind, n in kinds.items() if kind is not None and kind not in PROGRESS_EVENTS}
            )
            assert set(runless) <= {row.id for row in rows(instance)}
            for kept in (
                "ASSET_MATERIALIZATION",
                "ASSET_CHECK_EVALUATION",
                "STEP_FAILURE",
                "PIPELINE_FAILURE",
            ):
                assert left[kept] > 0, kept
        assert shown(session) == before
        assert session.reconcile(mend=False).left == ()

        before = shown(session)  # reconcile just answered its checks anew
        # The job, as its schedule runs it, with the ages of the settings; a run in progress keeps its own log.
        with instance_of(session) as instance:
            done = (
                build_defs(settings=session.settings)
                .resolve_job_def("retain")
                .execute_in_process(instance=instance)
            )
            assert done.success
            events = instance.all_logs(done.run_id)
        assert any("0 artifacts evicted" in (one.user_message or "") for one in events)
        assert {key: value for key, value in shown(session).items() if key != "runs"} == {
            key: value for key, value in before.items() if key != "runs"
        }


def test_the_schedule_is_on_and_in_utc() -> None:
    (schedule,) = (one for one in build_defs().schedules or () if one.name == "nightly_retain")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == retain.name
