"""The embedded PostgreSQL: started when the first command needs it, stopped when the last one has gone."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psycopg2

from cell_assets.database import watcher
from cell_assets.database.addresses import DatabaseAddresses, create_databases
from cell_assets.database.placement import Placement, place
from cell_assets.database.programs import MAJOR_VERSION, make_own_folder
from cell_assets.database.watcher import is_free, opened, stop_server, took
from cell_assets.errors import CellAssetsError
from cell_assets.settings import Settings

_START_S = 600.0
"""Recovery after a crash may take this long; a server that fails says so at once."""
_STOP_S = 90.0
_POLL_S = 0.01


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[DatabaseAddresses]:
    """Addresses of the configured server's databases or, where none is configured, of an embedded server's.

    The databases exist when the block begins. The embedded server lives at least until the block ends, also
    when other commands that use it end before; the last to end stops it. Raises CellAssetsError when a server
    cannot be reached or started.
    """
    if settings.database_url is not None:
        yield create_databases(settings.database_url)
        return
    folder = _folder(settings)
    # Root lets the account that runs the server pass through, but not look around.
    make_own_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
    make_own_folder(folder / "locks", 0o700)
    with _lease(folder / "locks"):
        with opened(folder / "locks" / "start") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            placement = place(folder.parent, folder / "locks")
            _initialise(placement)
            _ensure_running(placement)
            addresses = create_databases(placement.base_url)
        yield addresses


@contextlib.contextmanager
def inheritable_lease(settings: Settings) -> Iterator[int | None]:
    """A file descriptor that keeps the embedded server alive in every process that inherits it.

    For a child that may outlive this command and must see others finish with the database. Enter it inside
    `open_database`; None where this home has no embedded server.
    """
    lease_file = _folder(settings) / "locks" / "lease"
    if not lease_file.exists():
        yield None
        return
    with opened(lease_file) as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        yield lease.fileno()


def _folder(settings: Settings) -> Path:
    return settings.home.expanduser().absolute() / "database"


@contextlib.contextmanager
def _lease(locks: Path) -> Iterator[None]:
    """Keep the server alive; the last one to leave stops it."""
    with opened(locks / "lease") as lease:
        # Waits while somebody who saw no command left is stopping the server.
        fcntl.flock(lease, fcntl.LOCK_SH)
        try:
            yield
        finally:
            _leave(locks, lease)


def _leave(locks: Path, lease: IO[str]) -> None:
    try:
        if took(lease, fcntl.LOCK_EX):
            _stop(locks)
        elif not took(lease, fcntl.LOCK_SH):
            # The watcher or another command is stopping the server: do not return before it is down.
            _wait_until_free(locks / "watcher")
    finally:
        # Not left to the closing of the file: a forked child may hold it open too.
        fcntl.flock(lease, fcntl.LOCK_UN)


def _stop(locks: Path) -> None:
    watching = locks / "watcher"
    if watching.exists() and not is_free(watching):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(watching.read_text()), 15)
        _wait_until_free(watching)
    kept = locks.parent / "placement.json"
    if kept.exists() and not is_free(locks / "server"):
        stop_server(place(locks.parent.parent, locks).watch())


def _wait_until_free(lock_file: Path) -> None:
    until = time.monotonic() + _STOP_S
    while not is_free(lock_file) and time.monotonic() < until:
        time.sleep(_POLL_S)


def _initialise(placement: Placement) -> None:
    version = placement.data / "PG_VERSION"
    if version.exists():
        made_by = version.read_text().strip()
        if made_by != MAJOR_VERSION:
            raise CellAssetsError(
                f"the embedded database in {placement.data} was made by PostgreSQL {made_by}, this "
                f"installation has {MAJOR_VERSION}: upgrade it with pg_upgrade, or set CELL_ASSETS_HOME to "
                "another folder"
            )
        return
    account = placement.account
    partial = placement.data.with_name("data.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700)
    if account is not None:
        os.chown(partial, account.uid, account.gid)
    done = subprocess.run(
        [
            str(placement.programs / "initdb"),
            f"--pgdata={partial}",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            "--no-instructions",
        ],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
        start_new_session=True,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())
        raise CellAssetsError(f"the embedded database cannot be made in {placement.data.parent}: {reason}")
    partial.rename(placement.data)


def _ensure_running(placement: Placement) -> None:
    """Return once the server answers and a watcher is with it; call it while holding the start lock."""
    watching = placement.locks / "watcher"
    started = False
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if is_free(watching):
            if started:
                raise CellAssetsError(
                    f"the embedded database in {placement.data} did not start: {_last_line(placement.log)}"
                )
            _start_watcher(placement)
            started = True
        elif _answers(placement):
            return
        time.sleep(_POLL_S)
    raise CellAssetsError(
        f"the embedded database did not answer within {_START_S:.0f} s: see {placement.log}"
    )


def _start_watcher(placement: Placement) -> None:
    with placement.log.open("a") as log:
        subprocess.run(
            [sys.executable, "-I", "-S", str(Path(watcher.__file__).resolve()), placement.watch().to_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            check=False,
            # Ctrl-C in the command's terminal must reach neither the watcher nor PostgreSQL.
            start_new_session=True,
        )


def _answers(placement: Placement) -> bool:
    try:
        connection = psycopg2.connect(host=str(placement.socket), user="postgres", dbname="postgres")
    except psycopg2.OperationalError:
        return False
    connection.close()
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line or "Error" in line]
    return (fatal or lines or ["its log is empty"])[-1]
