"""A forwarder in front of a real PostgreSQL that cuts a client's connection at a query of one's choice."""

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO

_SOCKET = ".s.PGSQL.5432"
_LATE_S = 0.3


class Cut(Enum):
    """What becomes of a query at which the connection is cut. The client sees the same each time."""

    BEFORE = "the server never gets it"
    AFTER = "the server has done it, and its answer is lost"
    LATE = "it is on its way still, and reaches the server only after the client knows of the cut"


Plan = Callable[[str], Cut | None]
"""Told every query in its order; None lets it pass."""


class Forwarder:
    """Listens on a Unix socket of its own. `url` leads through it; `plan` may be changed at any time."""

    def __init__(self, url: str) -> None:
        base, _, upstream = url.partition("host=")
        self._upstream = f"{upstream}/{_SOCKET}"
        self.folder = Path(tempfile.mkdtemp(prefix="cell_assets_cut_"))
        self.url = f"{base}host={self.folder}"
        self.plan: Plan = lambda query: None
        self.n_cuts = 0
        self._listener: socket.socket | None = None
        self._clients: list[socket.socket] = []
        self._turn = threading.Lock()

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / _SOCKET))
        self._listener.listen(100)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go_away(self) -> None:
        """Refuse connections, and end those that are open, until `listen`."""
        if self._listener is not None:
            (self.folder / _SOCKET).unlink()
            self._listener.close()
            self._listener = None
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, contextlib.suppress(OSError, EOFError):
            server.connect(self._upstream)
            asked, answered = client.makefile("rb"), server.makefile("rb")
            message = _startup(asked)
            while True:
                server.sendall(message)
                for answer in _answers(answered):
                    client.sendall(answer)
                message = _message(asked)
                query = message[5:-1].decode() if message[:1] == b"Q" else ""
                with self._turn:
                    cut = self.plan(query) if query else None
                    self.n_cuts += cut is not None
                if cut is not None:
                    _cut(cut, client, server, message, answered)
                    return


def _cut(cut: Cut, client: socket.socket, server: socket.socket, message: bytes, answered: BinaryIO) -> None:
    if cut is Cut.LATE:
        client.shutdown(socket.SHUT_RDWR)
        time.sleep(_LATE_S)
    if cut is not Cut.BEFORE:
        server.sendall(message)
        for _ in _answers(answered):
            pass
    client.shutdown(socket.SHUT_RDWR)


def _startup(stream: BinaryIO) -> bytes:
    size = _exactly(stream, 4)
    return size + _exactly(stream, struct.unpack("!i", size)[0] - 4)


def _message(stream: BinaryIO) -> bytes:
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!i", head[1:])[0] - 4)


def _answers(stream: BinaryIO) -> Iterator[bytes]:
    """What the server says until it waits for the next query."""
    message = b""
    while message[:1] != b"Z":
        message = _message(stream)
        yield message


def _exactly(stream: BinaryIO, size: int) -> bytes:
    read = stream.read(size)
    if len(read) < size:
        raise EOFError
    return read


@contextlib.contextmanager
def forwarder(url: str) -> Iterator[Forwarder]:
    """A forwarder to the server of `url`, which must name a Unix socket."""
    forward = Forwarder(url)
    forward.listen()
    try:
        yield forward
    finally:
        forward.go_away()
        shutil.rmtree(forward.folder)
