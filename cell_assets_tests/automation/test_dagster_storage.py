"""Dagster's storage over connections that end, and over a server that is away for a while."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef

from cell_assets.automation.dagster_storage import (
    PatientEventLogStorage,
    PatientPostgresStorage,
    PatientRunStorage,
    PatientScheduleStorage,
)
from cell_assets_tests.automation.helm_values import helm_values
from cell_assets_tests.automation.instances import instance_on
from cell_assets_tests.ledger.cutting import Cut, Forwarder, forwarder


@pytest.fixture(scope="module")
def dagster_url(postgres_url: str) -> str:
    """A database with Dagster's tables."""
    url = postgres_url.replace("/cell_assets?", "/cell_assets_dagster?")
    PatientPostgresStorage(url)
    return url


@pytest.fixture
def cutter(dagster_url: str) -> Iterator[Forwarder]:
    """A forwarder to Dagster's database; cuts nothing until it has a plan."""
    with forwarder(dagster_url) as forward:
        yield forward


def shown(instance: dg.DagsterInstance, asset: str) -> list[tuple[str | None, str]]:
    """Partition and data version of every event of an asset, by what events and their index say."""
    key = dg.AssetKey(asset)
    found = []
    for record in instance.fetch_materializations(key, limit=1000).records:
        (tags,) = instance.event_log_storage.get_event_tags_for_asset(key, filter_event_id=record.storage_id)
        found.append((record.partition_key, tags["dagster/data_version"]))
    return sorted(found)


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_an_event_is_stored_once_wherever_its_connection_is_cut(
    cutter: Forwarder, tmp_path: Path, cut: Cut
) -> None:
    asset = f"cut_{cut.name.lower()}"
    with instance_on(cutter.url, tmp_path) as instance:
        for n in itertools.count():
            seen = itertools.count()
            cutter.plan = lambda query, n=n, seen=seen: cut if next(seen) == n else None  # type: ignore[misc]
            before = cutter.n_cuts
            event = dg.AssetMaterialization(
                asset, partition=f"{n:03d}", tags={"dagster/data_version": str(n)}
            )
            instance.report_runless_asset_event(event)
            was_cut = cutter.n_cuts > before
            cutter.plan = lambda query: None
            assert shown(instance, asset) == [(f"{one:03d}", str(one)) for one in range(n + 1)]
            if not was_cut:
                break
    assert n > 4


# Dagster's own storage asks again for six seconds.
@pytest.mark.parametrize("away_s", [1, 15])
def test_a_run_waits_for_a_server_that_is_away(cutter: Forwarder, tmp_path: Path, away_s: float) -> None:
    """A step logs, and ends, while nobody answers."""

    @dg.op
    def silent(context: dg.OpExecutionContext) -> None:
        cutter.go_away()
        threading.Timer(away_s, cutter.listen).start()
        context.log.info("said while nobody answered")

    @dg.job
    def work() -> None:
        silent()

    with instance_on(cutter.url, tmp_path) as instance:
        result = work.execute_in_process(instance=instance, raise_on_error=False)
        assert result.success
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        said = [entry.user_message for entry in instance.all_logs(result.run_id)]
        assert said.count("said while nobody answered") == 1


def test_keys_of_partitions_are_read_once_for_a_page(cutter: Forwarder, tmp_path: Path) -> None:
    keys = [f"P1|A/1/{n:03d}" for n in range(300)]
    asked: list[str] = []
    with instance_on(cutter.url, tmp_path) as instance:
        instance.add_dynamic_partitions("fov", keys[:-1])
        cutter.plan = lambda query: asked.append(query)  # type: ignore[func-returns-value]
        assert all(instance.has_dynamic_partition("fov", key) for key in keys[:-1])
        assert len([query for query in asked if "FROM dynamic_partitions" in query]) < 60

        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with instance_on(cutter.url, elsewhere) as other:
            other.add_dynamic_partitions("fov", keys[-1:])
        assert instance.has_dynamic_partition("fov", keys[-1])
        assert not instance.has_dynamic_partition("fov", "P1|Z/9/999")
        instance.delete_dynamic_partition("fov", keys[0])
        assert not instance.has_dynamic_partition("fov", keys[0])


@pytest.mark.parametrize("names_each", [True, False])
def test_the_charts_dagster_yaml_gets_these_storages(
    dagster_url: str, tmp_path: Path, names_each: bool
) -> None:
    """As `docker/k8s/values.yaml` asks; a connection is kept, and made anew where it leads nowhere."""
    config = {"config": {"postgres_url": dagster_url}}
    storage = (
        {
            "run_storage": {
                "module": "dagster_postgres.run_storage",
                "class": "PostgresRunStorage",
                **config,
            },
            "event_log_storage": {
                "module": "dagster_postgres.event_log",
                "class": "PostgresEventLogStorage",
                **config,
            },
            "schedule_storage": {
                "module": "dagster_postgres.schedule_storage",
                "class": "PostgresScheduleStorage",
                **config,
            },
        }
        if names_each
        else {"storage": {"postgres": config["config"]}}
    )
    asked = helm_values()["additionalInstanceConfig"]["instance_class"]
    ref = InstanceRef.from_dir(str(tmp_path), overrides={"instance_class": asked, **storage})
    with dg.DagsterInstance.from_ref(InstanceRef.from_dict(ref.to_dict())) as instance:
        events = instance.event_log_storage
        assert isinstance(events, PatientEventLogStorage)
        assert isinstance(instance.run_storage, PatientRunStorage)
        assert isinstance(instance.schedule_storage, PatientScheduleStorage)

        def backend() -> int:
            with events.index_connection() as connection:
                return int(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())

        kept = backend()
        assert backend() == kept
        with sa.create_engine(dagster_url).connect() as other:
            assert other.execute(
                sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": kept}
            ).scalar_one()
        asset = "kept_of_each" if names_each else "kept"
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="one"))
        assert backend() != kept
        page = instance.fetch_materializations(dg.AssetKey(asset), limit=10)
        assert [record.partition_key for record in page.records] == ["one"]


def test_what_is_kept_is_closed_with_the_instance(dagster_url: str, tmp_path: Path) -> None:
    pid = sa.text("SELECT pg_backend_pid()")
    with instance_on(dagster_url, tmp_path) as instance:
        events, runs = instance.event_log_storage, instance.run_storage
        assert isinstance(events, PatientEventLogStorage)
        assert isinstance(runs, PatientRunStorage)
        with events.index_connection() as one, runs.connect() as other:
            kept = {int(connection.execute(pid).scalar_one()) for connection in (one, other)}

    engine = sa.create_engine(dagster_url)

    def living() -> set[int]:
        with engine.connect() as connection:
            return kept & set(connection.execute(sa.text("SELECT pid FROM pg_stat_activity")).scalars())

    # A server process ends a moment after its client has gone.
    until = time.monotonic() + 10
    while living() and time.monotonic() < until:
        time.sleep(0.05)
    assert len(kept) == 2
    assert living() == set()
