"""Dumps of databases, by PostgreSQL's own programs."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import psycopg2
from psycopg2 import sql

from cell_assets.database.addresses import libpq_url
from cell_assets.database.programs import installed_programs
from cell_assets.errors import BadInputError, CellAssetsError

_PASSWORD = re.compile(r"(?<=//)(?P<user>[^/?@:]*):(?P<password>[^/?@]*)@")
_MAJOR = re.compile(r"\(PostgreSQL\) (\d+)")
_KNOWS_TRANSACTION_TIMEOUT = 17
_RELATIONS = """
SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
  AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
ORDER BY c.relkind = 'S', c.relname
"""
_ROUTINES = """
SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
"""


@contextlib.contextmanager
def exported_snapshot(url: str) -> Iterator[str]:
    """Name of one moment of a database, by which `dump` takes it while the block lasts."""
    with contextlib.closing(_connected(url)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot()")
            yield str(cursor.fetchone()[0])


def database_bytes(url: str) -> int:
    """How large a database is on its server's disk."""
    with contextlib.closing(_connected(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def dump(url: str, snapshot: str, file: Path) -> None:
    """Write a database, as it was at a snapshot, to a new file in `pg_dump`'s custom format, flushed to disk.

    Raises CellAssetsError with what the program said when it fails.
    """
    wanted = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={file}"]
    _run("pg_dump", url, wanted, f"the database cannot be written to {file}")


def load(url: str, file: Path) -> None:
    """Fill an empty database from a dump; raises as `dump` does, and then the database may be filled in part."""
    wanted = ["--no-owner", "--no-privileges", str(file)]
    failing = f"the database cannot be made from {file}"
    if _server_major(url) >= _KNOWS_TRANSACTION_TIMEOUT:
        _run("pg_restore", url, ["--exit-on-error", "--single-transaction", *wanted], failing)
    else:
        # An older server has nothing that the program would switch off for itself, and says so once.
        _run("pg_restore", url, wanted, failing, tolerated='"transaction_timeout"')


def is_empty(url: str) -> bool:
    """Whether a database holds no table; raises CellAssetsError when it cannot be reached."""
    with contextlib.closing(_connected(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_RELATIONS)
        return cursor.fetchone() is None


def clear(url: str) -> None:
    """Remove every table, view, sequence and routine of a database that `load` filled."""
    with contextlib.closing(_connected(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_RELATIONS)
        kinds = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}
        for schema, name, kind in cursor.fetchall():
            dropped = sql.SQL("DROP {} IF EXISTS {} CASCADE").format(
                sql.SQL(kinds[kind]), sql.Identifier(schema, name)
            )
            cursor.execute(dropped)
        cursor.execute(_ROUTINES)
        for (signature,) in cursor.fetchall():
            cursor.execute(f"DROP ROUTINE {signature} CASCADE")


def _connected(url: str) -> "psycopg2.extensions.connection":
    try:
        return psycopg2.connect(libpq_url(url))
    except psycopg2.OperationalError as error:
        raise CellAssetsError(f"the database cannot be reached: {' '.join(str(error).split())}") from None


def _run(
    program: str, url: str, arguments: Sequence[str], failing: str, tolerated: str | None = None
) -> None:
    plain = libpq_url(url)
    secret = _PASSWORD.search(plain)
    environment = dict(os.environ)
    if secret is not None:
        # Command lines are public on a machine.
        plain = _PASSWORD.sub(r"\g<user>@", plain)
        environment["PGPASSWORD"] = unquote(secret["password"])
    done = subprocess.run(
        [str(_program(program, url)), f"--dbname={plain}", "--no-password", *arguments],
        env={**environment, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith(f"{program}: error:")]
        if tolerated is not None and errors and all(tolerated in line for line in errors):
            return
        said = [line for line in errors if tolerated is None or tolerated not in line] or [done.stderr]
        raise CellAssetsError(f"{failing}: {' '.join(said[0].split())}")


def _program(name: str, url: str) -> Path:
    """The installed program, or the one on the PATH where the server is newer: neither reads a newer server."""
    server = _server_major(url)
    candidates = [installed_programs() / name, shutil.which(name)]
    for candidate in candidates:
        if candidate is not None and _major(Path(candidate)) >= server:
            return Path(candidate)
    raise BadInputError(
        f"the server is PostgreSQL {server} and no {name} as new is here: install PostgreSQL {server}'s client "
        "programs so that they are on the PATH"
    )


def _server_major(url: str) -> int:
    with contextlib.closing(_connected(url)) as connection:
        return int(connection.server_version // 10_000)


def _major(program: Path) -> int:
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
    match = _MAJOR.search(said)
    return int(match[1]) if match else 0
