"""The three databases of an installation: their addresses, derived from one base URL, and their creation."""

import contextlib
import re
from dataclasses import dataclass
from typing import Self

import psycopg2
from psycopg2 import errors, sql

from cell_assets.errors import BadInputError, CellAssetsError

_DAGSTER = "_dagster"

_BASE_URL = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://(?P<server>[^/?]*)/(?P<name>[^/?]+)(?P<options>\?[^?]*)?"
)
_MAINTENANCE_DATABASES = ("postgres", "template1")
"""Databases that every server has, tried in this order to ask for others to be created."""


@dataclass(frozen=True)
class DatabaseAddresses:
    """URLs of one installation's databases."""

    base: str
    """`postgresql://user:password@host/name`: what `CELL_ASSETS_DATABASE_URL` may be set to for a child."""
    dagster: str
    """Plain `postgresql://`, which both SQLAlchemy and libpq read; Dagster uses both."""
    ledger: str
    """`postgresql+psycopg2://`, for SQLAlchemy."""
    mlflow: str
    """`postgresql+psycopg2://`, for SQLAlchemy."""

    @classmethod
    def of(cls, base_url: str) -> Self:
        """Addresses derived from a base URL; raises BadInputError when it names no PostgreSQL database."""
        server, name, options = _parts(base_url)

        def address(scheme: str, database: str) -> str:
            return f"{scheme}://{server}/{database}{options}"

        return cls(
            base=address("postgresql", name),
            dagster=address("postgresql", name + _DAGSTER),
            ledger=address("postgresql+psycopg2", f"{name}_ledger"),
            mlflow=address("postgresql+psycopg2", f"{name}_mlflow"),
        )


def create_databases(base_url: str) -> DatabaseAddresses:
    """Create those of the three databases that are missing, and return the addresses of all.

    Any number of processes may do so at once. Raises BadInputError for an unusable URL and CellAssetsError
    when the server cannot be reached or does not let its user create databases.
    """
    addresses = DatabaseAddresses.of(base_url)
    server, name, options = _parts(base_url)
    names = [name + _DAGSTER, f"{name}_ledger", f"{name}_mlflow"]
    shown = f"postgresql://{server.rpartition('@')[2]}/{name}{options}"
    with contextlib.closing(_connect(server, options, shown)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", (names,))
            there = {row[0] for row in cursor.fetchall()}
            for missing in (one for one in names if one not in there):
                _create(cursor, missing, names, shown)
    return addresses


def _parts(base_url: str) -> tuple[str, str, str]:
    match = _BASE_URL.fullmatch(base_url)
    if match is None:
        raise BadInputError(
            "the database URL cannot be used: CELL_ASSETS_DATABASE_URL must read "
            "postgresql://user:password@host/name"
        )
    return match["server"], match["name"], match["options"] or ""


def _connect(server: str, options: str, shown: str) -> "psycopg2.extensions.connection":
    reasons = []
    for database in _MAINTENANCE_DATABASES:
        try:
            return psycopg2.connect(f"postgresql://{server}/{database}{options}")
        except psycopg2.OperationalError as error:
            reasons.append(" ".join(str(error).split()))
    raise CellAssetsError(f"the database server of {shown} cannot be reached: {reasons[0]}")


def _create(cursor: "psycopg2.extensions.cursor", name: str, names: list[str], shown: str) -> None:
    statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
    try:
        cursor.execute(statement)
    except (errors.DuplicateDatabase, errors.UniqueViolation):
        # Another process created it in between.
        return
    except errors.InsufficientPrivilege as error:
        raise CellAssetsError(
            f"the user of {shown} may not create databases: have {', '.join(names)} created for it"
        ) from error
