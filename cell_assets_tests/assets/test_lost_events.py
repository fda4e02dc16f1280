"""Events that a crash kept from Dagster are shown, and looking for them does not read the whole of history."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from cell_assets.assets import publishing
from cell_assets.assets.publishing import emit_lost_events
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import Store
from cell_assets_tests.ledger.making import make, run_draft

ASSET = "raw_acquisition"


@pytest.fixture
def store(postgres_ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    # Every run of a test has just ended.
    monkeypatch.setattr(publishing, "_SURELY_COMMITTED", timedelta(0))
    with Ledger.open(postgres_ledger_url) as ledger:
        yield Store(tmp_path, ledger)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@contextmanager
def looked_after() -> Iterator[list[int]]:
    """From which run on the ledger was searched for unshown runs, each time."""
    found: list[int] = []

    def note(connection: object, cursor: object, statement: str, parameters: object, *others: object) -> None:
        if "announcement.run_id IS NULL" in statement:
            assert isinstance(parameters, dict)
            found.append(parameters["id_1"])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def shown(instance: dg.DagsterInstance) -> list[str | None]:
    """Partitions of the events, oldest first."""
    records = instance.fetch_materializations(dg.AssetKey(ASSET), limit=100, ascending=True).records
    return [record.partition_key for record in records]


def test_what_was_found_shown_is_not_looked_at_again(store: Store, instance: dg.DagsterInstance) -> None:
    runs = [make(store.ledger, ASSET, f"P{n}", content=str(n)).run_id for n in range(3)]
    with looked_after() as looked:
        assert emit_lost_events(instance, store) == 3
        assert emit_lost_events(instance, store) == 0
        later = make(store.ledger, ASSET, "P3", content="3").run_id
        assert emit_lost_events(instance, store) == 1
        assert emit_lost_events(instance, store) == 0
    assert looked == [0, runs[-1], runs[-1], later]
    assert shown(instance) == ["P0", "P1", "P2", "P3"]


def test_a_living_run_is_looked_at_until_it_ends(store: Store, instance: dg.DagsterInstance) -> None:
    before = make(store.ledger, ASSET, "P0", content="0", run=run_draft()).run_id
    run = dg.DagsterRun(
        job_name="job", run_id=str(run_draft().dagster_run_id), status=dg.DagsterRunStatus.STARTED
    )
    emit_lost_events(instance, store)
    instance.add_run(run)
    make(store.ledger, ASSET, "P1", content="1")
    with looked_after() as looked:
        assert emit_lost_events(instance, store) == 0
        assert emit_lost_events(instance, store) == 0
        instance.report_run_failed(run)
        assert emit_lost_events(instance, store) == 1
    assert looked == [before] * 3
    assert shown(instance) == ["P0", "P1"]


def test_what_ended_just_now_is_looked_at_again(
    store: Store, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_SURELY_COMMITTED", timedelta(hours=1))
    make(store.ledger, ASSET, "P0", content="0")
    with looked_after() as looked:
        assert emit_lost_events(instance, store) == 1
        assert emit_lost_events(instance, store) == 0
    assert looked == [0, 0]
