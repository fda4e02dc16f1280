"""An extract from anybody's hands: opened without trusting it, and each row held against the entry that seals it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from cell_assets.errors import BadInputError
from cell_assets.ledger import schema
from cell_assets.ledger.chain import (
    GENESIS,
    SEALED_TABLES,
    ChainFault,
    FaultKind,
    Key,
    entry_digest,
    items_of,
    key_column,
)
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.extract import ChainHead
from cell_assets.ledger.migrations.upgrade import REVISIONS, current_revision

_TABLES_ADDED_SINCE: Mapping[str, frozenset[str]] = {
    "0003": frozenset({"arrival", "arrival_release", "expected_plates"}),
    REVISIONS[-1]: frozenset(),
}
"""The revisions that are read, and which tables each is without. Bundles are kept for years, so the revision before
the newest must stand here."""
_OTHER_TABLE = "alembic_version"


@dataclass(frozen=True)
class ExtractReport:
    """What a check of an extract found."""

    n_rows: int
    n_entries: int
    newest: ChainHead
    """The newest entry in the extract."""
    without_inputs: tuple[int, ...]
    """Runs whose recorded inputs were left out of the extract."""
    faults: tuple[ChainFault, ...]


def open_untrusted(path: Path) -> LedgerEngine:
    """Open an extract for reading only; nothing in it can make SQLite do more than return rows.

    `path` must lie where nobody else writes. Raises BadInputError when it is no ledger, is one of a
    schema revision that is not read, or holds a view or virtual table in the place of a table.
    """
    engine = LedgerEngine(f"sqlite:///file:{quote(str(path))}?mode=ro&immutable=1&uri=true", untrusted=True)
    try:
        with engine.read() as connection:
            _refuse_foreign(connection)
    except sa.exc.DatabaseError as error:
        engine.close()
        raise BadInputError(f"the ledger extract cannot be read: {error.orig}") from error
    except BaseException:
        engine.close()
        raise
    return engine


def _refuse_foreign(connection: sa.Connection) -> None:
    revision = current_revision(connection)
    if revision is None or revision not in _TABLES_ADDED_SINCE:
        read = " and ".join(repr(one) for one in _TABLES_ADDED_SINCE)
        raise BadInputError(
            f"the ledger extract has schema revision {revision!r}, and this cell_assets reads {read}: "
            "verify the bundle with the version of cell_assets that made it"
        )
    expected = schema.metadata.tables.keys() - _TABLES_ADDED_SINCE[revision]
    objects = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
    tables = {name: str(sql) for kind, name, sql in objects if kind == "table"}
    strange = {name for kind, name, _ in objects if kind == "view"}
    strange |= tables.keys() ^ {*expected, _OTHER_TABLE}
    strange |= {name for name, sql in tables.items() if not sql.startswith("CREATE TABLE ")}
    for name in expected:
        table = schema.metadata.tables[name]
        columns = connection.exec_driver_sql("SELECT name, hidden FROM pragma_table_xinfo(?)", (name,)).all()
        if {(one.name, 0) for one in table.columns} != {(said, hidden) for said, hidden in columns}:
            strange.add(name)
    if strange:
        raise BadInputError(f"the ledger extract does not have a ledger's tables: see {min(strange)}")


def check_extract(engine: LedgerEngine, whole_runs: Collection[int]) -> ExtractReport:
    """Hold every row of an extract against the entry that seals it, and recompute every entry.

    Entries also seal rows that are not in the extract; of the runs in `whole_runs`, what they read must be.
    Time and memory grow linearly with the extract.
    """
    faults: list[ChainFault] = []
    sealed: dict[str, dict[Key, str]] = {table.name: {} for table in SEALED_TABLES}
    followed: dict[str, int] = {}
    n_rows = n_entries = 0
    newest = ChainHead(0, GENESIS)
    with engine.read() as connection:
        faults += _structural_faults(connection)
        for entry in connection.execute(sa.select(schema.entry).order_by(schema.entry.c.id)):
            n_entries, newest = n_entries + 1, ChainHead(entry.id, entry.digest)
            if entry_digest(entry.previous, entry.items) != entry.digest:
                why = f"entry {entry.id} was changed"
                faults.append(ChainFault(FaultKind.CHANGED, "entry", entry.id, why))
            other = followed.setdefault(entry.previous, entry.id)
            if other != entry.id:
                why = f"entries {other} and {entry.id} both say that they follow the same one"
                faults.append(ChainFault(FaultKind.EXTRA, "entry", entry.id, why))
            for name, key, digest in entry.items:
                if sealed[name].setdefault(key, digest) != digest:
                    why = f"{name} {key} is sealed twice, as different rows"
                    faults.append(ChainFault(FaultKind.CHANGED, name, key, why))
        present = set(sa.inspect(connection).get_table_names())
        for table in (one for one in SEALED_TABLES if one.name in present):
            rows = connection.execute(sa.select(table)).all()
            n_rows += len(rows)
            for name, key, digest in items_of(table, rows):
                said = sealed[name].get(key)
                if said is None:
                    why = f"{name} {key} is sealed by no entry"
                    faults.append(ChainFault(FaultKind.EXTRA, name, key, why))
                elif said != digest:
                    why = f"{name} {key} is not the row that was sealed when it was recorded"
                    faults.append(ChainFault(FaultKind.CHANGED, name, key, why))
        if connection.execute(sa.select(schema.intent.c.id)).first() is not None:
            why = "the extract holds an intent, which is no part of history"
            faults.append(ChainFault(FaultKind.EXTRA, "intent", 0, why))
        edges, runs = (set(connection.execute(sa.select(key_column(table))).scalars()) for table in _EDGES)
    without_inputs = sorted(run for run in runs - edges if run in sealed[schema.input_edge.name])
    for run in without_inputs:
        if run in whole_runs:
            why = f"what run {run} read was sealed and is missing"
            faults.append(ChainFault(FaultKind.MISSING, schema.input_edge.name, run, why))
    return ExtractReport(n_rows, n_entries, newest, tuple(without_inputs), tuple(faults))


_EDGES = (schema.input_edge, schema.run)


def _structural_faults(connection: sa.Connection) -> list[ChainFault]:
    """What SQLite itself finds wrong: pages, indexes, and rows that refer to none."""
    said = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(5)")]
    faults = [ChainFault(FaultKind.CHANGED, "file", 0, f"SQLite: {one}") for one in said if one != "ok"]
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        why = f"row {row} of {table} refers to a row of {parent} that is not there"
        faults.append(ChainFault(FaultKind.MISSING, str(table), row or 0, why))
    return faults
