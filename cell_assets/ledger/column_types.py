"""Column types and expressions that PostgreSQL and SQLite must agree on."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit key. SQLite numbers rows itself only in columns declared INTEGER, which hold 64 bits there too."""


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC datetime; on SQLite fixed-width ISO 8601 text, so that text order is time order."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, TIMESTAMP WITH TIME ZONE elsewhere."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database; a datetime without a time zone is refused with ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone: give an aware UTC datetime")
        utc = value.astimezone(UTC)
        return utc.isoformat(timespec="microseconds") if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database, always in UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)


class DatabaseNow(FunctionElement[datetime]):
    """The database's clock at the moment of evaluation (not of the transaction's start), seconds later if given."""

    type = UtcTime()
    inherit_cache = True


@compiles(DatabaseNow)
def _now_elsewhere(element: DatabaseNow, compiler: SQLCompiler, **kw: object) -> str:
    for seconds in element.clauses:
        return f"clock_timestamp() + make_interval(secs => {compiler.process(seconds, **kw)})"
    return "clock_timestamp()"


@compiles(DatabaseNow, "sqlite")
def _now_on_sqlite(element: DatabaseNow, compiler: SQLCompiler, **kw: object) -> str:
    later = "".join(f", {compiler.process(seconds, **kw)} || ' seconds'" for seconds in element.clauses)
    return f"strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'{later})"
