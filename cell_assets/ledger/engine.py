"""Connections of the ledger: how PostgreSQL and SQLite are opened, and what they do differently.

A PostgreSQL server may be killed and started again while the ledger is in use. A function marked `repeatable`
runs again, from its start, when its connection was lost. That does nothing twice: a transaction whose COMMIT
went unanswered, so that nobody knows whether it took, is looked for before it is given up (`LedgerEngine.write`).

- What is looked for is a row that only this transaction can have written. It holds the database's clock, or the
  digest of rows that do, so no key of the caller's and no column for the purpose is needed.
- It is looked for when the transaction is over: each holds an advisory lock on a random number until its end.
  Without that wait a COMMIT still on its way would be taken for lost, and done again.
- PostgreSQL's own `pg_xact_status` cannot answer: a transaction's number is not flushed to disk when it is
  given out. After a crash the next transaction got the same one, and what was lost read as committed (seen with
  PostgreSQL 18).

SQLite has no connection to lose.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger.column_types import DatabaseNow
from cell_assets.ledger.lost_connections import PATIENCE_S, Patience, is_lost, reason

_DEAD_PEER = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A machine that vanished says nothing: notice within a minute, not after the two hours of the system's default.
Seconds, and milliseconds for the last; libpq applies all but the first to TCP only."""
_BUSY_TIMEOUT_S = 60.0
_TRUSTED_IDLE_S = 1.0
"""Asking at every use took a tenth of the time that the ledger takes."""
_JOURNAL_MODE_LOCK = 0
_LOCK_POLL_S = (0.005, 0.25)
"""First and longest pause between attempts at an advisory lock. Polled, because a wait inside libpq would not
let Ctrl-C through."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass
class Transaction:
    """What a block of `LedgerEngine.write` works with."""

    connection: sa.Connection
    sign: sa.Select[Any] | None = None
    """Finds a row exactly when this transaction was committed. None: doing it all again does no harm."""


def repeatable(
    work: "Callable[Concatenate[LedgerEngine, _P], _T]",
) -> "Callable[Concatenate[LedgerEngine, _P], _T]":
    """Let a function of an engine, and of one transaction or question, outlive lost connections.

    It runs again from its start, so what precedes its transaction must have no effects. Raises CellAssetsError
    when the database stays away for longer than the engine's patience.
    """

    @functools.wraps(work)
    def patient(engine: "LedgerEngine", *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return engine.patience.outlive(lambda: work(engine, *args, **kwargs))

    return patient


class LedgerEngine:
    """One database with its two ways in: `write()` is one transaction, `read()` is for looking only.

    Safe to share between threads; a forked child gets connections of its own.

    Args:
        untrusted: the SQLite file may have been made by anybody: it is opened for reading only, nothing is
            put beside it, and what its schema could make SQLite run is switched off.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S, untrusted: bool = False) -> None:
        self.url = _checked_url(url)
        self.patience = Patience(f"the ledger at {self.url.render_as_string()}", patience_s)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._write = self._pool()
        self._read: sa.Engine
        if self.is_sqlite:
            event.listen(self._write, "connect", _prepare_untrusted if untrusted else self._prepare_sqlite)
            event.listen(self._write, "begin", _begin_sqlite)
            self._read = self._write.execution_options(ledger_begin="BEGIN")
        else:
            # Apart, because a connection that is told anew what it is for asks the server one question more.
            self._read = self._pool(isolation_level="AUTOCOMMIT")
            for pool in (self._write, self._read):
                event.listen(pool, "checkin", _note_idle)
                event.listen(pool, "checkout", self._ping_if_idle)
        self._process = os.getpid()

    def _pool(self, **how: Any) -> sa.Engine:
        engine = sa.create_engine(
            self.url,
            json_serializer=_to_json,
            pool_size=5,
            max_overflow=-1,
            connect_args=_connect_arguments(self.url),
            **how,
        )
        event.listen(engine, "connect", self.patience.note_answer)
        return engine

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction, committed when the block ends and rolled back when it raises.

        A block that says by which `sign` its transaction is known is committed exactly once: when COMMIT goes
        unanswered, this ends well where it took, and raises, for the caller to do it again, where it did not.
        """
        with self._mine(self._write).connect() as connection, connection.begin() as begun:
            transaction, key = Transaction(connection), secrets.randbits(63)
            if not self.is_sqlite:
                connection.execute(_HOLD_TO_THE_END, {"key": key})
            yield transaction
            try:
                begun.commit()
            except DBAPIError as error:
                sign = transaction.sign
                if not is_lost(error) or sign is None or not self._was_committed(key, sign):
                    raise

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for queries."""
        with self._mine(self._read).connect() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection whose queries all see one moment, whatever is recorded meanwhile."""
        with self._mine(self._read if self.is_sqlite else self._write).begin() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    def _was_committed(self, key: int, sign: sa.Select[Any]) -> bool:
        """Whether a transaction took whose COMMIT went unanswered; waits until it is over, then looks."""
        return self.patience.outlive(lambda: self._look_for(key, sign))

    def _look_for(self, key: int, sign: sa.Select[Any]) -> bool:
        with self.read() as connection:
            until = time.monotonic() + self.patience.seconds
            while not connection.execute(_TRY_WHETHER_HELD, {"key": key}).scalar_one():
                if time.monotonic() >= until:
                    raise CellAssetsError(
                        f"{self.patience.title} lost a connection while recording, and has not ended its "
                        f"transaction within {self.patience.seconds:g} s: do the same again"
                    )
                time.sleep(_LOCK_POLL_S[0])
            # Locks are given back after what was committed can be seen, and this statement looks anew.
            return connection.execute(sign).first() is not None

    def _mine(self, engine: sa.Engine) -> sa.Engine:
        """The engine, without connections that a forked child inherited: two processes must not share one."""
        if self._process != os.getpid():
            self._write.dispose(close=False)
            self._read.dispose(close=False)
            self._process = os.getpid()
        return engine

    def close(self) -> None:
        """Close every idle connection."""
        self._write.dispose()
        self._read.dispose()

    @repeatable
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
        """Hold the exclusive advisory lock `name`, across threads and processes; not re-entrant.

        On PostgreSQL it ends with the connection that holds it, and the holder is not told. It keeps others from
        doing the same work; what must hold must be held by constraints, or by `lock_transaction`.
        """
        with self._sqlite_lock(_key(name)) if self.is_sqlite else self._postgres_lock(_key(name)):
            yield

    def lock_transaction(self, transaction: Transaction, name: str) -> None:
        """Hold the exclusive advisory lock `name` until the transaction ends; neither outlives the other."""
        if not self.is_sqlite:  # SQLite's transactions exclude one another anyway.
            _poll(transaction.connection, _TRY_LOCK_TO_THE_END, _key(name))

    @contextlib.contextmanager
    def _sqlite_lock(self, key: int) -> Iterator[None]:
        folder = Path(f"{self.url.database}.locks")
        folder.mkdir(exist_ok=True)
        with (folder / f"{key & (2**64 - 1):016x}").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _ping_if_idle(self, connection: Any, record: ConnectionPoolEntry, proxy: object) -> None:
        """Replace a connection that the server closed meanwhile; one that was used just now need not be asked."""
        if time.monotonic() - record.info.get("idle_since", time.monotonic()) < _TRUSTED_IDLE_S:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.rollback()
        except self._write.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError(str(error)) from error

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
        with self._holding(key) as connection:
            try:
                yield
            finally:
                _unlock(connection, key)

    @repeatable
    def _holding(self, key: int) -> sa.Connection:
        """A connection that holds the lock."""
        connection = self._mine(self._read).connect()
        try:
            _poll(connection, _TRY_LOCK, key)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare_untrusted(connection: Any, record: object) -> None:
    connection.isolation_level = None
    for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")


_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")
_TRY_LOCK_TO_THE_END = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
_HOLD_TO_THE_END = sa.text("SELECT pg_advisory_xact_lock(:key)")
_TRY_WHETHER_HELD = sa.text("SELECT pg_try_advisory_xact_lock_shared(:key)")
"""Outside a transaction: the lock is given back with the answer."""


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _poll(connection: sa.Connection, attempt: sa.TextClause, key: int) -> None:
    """Try for a lock until it is had."""
    pause, longest = _LOCK_POLL_S
    while not connection.execute(attempt, {"key": key}).scalar_one():
        time.sleep(pause)
        pause = min(2 * pause, longest)


def _unlock(connection: sa.Connection, key: int) -> None:
    """Give the lock back; a connection that cannot is closed, which gives it back too."""
    try:
        connection.execute(_UNLOCK, {"key": key})
    except DBAPIError:
        connection.invalidate()


def _connect_arguments(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": _BUSY_TIMEOUT_S}
    return {name: value for name, value in _DEAD_PEER.items() if name not in url.query}


def _checked_url(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # Neither it nor the reason is quoted, because both may hold a password.
        raise BadInputError(
            "the ledger's database URL cannot be read: give postgresql://user:password@host/name or "
            "sqlite:///path/to/file"
        ) from None
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
    """Turn a refused connection into one sentence that names the database and hides the password.

    Not one that was lost: `repeatable` waits for it, and says so when that was in vain.
    """
    try:
        yield
    except OperationalError as error:
        if is_lost(error):
            raise
        raise CellAssetsError(
            f"the ledger at {url.render_as_string()} cannot be opened: {reason(error)}"
        ) from error


def _to_json(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _note_idle(connection: object, record: ConnectionPoolEntry) -> None:
    record.info["idle_since"] = time.monotonic()


def _begin_sqlite(connection: sa.Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later would otherwise fail as busy without waiting.
    connection.exec_driver_sql(connection.get_execution_options().get("ledger_begin", "BEGIN IMMEDIATE"))
