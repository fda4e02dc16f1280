"""The partition's lock goes with the connection that holds it, in the middle of publishing: bytes stay whole."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Commit
from cell_assets.store.boundaries import Boundary
from cell_assets.store.store import Store
from cell_assets_tests.store.drafts import contents, leftovers, publish

KEY = "P1|A/1/000"
FILES = {"tracks.parquet": b"rows"}


def end_all_connections(url: str) -> None:
    """What a restart of the server does to a lock."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    engine.dispose()


def test_who_lost_the_lock_records_the_bytes_that_another_recorded_first(
    postgres_ledger_url: str, tmp_path: Path
) -> None:
    others: list[Commit] = []

    def lose(boundary: Boundary, asset: str, partition: str) -> None:
        if boundary is Boundary.RENAME:
            end_all_connections(postgres_ledger_url)
            others.append(publish(second, KEY, FILES))

    with Ledger.open(postgres_ledger_url) as ledger, Ledger.open(postgres_ledger_url) as another:
        first, second = Store(tmp_path / "store", ledger, observer=lose), Store(tmp_path / "store", another)
        mine = publish(first, KEY, FILES)
        (other,) = others
        assert (other.recreated, mine.recreated) == (False, True)
        assert ledger.artifacts() == (mine.artifact,) == (other.artifact,)
        assert [run.id for run in ledger.runs(mine.artifact.id)] == [other.run_id, mine.run_id]
        assert first.verify(mine.artifact).is_verified
        assert contents(first.read("tracks", KEY).path) == FILES
        assert leftovers(first) == []


def test_who_lost_the_lock_and_fails_takes_nothing_from_another(
    postgres_ledger_url: str, tmp_path: Path
) -> None:
    placed, may_fail = threading.Event(), threading.Event()

    def fail_later(boundary: Boundary, asset: str, partition: str) -> None:
        if boundary is Boundary.RENAME:
            placed.set()
            assert may_fail.wait(60)
            raise RuntimeError("fails after it lost the lock")

    def let_fail(boundary: Boundary, asset: str, partition: str) -> None:
        if boundary is Boundary.RENAME:
            may_fail.set()
            failing.join()

    def run() -> None:
        with pytest.raises(RuntimeError, match="lost the lock"):
            publish(first, KEY, FILES)
        failed.set()

    failed, failing = threading.Event(), threading.Thread(target=run)
    with Ledger.open(postgres_ledger_url) as ledger, Ledger.open(postgres_ledger_url) as another:
        first = Store(tmp_path / "store", ledger, observer=fail_later)
        second = Store(tmp_path / "store", another, observer=let_fail)
        failing.start()
        assert placed.wait(60)
        end_all_connections(postgres_ledger_url)
        made = publish(second, KEY, FILES)
        assert failed.is_set()
        assert second.verify(made.artifact).is_verified
        assert contents(second.read("tracks", KEY).path) == FILES
        assert ledger.open_intents() == ()
        second.sweep()
        assert leftovers(second) == []
