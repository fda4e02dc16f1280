"""Bring a ledger database to the schema that this code expects, safely when many processes start at once."""

from pathlib import Path

import sqlalchemy as sa

from cell_assets.errors import BadInputError
from cell_assets.ledger.engine import LedgerEngine, connection_faults, repeatable

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every schema revision, oldest first; kept here so that opening a current ledger need not load Alembic."""

_MIGRATION_LOCK = "cell_assets.ledger.migrations"


@repeatable
def upgrade(engine: LedgerEngine, revision: str = REVISIONS[-1]) -> None:
    """Migrate to `revision`; does nothing when the database is there already.

    Raises BadInputError, naming the revision, when the database is at one that this code does not know.
    """
    with connection_faults(engine.url), engine.read() as connection:
        if _checked_revision(engine, connection) == revision:
            return
    with engine.write() as transaction:
        engine.lock_transaction(transaction, _MIGRATION_LOCK)
        if _checked_revision(engine, transaction.connection) != revision:
            _run_alembic(transaction.connection, revision)


def current_revision(connection: sa.Connection) -> str | None:
    """Revision of the database; None while it holds no ledger."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _checked_revision(engine: LedgerEngine, connection: sa.Connection) -> str | None:
    revision = current_revision(connection)
    if revision is not None and revision not in REVISIONS:
        raise BadInputError(
            f"the ledger at {engine.url.render_as_string()} has schema revision {revision!r}, newer than "
            f"{REVISIONS[-1]!r}, the newest that this cell_assets knows: install the version that made it"
        )
    return revision


def _run_alembic(connection: sa.Connection, revision: str) -> None:
    # Imported here: Alembic takes longer to load than a current ledger takes to open.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
