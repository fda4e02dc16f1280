"""Pages of the Dagster UI: a real webserver over a real code server, looked at by a real Chromium."""

import json
import os
import signal
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, Request, sync_playwright

from cell_assets.automation.crew import Service
from cell_assets.automation.dagster_home import prepare_dagster_home, process_environment
from cell_assets.automation.listening import LOOPBACK, Listening
from cell_assets.automation.services import CodeLocation, answers, code_server, webserver
from cell_assets.automation.session import Session

_PATIENCE_S = 600.0
LOOKS = 4
REPEATS = 5
_SLOW_MS = 20.0


@dataclass(frozen=True)
class Served:
    """A webserver that answers."""

    address: str
    webserver_pid: int
    seconds_to_load: float
    """From the start of the code server until it answers."""


@dataclass(frozen=True)
class PageTimes:
    """A page in Chromium, and its queries sent once more."""

    path: str
    shown_s: list[float]
    """Until what was asked for can be read, of looks one after the other."""
    webserver_cpu_s: list[float]
    """Processor time of the webserver for each."""
    query_ms: dict[str, float]
    """Median of each of the page's slower queries, sent again `REPEATS` times, by operation; most first."""


@contextmanager
def served(session: Session) -> Iterator[Served]:
    """A code server and a webserver, until the block ends."""
    settings = session.settings
    home = prepare_dagster_home(settings)
    environment = {**os.environ, **process_environment(settings, session.addresses)}
    code_port, port = _free_port(), _free_port()
    workspace = home / "scale_workspace.yaml"
    workspace.write_text(
        f"load_from: [{{grpc_server: {{host: {LOOPBACK}, port: {code_port}, location_name: cell_assets}}}}]\n"
    )
    started = time.perf_counter()
    with _process(code_server(Listening(code_port), CodeLocation(), environment), home):
        _wait(lambda: _accepts(code_port))
        loaded = time.perf_counter() - started
        with _process(webserver(Listening(port), workspace, environment), home) as process:
            _wait(lambda: answers(port, "/server_info"))
            yield Served(f"http://{LOOPBACK}:{port}", process.pid, loaded)


def look(
    served: Served, browser: Path, flags: Sequence[str], pages: Sequence[tuple[str, str]]
) -> list[PageTimes]:
    """Open every page, given by path and by a text that it must show, and send its queries again."""
    found = []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=list(flags))
        page = opened.new_page(viewport={"width": 1800, "height": 1100})
        for path, text in pages:
            shown, cpu_s, asked = [], [], {}
            for _ in range(LOOKS):
                before = _cpu_s(served.webserver_pid)
                seconds, queries = _open(page, served.address + path, text)
                cpu_s.append(round(_cpu_s(served.webserver_pid) - before, 2))
                shown.append(round(seconds, 2))
                asked |= queries
            medians = {one: statistics.median(ask_again(served, body)) for one, body in asked.items()}
            slow = sorted((one for one in medians.items() if one[1] >= _SLOW_MS), key=lambda one: -one[1])
            found.append(PageTimes(path, shown, cpu_s, dict(slow)))
        opened.close()
    return found


def ask_again(served: Served, body: bytes) -> list[float]:
    """Milliseconds of one query, several times."""
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        request = urllib.request.Request(
            f"{served.address}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            answer.read()
        took.append(round(1000 * (time.perf_counter() - started), 1))
    return took


def _open(page: Page, url: str, text: str) -> tuple[float, dict[str, bytes]]:
    """Seconds until the page shows the text, and its queries by operation, as the UI sent them."""
    asked: dict[str, bytes] = {}

    def note(request: Request) -> None:
        body = request.post_data_buffer
        if "/graphql" in request.url and body is not None:
            asked[json.loads(body)["operationName"]] = body

    page.on("requestfinished", note)
    started = time.perf_counter()
    page.goto(url)
    page.get_by_text(text).first.wait_for(timeout=1000 * _PATIENCE_S)
    seconds = time.perf_counter() - started
    # What a page asks for in the background, so that it is not taken for the next page's.
    page.wait_for_timeout(2000)
    page.remove_listener("requestfinished", note)
    return seconds, asked


@contextmanager
def _process(service: Service, home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (home / f"{service.name}.log").open("wb") as log:
        process = subprocess.Popen(
            list(service.command),
            env=dict(service.environment),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cpu_s(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def _wait(what: object) -> None:
    until = time.monotonic() + _PATIENCE_S
    assert callable(what)
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as free:
        return int(free.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
