"""The three databases of an installation: their addresses, derived from one base URL, and their creation."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import psycopg2
from psycopg2 import errors, sql

from cell_assets.errors import BadInputError, CellAssetsError

_DAGSTER = "_dagster"

_BASE_URL = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://(?P<server>(?:[^/?@\s]*@)?[^/?@\s]*)/(?P<name>[^/?@\s]+)"
    r"(?P<options>\?[^?\s]*)?"
)
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECRET_OPTION = re.compile(r"[?&](password|sslpassword)=")
_MAKING_TABLES = 4_283_510_117_736_420_911
"""Number of the advisory lock; each database has its own of that number."""
_LOCK_POLL_S = 0.05
_MAINTENANCE_DATABASES = ("postgres", "template1")
"""Databases that every server has, tried in this order to ask for others to be created."""


@dataclass(frozen=True)
class DatabaseAddresses:
    """URLs of one installation's databases. They hold its password, so that they are not shown with the object."""

    base: str = field(repr=False)
    """`postgresql://user:password@host/name`: what `CELL_ASSETS_DATABASE_URL` may be set to for a child."""
    dagster: str = field(repr=False)
    """Plain `postgresql://`, which both SQLAlchemy and libpq read; Dagster uses both."""
    ledger: str = field(repr=False)
    """`postgresql+psycopg2://`, for SQLAlchemy."""
    mlflow: str = field(repr=False)
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

    @property
    def by_name(self) -> dict[str, str]:
        """URLs of the three databases by the databases' own names."""
        urls = (self.dagster, self.ledger, self.mlflow)
        return {_parts(url)[1]: url for url in urls}


def create_databases(base_url: str) -> DatabaseAddresses:
    """Create those of the three databases that are missing, and return the addresses of all.

    Any number of processes may do so at once. Raises BadInputError for an unusable URL and CellAssetsError
    when the server cannot be reached or does not let its user create databases.
    """
    addresses = DatabaseAddresses.of(base_url)
    names = list(addresses.by_name)
    with _administering(base_url) as (cursor, shown):
        there = _existing(cursor, names)
        for missing in (one for one in names if one not in there):
            _create(cursor, missing, names, shown)
    return addresses


def existing_databases(base_url: str) -> dict[str, str]:
    """Those of the three databases that are there, and their URLs; raises as `create_databases` does."""
    addresses = DatabaseAddresses.of(base_url).by_name
    with _administering(base_url) as (cursor, _):
        there = _existing(cursor, list(addresses))
    return {name: url for name, url in addresses.items() if name in there}


def drop_database(base_url: str, name: str) -> None:
    """Remove one of the three databases and all that it holds; raises as `create_databases` does."""
    with _administering(base_url) as (cursor, _):
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def _administering(base_url: str) -> Iterator[tuple["psycopg2.extensions.cursor", str]]:
    """A cursor in a database that is none of the three, and the URL without its password."""
    server, name, options = _parts(base_url)
    shown = f"postgresql://{server.rpartition('@')[2]}/{name}{options}"
    with contextlib.closing(_connect(server, options, shown)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor, shown


def _existing(cursor: "psycopg2.extensions.cursor", names: list[str]) -> set[str]:
    cursor.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", (names,))
    return {row[0] for row in cursor.fetchall()}


def libpq_url(url: str) -> str:
    """The same address for libpq, which knows no drivers."""
    return url.replace("postgresql+psycopg2://", "postgresql://", 1)


@contextlib.contextmanager
def making_tables(url: str) -> Iterator[None]:
    """Keep every other process that asks for it from making the tables of this database, or migrating them.

    For programs that do so when they start, and trip over one another where several do at once. The lock ends
    with its holder, however that ends. Raises CellAssetsError when the server cannot be reached.
    """
    try:
        connection = psycopg2.connect(libpq_url(url))
    except psycopg2.OperationalError as error:
        raise CellAssetsError(f"the database cannot be reached: {_one_line(error)}") from None
    with contextlib.closing(connection):
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not _has_lock(cursor):
                time.sleep(_LOCK_POLL_S)
            yield


def _has_lock(cursor: "psycopg2.extensions.cursor") -> bool:
    # Asked again and again, because a wait inside libpq would not let Ctrl-C through.
    cursor.execute("SELECT pg_try_advisory_lock(%s)", (_MAKING_TABLES,))
    return cursor.fetchone() == (True,)


def _one_line(error: psycopg2.Error) -> str:
    return " ".join(str(error).split())


def _parts(base_url: str) -> tuple[str, str, str]:
    """Server, name and options of a URL that libpq reads as it is meant; else libpq's own words quote passwords."""
    match = _BASE_URL.fullmatch(base_url)
    if match is None or _LONE_PERCENT.search(base_url):
        raise BadInputError(
            "the database URL cannot be used: CELL_ASSETS_DATABASE_URL must read "
            "postgresql://user:password@host/name, with each of % @ / ? and blanks in the password "
            "percent-encoded (%25 %40 %2F %3F %20)"
        )
    options = match["options"] or ""
    if secret := _SECRET_OPTION.search(options):
        raise BadInputError(
            f"the database URL cannot be used: CELL_ASSETS_DATABASE_URL has {secret[1]} among its options, which "
            "are shown in messages; give the password before the @, or a file by the option passfile"
        )
    return match["server"], match["name"], options


def _connect(server: str, options: str, shown: str) -> "psycopg2.extensions.connection":
    reasons = []
    for database in _MAINTENANCE_DATABASES:
        try:
            return psycopg2.connect(f"postgresql://{server}/{database}{options}")
        except psycopg2.OperationalError as error:
            reasons.append(_one_line(error))
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
