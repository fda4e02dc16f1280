"""Connections of the ledger: how PostgreSQL and SQLite are opened, and what they do differently."""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger.column_types import DatabaseNow

_BUSY_TIMEOUT_S = 60.0
_TRUSTED_IDLE_S = 1.0
"""Asking at every use took a tenth of the time that the ledger takes."""
_JOURNAL_MODE_LOCK = 0
_LOCK_POLL_S = (0.005, 0.25)
"""First and longest pause between attempts at an advisory lock. Polled, because a wait inside libpq would not
let Ctrl-C through."""


class LedgerEngine:
    """One database with its two ways in: `write()` is one transaction, `read()` is for looking only.

    Safe to share between threads; a forked child gets connections of its own.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        engine = sa.create_engine(
            self.url,
            json_serializer=_to_json,
            pool_size=5,
            max_overflow=-1,
            connect_args={"timeout": _BUSY_TIMEOUT_S} if self.is_sqlite else {},
        )
        if self.is_sqlite:
            event.listen(engine, "connect", self._prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            self._write = engine
            self._read = engine.execution_options(ledger_begin="BEGIN")
        else:
            event.listen(engine, "checkin", _note_idle)
            event.listen(engine, "checkout", _ping_if_idle)
            self._write = engine
            self._read = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._process = os.getpid()

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, committed when the block ends and rolled back when it raises."""
        with self._mine(self._write).begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for queries."""
        with self._mine(self._read).connect() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection whose queries all see one moment, whatever is recorded meanwhile."""
        isolated = self._write.execution_options(isolation_level="REPEATABLE READ")
        with self._mine(self._read if self.is_sqlite else isolated).begin() as connection:
            yield connection

    def _mine(self, engine: sa.Engine) -> sa.Engine:
        """The engine, without connections that a forked child inherited: two processes must not share one."""
        if self._process != os.getpid():
            self._write.dispose(close=False)
            self._process = os.getpid()
        return engine

    def close(self) -> None:
        """Close every idle connection."""
        self._write.dispose()

    def now(self) -> datetime:
        """The database's clock, UTC."""
        with self.read() as connection:
            return connection.execute(sa.select(DatabaseNow())).scalar_one()

    def insert(self, table: sa.Table) -> PostgresInsert | SqliteInsert:
        """INSERT of the dialect in use, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def integers(self, values: Sequence[int]) -> sa.Select[tuple[int]]:
        """A subquery of one column `value` holding `values`: any length, one bound parameter."""
        return self._values(list(values), sa.BigInteger())

    def texts(self, values: Sequence[str]) -> sa.Select[tuple[str]]:
        """A subquery of one column `value` holding `values`: any length, one bound parameter."""
        return self._values(list(values), sa.Text())

    def _values(self, values: list[Any], kind: sa.types.TypeEngine[Any]) -> sa.Select[Any]:
        if self.is_sqlite:
            each = sa.func.json_each(json.dumps(values)).table_valued(sa.column("value", kind))
            return sa.select(each.c.value)
        array = sa.bindparam(None, values, type_=ARRAY(kind), unique=True)
        return sa.select(sa.func.unnest(array).column_valued("value"))

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the exclusive advisory lock `name`, across threads and processes; not re-entrant."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        with self._sqlite_lock(key) if self.is_sqlite else self._postgres_lock(key):
            yield

    @contextlib.contextmanager
    def _sqlite_lock(self, key: int) -> Iterator[None]:
        folder = Path(f"{self.url.database}.locks")
        folder.mkdir(exist_ok=True)
        with (folder / f"{key & (2**64 - 1):016x}").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _prepare_sqlite(self, connection: Any, record: object) -> None:
        # The driver's own BEGIN is lazy and deferred; `_begin_sqlite` says which BEGIN is meant.
        connection.isolation_level = None
        cursor = connection.cursor()
        # SQLite does not wait its busy timeout where two connections change a new file to WAL at once.
        with self._sqlite_lock(_JOURNAL_MODE_LOCK):
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @contextlib.contextmanager
    def _postgres_lock(self, key: int) -> Iterator[None]:
        with self.read() as connection:
            pause, longest = _LOCK_POLL_S
            while not connection.execute(_TRY_LOCK, {"key": key}).scalar_one():
                time.sleep(pause)
                pause = min(2 * pause, longest)
            try:
                yield
            finally:
                _unlock(connection, key)


_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")


def _unlock(connection: sa.Connection, key: int) -> None:
    """Give the lock back; a connection that cannot is closed, which gives it back too."""
    try:
        connection.execute(_UNLOCK, {"key": key})
    except sa.exc.DBAPIError:
        connection.invalidate()


def _checked_url(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise BadInputError(f"the ledger's database URL {url!r} cannot be read: {error}") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg2")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise BadInputError(
        f"the ledger's database URL {parsed.render_as_string()} names no PostgreSQL database and no SQLite "
        "file: give postgresql://user:password@host/name or sqlite:///path/to/file"
    )


@contextlib.contextmanager
def connection_faults(url: sa.URL) -> Iterator[None]:
    """Turn a refused connection into one sentence that names the database and hides the password."""
    try:
        yield
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise CellAssetsError(f"the ledger at {url.render_as_string()} cannot be opened: {reason}") from error


def _to_json(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _note_idle(connection: object, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _ping_if_idle(connection: Any, record: ConnectionPoolEntry, proxy: object) -> None:
    """Replace a connection that the server closed meanwhile; one that was used just now need not be asked."""
    if time.monotonic() - record.info.get("idle_since", time.monotonic()) < _TRUSTED_IDLE_S:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error as error:
        raise sa.exc.DisconnectionError(str(error)) from error


def _begin_sqlite(connection: sa.Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later would otherwise fail as busy without waiting.
    connection.exec_driver_sql(connection.get_execution_options().get("ledger_begin", "BEGIN IMMEDIATE"))
