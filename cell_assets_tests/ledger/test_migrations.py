"""The schema: reached by many at once, equal to the tables in code, and closed to changes of history."""

import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger import migrations
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import REVISIONS, current_revision, upgrade
from cell_assets.ledger.schema import HISTORY_TABLES, metadata
from cell_assets_tests.ledger.making import fill_every_table, make
from cell_assets_tests.ledger.schema_text import schema_text, stored, tables_text


def test_revisions_in_code_are_the_revisions_on_disk() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS
    assert scripts.get_heads() == [REVISIONS[-1]]


def test_every_revision_makes_the_schema_that_is_stored_for_it(empty_url: str) -> None:
    engine = LedgerEngine(empty_url)
    for revision in REVISIONS:
        upgrade(engine, revision)
        with engine.read() as connection:
            assert current_revision(connection) == revision
            path, found = stored(revision, connection.dialect.name), schema_text(connection)
        assert path.exists(), (
            f"revision {revision} has no stored schema: run python -m {schema_text.__module__}, review {path.name}"
        )
        differences = unified_diff(
            path.read_text().splitlines(), found.splitlines(), path.name, "migrated to"
        )
        assert found == path.read_text(), (
            "\n".join(differences)
            + "\nA released revision never changes: make a new one. For one that nobody "
            f"has yet, delete {path.name} and run python -m {schema_text.__module__}"
        )
    engine.close()


def test_the_tables_in_code_are_those_of_the_last_revision(empty_url: str) -> None:
    """Columns, types, defaults, keys, checks and indexes, partial ones too; triggers are the migrations' alone."""
    engine = sa.create_engine(empty_url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        made = tables_text(connection)
        whole = stored(REVISIONS[-1], connection.dialect.name).read_text()
    engine.dispose()
    assert made == whole[: len(made)]
    assert "table " not in whole[len(made) :].replace("'table ", "")


def test_every_table_of_history_has_its_triggers() -> None:
    for table in HISTORY_TABLES:
        postgresql, sqlite = (stored(REVISIONS[-1], name).read_text() for name in ("postgresql", "sqlite"))
        refused = f"BEFORE DELETE OR UPDATE OR TRUNCATE ON public.{table} FOR EACH STATEMENT EXECUTE FUNCTION"
        assert f"CREATE TRIGGER append_only {refused} refuse_change_of_history()\n" in postgresql
        for change in ("update", "delete"):
            assert f"TRIGGER append_only_{table}_{change} BEFORE {change} ON" in sqlite


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
        ("not a url: secret", "cannot be read"),
        ("postgresql://u:p@h:secret/d", "cannot be read"),
    ],
)
def test_an_unusable_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        Ledger.open(url)
    assert "secret" not in str(caught.value)


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
