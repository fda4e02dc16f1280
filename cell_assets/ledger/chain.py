"""The chain over history: each transaction that records something ends with an entry that seals its rows.

An entry holds the digest of every row of its transaction and the digest of the entry before it, so a row or an
entry that is edited, removed or slipped in later no longer fits. What the chain alone cannot show is that its
newest entries are gone together with their rows: Dagster's events and evidence bundles hold digests of entries.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from cell_assets.ledger import schema
from cell_assets.ledger.engine import LedgerEngine, Transaction, repeatable
from cell_assets.ledger.entries import GENESIS, Item, Key, entry_digest, items_of, key_column

_SEAL_LOCK = sa.text("SELECT pg_advisory_xact_lock(2957110382)")
"""Held from the sealing of a transaction to its end: entries follow one another, and writers wait only here."""

_CHECKED_AT_ONCE = 500

SEALED_TABLES = tuple(
    table for table in schema.metadata.sorted_tables if table not in (schema.intent, schema.entry)
)


class FaultKind(StrEnum):
    """How history can differ from what was sealed."""

    CHANGED = "changed"
    MISSING = "missing"
    EXTRA = "extra"


@dataclass(frozen=True)
class ChainFault:
    """One place in which history is not what was recorded."""

    kind: FaultKind
    table: str
    key: Key
    why: str


@dataclass(frozen=True)
class ChainReport:
    """What a check of the whole chain found."""

    n_entries: int
    n_items: int
    head: str
    """Digest of the newest entry."""
    faults: tuple[ChainFault, ...]


@dataclass
class Recording:
    """One transaction that adds rows to history. Only `append` may insert into its tables."""

    transaction: Transaction
    engine: LedgerEngine
    items: list[Item] = field(default_factory=list)
    run_id: int | None = None

    @property
    def connection(self) -> sa.Connection:
        """For questions in the same transaction."""
        return self.transaction.connection

    def execute(self, statement: sa.Executable) -> sa.CursorResult[Any]:
        """A question, or a change of a table that is not history."""
        return self.connection.execute(statement)

    def append(
        self, table: sa.Table, rows: Sequence[Mapping[str, Any]], unless: Sequence[str] | None = None
    ) -> Sequence[sa.Row[Any]]:
        """Insert rows and remember what to seal; returns them as they stand, database defaults included.

        Args:
            unless: columns by which a row that is there already makes a new one superfluous; such a row is
                neither inserted nor returned.
        """
        if not rows:
            return ()
        insert = self.engine.insert(table)
        if unless is not None:
            insert = insert.on_conflict_do_nothing(index_elements=unless)
        inserted = self.connection.execute(insert.returning(*table.c), [dict(row) for row in rows]).all()
        self.items.extend(items_of(table, inserted))
        if table is schema.run:
            self.run_id = inserted[-1].id
        return inserted


@contextlib.contextmanager
def recording(engine: LedgerEngine) -> Iterator[Recording]:
    """A transaction that is sealed and committed when the block ends, and rolled back when it raises."""
    with engine.write() as transaction:
        history = Recording(transaction, engine)
        yield history
        if history.items:
            digest = _seal(transaction.connection, engine.is_sqlite, history.items, history.run_id)
            transaction.sign = sa.select(schema.entry.c.id).where(schema.entry.c.digest == digest)


def _seal(connection: sa.Connection, is_sqlite: bool, items: Sequence[Item], run_id: int | None) -> str:
    """Append the entry over `items` and return its digest; the transaction may add nothing after it."""
    if not is_sqlite:
        connection.execute(_SEAL_LOCK)
    newest = sa.select(schema.entry.c.digest).order_by(schema.entry.c.id.desc()).limit(1)
    previous = connection.execute(newest).scalar_one_or_none() or GENESIS
    said = [list(item) for item in items]
    digest = entry_digest(previous, said)
    connection.execute(
        sa.insert(schema.entry).values(previous=previous, items=said, digest=digest, run_id=run_id)
    )
    return digest


@repeatable
def check_chain(engine: LedgerEngine, step: Callable[[int, int], None] | None = None) -> ChainReport:
    """Hold all of history against its entries; time and memory are linear in the number of rows.

    Rows are compared a few hundred entries at a time; what stays in memory are the keys of all that were sealed.
    `step` is told entries done, and how many there are.

    Reads one snapshot, so recording may go on meanwhile.
    """
    faults: list[ChainFault] = []
    sealed: dict[str, set[Key]] = {table.name: set() for table in SEALED_TABLES}
    tables = {table.name: table for table in SEALED_TABLES}
    previous, last, n_entries, n_items = GENESIS, 0, 0, 0
    with engine.snapshot() as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(schema.entry)).scalar_one()
        while entries := _entries_after(connection, last):
            by_table: dict[str, dict[Key, str]] = {}
            for entry in entries:
                faults.extend(_entry_faults(entry, previous, last))
                previous, last = entry.digest, entry.id
                n_entries, n_items = n_entries + 1, n_items + len(entry.items)
                for table, key, digest in entry.items:
                    by_table.setdefault(table, {})[key] = digest
            for name, digests in by_table.items():
                sealed[name].update(digests)
                faults.extend(_row_faults(engine, connection, tables[name], digests))
            if step is not None:
                step(n_entries, total)
        for name, table in tables.items():
            keys = connection.execute(sa.select(key_column(table)).distinct()).scalars()
            faults.extend(
                ChainFault(FaultKind.EXTRA, name, key, f"{name} {key} was added outside the ledger")
                for key in sorted(set(keys) - sealed[name])
            )
    return ChainReport(n_entries, n_items, previous, tuple(faults))


def _entries_after(connection: sa.Connection, entry_id: int) -> Sequence[sa.Row[Any]]:
    table = schema.entry
    query = sa.select(table).where(table.c.id > entry_id).order_by(table.c.id).limit(_CHECKED_AT_ONCE)
    return connection.execute(query).all()


def _entry_faults(entry: sa.Row[Any], previous: str, last: int) -> Iterator[ChainFault]:
    if entry.previous != previous:
        why = f"entries between {last} and {entry.id} are missing or changed"
        yield ChainFault(FaultKind.MISSING, "entry", entry.id, why)
    if entry_digest(entry.previous, entry.items) != entry.digest:
        yield ChainFault(FaultKind.CHANGED, "entry", entry.id, f"entry {entry.id} was changed")


def _row_faults(
    engine: LedgerEngine, connection: sa.Connection, table: sa.Table, digests: Mapping[Key, str]
) -> Iterator[ChainFault]:
    column = key_column(table)
    keys: Any = list(digests)
    wanted = engine.texts(keys) if isinstance(keys[0], str) else engine.integers(keys)
    rows = connection.execute(sa.select(table).where(column.in_(wanted))).all()
    found = {key: digest for _, key, digest in items_of(table, rows)}
    for key, digest in digests.items():
        if key not in found:
            yield ChainFault(FaultKind.MISSING, table.name, key, f"{table.name} {key} is missing")
        elif found[key] != digest:
            why = f"{table.name} {key} was changed after it was recorded"
            yield ChainFault(FaultKind.CHANGED, table.name, key, why)
