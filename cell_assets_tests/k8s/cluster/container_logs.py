"""What containers wrote, served as a kubelet does, so that the API server can hand it on."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, urlsplit

_POLL_S = 0.05


class ContainerLog:
    """The lines of one container, each in its file after the time at which it came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complete = threading.Event()
        path.touch()

    def fill(self, stream: IO[bytes]) -> None:
        """Take lines until the stream ends."""
        with self.path.open("ab", buffering=0) as log:
            for line in iter(stream.readline, b""):
                log.write(_now().encode() + b" " + line.rstrip(b"\n") + b"\n")

    def lines(self, follow: bool) -> Iterator[bytes]:
        """All lines so far; with `follow`, also those that come until the container has ended."""
        with self.path.open("rb") as log:
            while True:
                # Asked before reading: what is written between the two is read in the next round.
                ended = self.complete.is_set() or not follow
                yield from iter(log.readline, b"")
                if ended:
                    return
                time.sleep(_POLL_S)


class LogServer:
    """Answers `/containerLogs/NAMESPACE/POD/CONTAINER` over TLS on loopback."""

    def __init__(
        self, find: Callable[[str, str, str], ContainerLog | None], certificate: Path, key: Path
    ) -> None:
        """`find` gives the log of a namespace, pod and container."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _answer(self, find)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the tests' output is theirs."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _answer(request: BaseHTTPRequestHandler, find: Callable[[str, str, str], ContainerLog | None]) -> None:
    address = urlsplit(request.path)
    asked = {name: values[-1] for name, values in parse_qs(address.query).items()}
    words = address.path.strip("/").split("/")
    log = find(words[1], words[2], words[3]) if words[0] == "containerLogs" and len(words) == 4 else None
    if log is None:
        request.send_error(HTTPStatus.NOT_FOUND, "no such container on this node")
        return
    request.send_response(HTTPStatus.OK)
    request.send_header("Content-Type", "text/plain")
    # HTTP/1.0 without a length: the end of the connection is the end of the log.
    request.end_headers()
    for line in _chosen(log, asked):
        try:
            request.wfile.write(line)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return


def _chosen(log: ContainerLog, asked: dict[str, str]) -> Iterator[bytes]:
    with_time = asked.get("timestamps") == "true"
    follow = asked.get("follow") == "true"
    since = ""
    if "sinceSeconds" in asked:
        since = _text(datetime.now(UTC) - timedelta(seconds=int(asked["sinceSeconds"])))
    skipped = 0
    if "tailLines" in asked:
        skipped = max(0, sum(1 for _ in log.lines(follow=False)) - int(asked["tailLines"]))
    for index, line in enumerate(log.lines(follow)):
        stamp, _, said = line.partition(b" ")
        if index >= skipped and stamp.decode() >= since:
            yield line if with_time else said


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
