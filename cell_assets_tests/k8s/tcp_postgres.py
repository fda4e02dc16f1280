"""A PostgreSQL that pods reach as they do in a cluster: by TCP, with a password."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import sql

from cell_assets.database.placement import Placement, place
from cell_assets.database.programs import make_own_folder

_START_S = 120.0


@dataclass(frozen=True)
class TcpPostgres:
    """An empty server on loopback; its user `postgres` may do everything."""

    port: int
    password: str = field(repr=False)
    """Not in tracebacks, so that a search for it anywhere else means something."""
    socket: Path
    """Folder of the socket by which this machine's administrator gets in without a password."""

    def url(self, database: str) -> str:
        """Address of a database, with the password."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """A new, empty database."""
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composable) -> None:
        """Execute one statement outside a transaction."""
        with closing(
            psycopg2.connect(host=str(self.socket), port=self.port, user="postgres", dbname="postgres")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


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
    settings = (
        "listen_addresses=127.0.0.1",
        f"port={port}",
        f"unix_socket_directories={placement.socket}",
        "unix_socket_permissions=0700",
        "max_connections=200",
        "fsync=off",
    )
    options = [part for setting in settings for part in ("-c", setting)]
    server = _run_as_account(placement, ["postgres", "-D", str(placement.data), *options], environment)
    started = TcpPostgres(port, secrets.token_hex(16), placement.socket)
    try:
        _wait_until_it_answers(started, server, placement)
        started.execute(sql.SQL("ALTER USER postgres PASSWORD {}").format(sql.Literal(started.password)))
        yield started
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


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


def _wait_until_it_answers(
    started: TcpPostgres, server: "subprocess.Popen[bytes]", placement: Placement
) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            started.execute(sql.SQL("SELECT 1"))
            return
        except psycopg2.OperationalError as error:
            log = placement.log.read_text(errors="replace")[-2000:]
            assert server.poll() is None and time.monotonic() < until, f"{error}: {log}"
        time.sleep(0.05)
