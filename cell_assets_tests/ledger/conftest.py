"""Databases that hold nothing yet."""

import pytest
import sqlalchemy as sa


@pytest.fixture
def empty_url(ledger_url: str) -> str:
    """URL of a database that holds nothing, once on SQLite and once on PostgreSQL."""
    if ledger_url.startswith("postgresql"):
        empty(ledger_url)
    return ledger_url


def empty(postgres_url: str) -> None:
    """Remove every table of a database on PostgreSQL."""
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
