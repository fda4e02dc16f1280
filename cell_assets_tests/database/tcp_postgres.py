"""A PostgreSQL as a lab's own: reached by TCP, with a password, and taken away and brought back by a test."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from cell_assets.database.placement import Placement, place
from cell_assets.database.programs import make_own_folder

_START_S = 120.0


class Ending(Enum):
    """How a server goes."""

    IMMEDIATE = "pg_ctl stop -m immediate"
    """It tells its clients, and recovers from its log at the next start."""
    KILLED = "kill -9 to each of its processes"
    """As a machine that loses its power, but for what the operating system has written."""


@dataclass
class TcpPostgres:
    """A server on loopback; its user `postgres` may do everything."""

    port: int
    password: str = field(repr=False)
    """Not in tracebacks, so that a search for it anywhere else means something."""
    placement: Placement
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    """None while it is away."""

    @property
    def socket(self) -> Path:
        """Folder of the socket by which this machine's administrator gets in without a password."""
        return self.placement.socket

    def start(self) -> None:
        """Start it, and wait until it answers; raises AssertionError with its log when it does not."""
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.socket}",
            "unix_socket_permissions=0700",
            "max_connections=200",
            "fsync=off",
        )
        options = [part for setting in settings for part in ("-c", setting)]
        command = ["postgres", "-D", str(self.placement.data), *options]
        self.process = _run_as_account(self.placement, command, self.environment)
        _wait_until_it_answers(self, self.process)

    def stop(self, ending: Ending) -> None:
        """Take it away under its clients; returns when it has gone."""
        assert self.process is not None
        if ending is Ending.KILLED:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for pid in (self.process.pid, *map(int, children)):
                # A backend ends when its connection does, between the listing and the kill as well.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)
        self.process = None

    def url(self, database: str) -> str:
        """Address of a database, with the password."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """A new, empty database."""
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composable) -> None:
        """Execute one statement outside a transaction."""
        with self._asking() as cursor:
            cursor.execute(statement)

    def rows(self, query: sql.Composable) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self._asking() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    @contextmanager
    def _asking(self) -> Iterator["psycopg2.extensions.cursor"]:
        with closing(
            psycopg2.connect(host=str(self.socket), port=self.port, user="postgres", dbname="postgres")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor


@contextmanager
def tcp_postgres(home: Path, environment: Mapping[str, str]) -> Iterator[TcpPostgres]:
    """Run a new server with its data below `home`, which its user must be able to enter, until the block ends.

    Its processes get `environment` and nothing else. Raises AssertionError with its log when it does not start.
    """
    folder = home / "database"
    make_own_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
    make_own_folder(folder / "locks", 0o700)
    placement = place(home, folder / "locks")
    account = placement.account
    placement.data.mkdir(mode=0o700)
    if account is not None:
        os.chown(placement.data, account.uid, account.gid)
    _run_as_account(
        placement,
        [
            "initdb",
            f"--pgdata={placement.data}",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            "--no-instructions",
            # It lives for minutes.
            "--no-sync",
        ],
        environment,
    ).wait()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    made = TcpPostgres(port, secrets.token_hex(16), placement, environment)
    made.start()
    try:
        made.execute(sql.SQL("ALTER USER postgres PASSWORD {}").format(sql.Literal(made.password)))
        yield made
    finally:
        if made.process is not None:
            made.process.send_signal(signal.SIGINT)
            made.process.wait(60)


def _run_as_account(
    placement: Placement, command: list[str], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    account = placement.account
    with placement.log.open("ab") as log:
        return subprocess.Popen(
            [str(placement.programs / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=dict(environment),
            umask=0o077,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )


def _wait_until_it_answers(started: TcpPostgres, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            started.execute(sql.SQL("SELECT 1"))
            return
        except psycopg2.OperationalError as error:
            log = started.placement.log.read_text(errors="replace")[-2000:]
            assert server.poll() is None and time.monotonic() < until, f"{error}: {log}"
        time.sleep(0.05)
