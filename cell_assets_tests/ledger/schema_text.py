"""A database's schema as text to review and compare: tables, constraints, indexes, triggers and functions.

The text of every revision is kept in `schemas/`. After adding a revision, write its text with

    python -m cell_assets_tests.ledger.schema_text

review it, and commit it with the revision. Texts that are there already are left alone: what a released revision
made is what databases in the world hold.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cell_assets.database.embedded import open_database
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.migrations.upgrade import REVISIONS, upgrade
from cell_assets.settings import Settings

_FOLDER = Path(__file__).parent / "schemas"
_MADE_BY_STATEMENT = {
    "postgresql": """
        SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
    """,
    "sqlite": "SELECT sql FROM sqlite_master WHERE type IN ('trigger', 'view')",
}
"""What SQLAlchemy does not reflect, as the statements that make it."""


def stored(revision: str, dialect: str) -> Path:
    """The file that says what a revision's schema is."""
    return _FOLDER / f"{revision}.{dialect}.txt"


def schema_text(connection: sa.Connection) -> str:
    """The whole schema, in an order of its own, so that equal schemas have equal texts."""
    made = connection.exec_driver_sql(_MADE_BY_STATEMENT[connection.dialect.name]).scalars()
    # SQLite keeps a statement as it was typed: "well" and well are one table.
    statements = sorted(statement.strip().replace('"', "") for statement in made)
    return tables_text(connection) + "".join(f"\n{statement}\n" for statement in statements)


def tables_text(connection: sa.Connection) -> str:
    """The tables of the schema, without Alembic's own."""
    inspector = sa.inspect(connection)
    names = sorted(set(inspector.get_table_names()) - {"alembic_version"})
    return "\n".join("\n".join(_table(inspector, name)) + "\n" for name in names)


def _table(inspector: sa.Inspector, table: str) -> Iterator[str]:
    yield f"table {table}"
    for column in sorted(inspector.get_columns(table), key=lambda column: column["name"]):
        yield f"    {_column(inspector, column)}"
    key = inspector.get_pk_constraint(table)
    yield f"    primary key {key['name']} ({', '.join(key['constrained_columns'])})"
    yield from sorted(
        f"    unique {one['name']} ({', '.join(one['column_names'])})"
        for one in inspector.get_unique_constraints(table)
    )
    yield from sorted(
        f"    foreign key {one['name']} ({', '.join(one['constrained_columns'])}) to "
        f"{one['referred_table']} ({', '.join(one['referred_columns'])}) {one['options'] or ''}".rstrip()
        for one in inspector.get_foreign_keys(table)
    )
    yield from sorted(
        f"    check {one['name']} {one['sqltext']}" for one in inspector.get_check_constraints(table)
    )
    yield from sorted(
        _index(inspector, one) for one in inspector.get_indexes(table) if not one.get("duplicates_constraint")
    )


def _column(inspector: sa.Inspector, column: Any) -> str:
    words = [column["name"], column["type"].compile(inspector.dialect)]
    if not column["nullable"]:
        words.append("not null")
    if column.get("identity"):
        words.append("identity always" if column["identity"]["always"] else "identity")
    elif column["default"] is not None:
        words.append(f"default {column['default']}")
    return " ".join(words)


def _index(inspector: sa.Inspector, index: Any) -> str:
    where = index.get("dialect_options", {}).get(f"{inspector.dialect.name}_where")
    kind = "unique index" if index["unique"] else "index"
    partial = "" if where is None else f" where {where}"
    return f"    {kind} {index['name']} ({', '.join(index['column_names'])}){partial}"


def _write_missing(url: str) -> None:
    engine = LedgerEngine(url)
    for revision in REVISIONS:
        upgrade(engine, revision)
        with engine.read() as connection:
            path = stored(revision, connection.dialect.name)
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(schema_text(connection))
                print(f"wrote {path}")
    engine.close()


def main() -> None:
    """Write the texts that are missing, from a database of either kind that passes through every revision."""
    with tempfile.TemporaryDirectory(prefix="cell_assets_schema_") as folder:
        home = Path(folder)
        home.chmod(0o755)
        _write_missing(f"sqlite:///{home / 'ledger.db'}")
        with open_database(Settings(home=home, database_url=None)) as addresses:
            _write_missing(addresses.ledger)


if __name__ == "__main__":
    main()
