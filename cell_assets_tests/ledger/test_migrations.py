"""The schema: reached by many at once, equal to the tables in code, and closed to changes of history."""

import subprocess
import sys
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
    with engine.write() as transaction:
        transaction.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadInputError, match=r"schema revision '9999', newer than '\d+'"):
        Ledger.open(ledger_url)
    engine.close()


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


def test_sqlite_needs_no_driver_of_postgresql(tmp_path: Path) -> None:
    """A ledger in a file can be audited where psycopg2 is not installed."""
    program = (
        "import sys; sys.modules['psycopg2'] = None\n"
        "from cell_assets.ledger.ledger import Ledger\n"
        "with Ledger.open(sys.argv[1]) as ledger: print(ledger.store_blob(b'x'), ledger.check_chain().faults)"
    )
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "()"


def test_a_server_that_does_not_answer_is_one_sentence_without_the_password() -> None:
    with pytest.raises(CellAssetsError, match="cannot be opened") as caught:
        Ledger.open("postgresql://someone:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
