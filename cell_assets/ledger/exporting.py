"""One moment of the ledger for another program, such as `pg_dump`, and what there was at that moment."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cell_assets.errors import BadInputError
from cell_assets.ledger import schema
from cell_assets.ledger.column_types import DatabaseNow
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.extract import ChainHead, chain_head


@dataclass(frozen=True)
class LedgerMoment:
    """What the ledger held at one moment."""

    snapshot: str
    """By which PostgreSQL shows that moment to others, for as long as it is held."""
    at: datetime
    artifact_ids: frozenset[int]
    head: ChainHead


@contextlib.contextmanager
def exported_moment(engine: LedgerEngine) -> Iterator[LedgerMoment]:
    """See `Ledger.exported_moment`."""
    if engine.is_sqlite:
        raise BadInputError("a ledger in a SQLite file has no moments to export: copy the file")
    with engine.snapshot() as connection:
        yield LedgerMoment(
            snapshot=str(connection.execute(sa.select(sa.func.pg_export_snapshot())).scalar_one()),
            at=connection.execute(sa.select(DatabaseNow())).scalar_one(),
            artifact_ids=frozenset(connection.execute(sa.select(schema.artifact.c.id)).scalars()),
            head=chain_head(connection),
        )


@repeatable
def holds_entry(engine: LedgerEngine, head: ChainHead) -> bool:
    """See `Ledger.holds_entry`."""
    table = schema.entry.c
    with engine.read() as connection:
        query = sa.select(table.id).where(table.id == head.entry, table.digest == head.digest)
        return head.entry == 0 or connection.execute(query).first() is not None


@repeatable
def head(engine: LedgerEngine) -> ChainHead:
    """See `Ledger.head`."""
    with engine.read() as connection:
        return chain_head(connection)
