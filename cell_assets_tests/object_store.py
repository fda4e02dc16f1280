"""An object store of this machine for tests: moto's server in a process of its own, and a proxy that says 503."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

SECRET = "canary-secret-Zq8/never+seen"
"""The key that tests give the client; it must turn up nowhere."""

_REFUSAL = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ServiceUnavailable</Code>'
    b"<Message>Please try again later.</Message></Error>"
)


@contextmanager
def served() -> Iterator[str]:
    """The address of a fresh server."""
    pytest.importorskip("moto", reason="moto, the object store of the tests, is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, server)
        yield address
    finally:
        server.kill()
        server.wait()


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            urlopen(f"{address}/moto-api/", timeout=10).close()
            return
        except (URLError, ConnectionError, TimeoutError):
            assert server.poll() is None, "moto's server ended"
            time.sleep(0.1)
    raise AssertionError("moto's server does not answer")


def client_environment(address: str, folder: Path) -> dict[str, str]:
    """What the client library reads of its own accord; keys come from a file, as a pod's secret would."""
    credentials = folder / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = canary-user\naws_secret_access_key = {SECRET}\n", encoding="utf-8"
    )
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "3",
    }


def make_bucket(name: str) -> None:
    """By the environment's own address."""
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).call_s3("create_bucket", Bucket=name)


Refuse = Callable[[str, str], bool]
"""Whether a request, by its method and path, is answered with 503."""


class FlakyProxy:
    """Stands before the server. `refuse` may be set while it runs; `refused` counts."""

    def __init__(self, address: str) -> None:
        self.refuse: Refuse = lambda method, path: False
        self.seen: list[tuple[str, str]] = []
        self.refused = 0
        self._guard = threading.Lock()
        proxy, target = self, address.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self._body()
                with proxy._guard:
                    proxy.seen.append((self.command, self.path))
                    is_refused = proxy.refuse(self.command, self.path)
                    proxy.refused += is_refused
                if is_refused:
                    self.send_response(503)
                    self.send_header("Content-Length", str(len(_REFUSAL)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(_REFUSAL)
                    return
                connection = http.client.HTTPConnection(target, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
                headers.pop("Transfer-Encoding", None)
                headers["Content-Length"] = str(len(body))
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815

            def _body(self) -> bytes:
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    pieces = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        pieces.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(pieces)
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "FlakyProxy":
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()


def with_client(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a process that is started."""
    return {**os.environ, **environment}
