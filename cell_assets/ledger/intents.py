"""Intents: who is writing which output where, and until when they must be left alone."""

from datetime import timedelta

import sqlalchemy as sa

from cell_assets.errors import CellAssetsError, NotFoundError
from cell_assets.ledger.column_types import DatabaseNow
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.records import Intent
from cell_assets.ledger.rows import record_of
from cell_assets.ledger.schema import intent


@repeatable
def open_intent(
    engine: LedgerEngine, asset: str, partition: str, staging: str, owner: str, lease: timedelta
) -> Intent:
    """Record the wish to write; the lease starts at the database's now."""
    values = {"asset": asset, "partition": partition, "staging": staging, "owner": owner}
    insert = sa.insert(intent).values(**values, lease_until=_lease_end(lease))
    with engine.write() as transaction:
        returned = insert.returning(intent.c.id, intent.c.lease_until, intent.c.opened)
        row = transaction.connection.execute(returned).one()
        # After a crash another intent may get the same id, but not at the same microsecond.
        transaction.sign = sa.select(intent.c.id).where(intent.c.id == row.id, intent.c.opened == row.opened)
    return Intent(id=row.id, lease_until=row.lease_until, **values)


@repeatable
def open_intents(engine: LedgerEngine) -> tuple[Intent, ...]:
    """Every intent that has not closed, oldest first."""
    with engine.read() as connection:
        found = connection.execute(sa.select(intent).where(intent.c.closed.is_(None)).order_by(intent.c.id))
        return tuple(record_of(Intent, row) for row in found)


@repeatable
def renew_intent(engine: LedgerEngine, intent_id: int, lease: timedelta) -> Intent:
    """Let the lease end `lease` from now; raises NotFoundError when the intent has closed."""
    with engine.write() as transaction:
        connection = transaction.connection
        renewed = connection.execute(
            sa.update(intent)
            .where(intent.c.id == intent_id, intent.c.closed.is_(None))
            .values(lease_until=_lease_end(lease))
        )
        if renewed.rowcount != 1:
            raise NotFoundError(f"intent {intent_id} has closed, so its lease cannot be renewed: write again")
        return record_of(Intent, connection.execute(sa.select(intent).where(intent.c.id == intent_id)).one())


@repeatable
def close_intent(engine: LedgerEngine, intent_id: int, only_if_lease_ended: bool) -> bool:
    """Close the intent; returns whether this call did so."""
    condition = [intent.c.id == intent_id, intent.c.closed.is_(None)]
    if only_if_lease_ended:
        condition.append(intent.c.lease_until < DatabaseNow())
    with engine.write() as transaction:
        closing = sa.update(intent).where(*condition).values(closed=DatabaseNow())
        closed = transaction.connection.execute(closing.returning(intent.c.closed)).scalar_one_or_none()
        if closed is not None:
            transaction.sign = sa.select(intent.c.id).where(
                intent.c.id == intent_id, intent.c.closed == closed
            )
    return closed is not None


def close_within(connection: sa.Connection, opened: Intent) -> None:
    """Close the intent in the transaction that records what it announced.

    Raises:
        CellAssetsError: it has closed.
    """
    closed = connection.execute(
        sa.update(intent)
        .where(intent.c.id == opened.id, intent.c.closed.is_(None))
        .values(closed=DatabaseNow())
    )
    if closed.rowcount != 1:
        raise CellAssetsError(
            f"{opened.asset} {opened.partition} cannot be recorded: its intent {opened.id} is closed, "
            "so its lease ended and the sweep took its place; make it again"
        )


def _lease_end(lease: timedelta) -> DatabaseNow:
    return DatabaseNow(sa.literal(lease.total_seconds()))
