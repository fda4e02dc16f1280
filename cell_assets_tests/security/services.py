"""Services of a lab as real processes over a PostgreSQL with a password, and commands beside them."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cell_assets_tests.end_to_end.lab import CHECKOUT

_PATIENCE_S = 240.0
_COMMAND = [sys.executable, "-c", "from cell_assets.cli import main; main()"]


@dataclass
class Services:
    """What runs, and what it wrote on its outputs."""

    environment: Mapping[str, str]
    folder: Path
    """Of logs; what commands said lies in it too."""
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, port: bool = True) -> None:
        """`cell-assets serve` with these arguments, on a free port of its own."""
        if port:
            with closing(socket.create_server(("127.0.0.1", 0))) as free:
                self.ports[name] = int(free.getsockname()[1])
            arguments = (*arguments, "--port", str(self.ports[name]))
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*_COMMAND, "serve", *arguments],
                env=dict(self.environment),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self, name: str, *question: str) -> None:
        """Until `cell-assets healthy` says that a service works."""
        arguments = ("healthy", *question)
        if name in self.ports:
            arguments = (*arguments, "--port", str(self.ports[name]))
        until = time.monotonic() + _PATIENCE_S
        while self.run(*arguments, said_as=f"healthy {name}").returncode != 0:
            log = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
            assert self.running[name].poll() is None and time.monotonic() < until, (name, log)
            time.sleep(0.5)

    def run(
        self, *arguments: str, said_as: str = "", **variables: str
    ) -> "subprocess.CompletedProcess[bytes]":
        """One command to its end; its outputs are kept."""
        done = subprocess.run(
            [*_COMMAND, *arguments],
            env={**self.environment, **variables},
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        with (self.folder / f"{said_as or '_'.join(arguments[:2]).replace('/', '_')}.said").open(
            "ab"
        ) as said:
            said.write(done.stdout + done.stderr)
        return done

    def ask(self, name: str, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a Dagster webserver answers to a question in GraphQL, errors included."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=120)
        with closing(connection):
            body = json.dumps({"query": query, "variables": variables or {}})
            connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
            return dict(json.loads(connection.getresponse().read()))

    def stop(self, name: str) -> None:
        """Ask a service to end, and wait until it has."""
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def services(environment: Mapping[str, str], folder: Path) -> Iterator[Services]:
    """Nothing runs yet when the block begins, and nothing any more when it ended."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELL_ASSETS_")}
    made = Services({**inherited, **environment}, folder)
    try:
        yield made
    finally:
        for name in reversed(list(made.running)):
            made.stop(name)


class CommandLines:
    """Every command line that any process of this machine has while the block lasts, as `ps` would show it."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "CommandLines":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(file.read_bytes())
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
