"""The schema: reached by many at once, equal to the tables in code, and closed to changes of history."""

import multiprocessing
import traceback
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger import migrations
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import REVISIONS, current_revision, upgrade
from cell_assets.ledger.schema import HISTORY_TABLES, metadata
from cell_assets_tests.ledger.making import fill_every_table, make


@pytest.fixture
def empty_url(ledger_url: str) -> str:
    """A database that holds nothing yet."""
    if ledger_url.startswith("postgresql"):
        engine = sa.create_engine(ledger_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
    return ledger_url


def test_revisions_in_code_are_the_revisions_on_disk() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS
    assert scripts.get_heads() == [REVISIONS[-1]]


def test_every_revision_can_be_reached_and_the_last_equals_the_tables_in_code(empty_url: str) -> None:
    engine = LedgerEngine(empty_url)
    for revision in REVISIONS:
        upgrade(engine, revision)
        with engine.read() as connection:
            assert current_revision(connection) == revision
    with engine.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        assert compare_metadata(context, metadata) == []
        checks = {
            (table, check["name"])
            for table in metadata.tables
            for check in sa.inspect(connection).get_check_constraints(table)
        }
    engine.close()
    assert checks == {
        (table.name, str(constraint.name))
        for table in metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint)
    }


def test_opening_twice_changes_nothing(empty_url: str) -> None:
    with Ledger.open(empty_url) as first:
        made = make(first, "raw")
    with Ledger.open(empty_url) as second:
        assert second.artifact(made.artifact.id) == made.artifact


def test_a_newer_schema_is_refused_by_name(ledger_url: str) -> None:
    Ledger.open(ledger_url).close()
    engine = LedgerEngine(ledger_url)
    with engine.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadInputError, match=r"schema revision '9999', newer than '\d+'"):
        Ledger.open(ledger_url)
    engine.close()


def _open_with_others(url: str, together: Barrier, results: "multiprocessing.Queue[str]") -> None:
    together.wait()
    try:
        with Ledger.open(url) as ledger:
            make(ledger, "raw", content="same")
        results.put("opened")
    except Exception:  # noqa: BLE001 - the parent shows it
        results.put(traceback.format_exc())


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    together, results = spawn.Barrier(4), spawn.Queue()
    processes = [
        spawn.Process(target=_open_with_others, args=(empty_url, together, results)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["opened"] * 4
    for process in processes:
        process.join()
    with Ledger.open(empty_url) as ledger:
        (artifact,) = ledger.artifacts()
        assert len(ledger.runs(artifact.id)) == 4


def test_history_cannot_be_edited(ledger: Ledger, ledger_url: str) -> None:
    fill_every_table(ledger)
    engine = sa.create_engine(ledger_url)
    assert len(HISTORY_TABLES) == len(metadata.tables) - 1
    for table in HISTORY_TABLES:
        column = next(iter(metadata.tables[table].c)).name
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
            refused = pytest.raises(sa.exc.DBAPIError, match=f"table {table} is append-only")
            with refused, engine.begin() as connection:
                connection.exec_driver_sql(statement)
    engine.dispose()


def test_truncation_is_an_edit_too(postgres_ledger_url: str) -> None:
    engine = sa.create_engine(postgres_ledger_url)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE artifact CASCADE")
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "names no PostgreSQL database and no SQLite file"),
        ("mysql://u@h/d", "names no PostgreSQL database"),
        ("not a url", "cannot be read"),
    ],
)
def test_an_unusable_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        Ledger.open(url)


def test_a_server_that_does_not_answer_is_one_sentence_without_the_password() -> None:
    with pytest.raises(CellAssetsError, match="cannot be opened") as caught:
        Ledger.open("postgresql://someone:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
