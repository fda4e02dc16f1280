"""What an entry of the chain says of rows, and its digest. Ledgers in the world hold such digests: never change it.

Works on any tables it is given, those of an old revision too, and knows none by name.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from blake3 import blake3

GENESIS = "0" * 64
"""What the first entry names as the entry before it."""

Key = int | str
Item = tuple[str, Key, str]
"""Table, key, digest. Rows that were recorded under one key, such as a run's inputs, are one item."""


def key_column(table: sa.Table) -> sa.Column[Any]:
    """The column by which entries name the rows of a table."""
    return next(iter(table.primary_key.columns))


def entry_digest(previous: str, items: object) -> str:
    """Digest of an entry: of the one before it and of its items."""
    return blake3(_canonical([previous, items])).hexdigest()


def items_of(table: sa.Table, rows: Sequence[sa.Row[Any]]) -> list[Item]:
    """What an entry says of rows of one table, ordered by key.

    A column that is NULL is not part of a row's digest, so that columns can be added to a table later.
    """
    column = key_column(table).name
    by_key: dict[Key, list[str]] = {}
    for row in rows:
        said = {
            name: _plain(value, table.c[name].type)
            for name, value in row._mapping.items()
            if value is not None
        }
        by_key.setdefault(row._mapping[column], []).append(blake3(_canonical(said)).hexdigest())
    return [
        (
            table.name,
            key,
            digests[0] if len(digests) == 1 else blake3(_canonical(sorted(digests))).hexdigest(),
        )
        for key, digests in sorted(by_key.items())
    ]


def _plain(value: Any, kind: sa.types.TypeEngine[Any]) -> object:
    if isinstance(kind, sa.Float):
        # SQLite's RETURNING gives whole numbers as integers, a later SELECT as floats.
        return float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes | memoryview):
        return blake3(bytes(value)).hexdigest()
    return value


def _canonical(value: object) -> bytes:
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()
