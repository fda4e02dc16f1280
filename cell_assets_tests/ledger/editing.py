"""Editing a ledger behind its back, as somebody with the database's password could."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.migrations.upgrade import upgrade
from cell_assets.ledger.schema import metadata


@contextmanager
def unguarded(url: str) -> Iterator[sa.Connection]:
    """The database without the ledger and its triggers, as somebody with the password has it."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        if url.startswith("postgresql"):
            connection.exec_driver_sql("SET session_replication_role = replica")
        else:
            triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers.all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        yield connection
    engine.dispose()


def editable_columns(table: sa.Table) -> list[str]:
    """Columns whose values can be changed without breaking a constraint that the database itself holds."""
    fixed = {*table.primary_key.columns.keys(), "outcome", "error", "why_missing", "artifact_id", "plate_id"}
    fixed |= {key.parent.name for key in table.foreign_keys}
    return [column.name for column in table.c if column.name not in fixed]


def another_value(value: Any, column: str) -> Any:
    if column == "state":
        return {"present": "evicted", "evicted": "present", "quarantined": "ignored"}[value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, datetime):
        return value.replace(year=1999)
    if isinstance(value, bytes | memoryview):
        return bytes(value) + b"x"
    if isinstance(value, dict):
        return {"edited": True}
    return value + 1 if isinstance(value, int | float) else f"{value}x"


def at_revision(revision: str, ledger: Path, target: Path) -> Path:
    """The rows of a SQLite ledger in one of an older revision, as far as that had tables for them."""
    engine = LedgerEngine(f"sqlite:///{target}")
    upgrade(engine, revision)
    with engine.read() as connection:
        connection.exec_driver_sql("ATTACH ? AS newer", (str(ledger),))
        there = set(sa.inspect(connection).get_table_names())
        for name in (table.name for table in metadata.sorted_tables):
            if name in there:
                connection.exec_driver_sql(f"INSERT INTO main.{name} SELECT * FROM newer.{name}")
        connection.commit()
    engine.close()
    return target
