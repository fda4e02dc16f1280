"""A `cell-assets dev` as a test drives it: started, asked over HTTP, watched through /proc."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_START_S = 120.0
_LAUNCH = """
mutation Launch($job: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "cell_assets", repositoryName: "__repository__", jobName: $job}
    runConfigData: {}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""


@dataclass(frozen=True)
class Process:
    """A living process of a session."""

    pid: int
    command: str


@dataclass(frozen=True)
class DevSession:
    """A running dev."""

    home: Path
    process: "subprocess.Popen[str]"
    dagster: str
    mlflow: str

    def processes(self) -> list[Process]:
        """Everything that lives for this home, dev itself included."""
        return processes_of(self.home)

    def pid_of(self, *words: str) -> int:
        """The one process whose command line holds all these words."""
        found = [one for one in self.processes() if all(word in one.command for word in words)]
        assert len(found) == 1, (words, found)
        return found[0].pid

    def launch(self, job: str) -> str:
        """Launch a run as the UI does; returns its id."""
        launched = ask_graphql(self.dagster, _LAUNCH, {"job": job})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def wait_ended(self, patience_s: float = 60.0) -> tuple[int, str]:
        """Exit code and standard error of dev; waits until none of its processes is left."""
        _, said = self.process.communicate(timeout=patience_s)
        wait_until(lambda: not self.processes(), patience_s, self.processes)
        return self.process.returncode, said


@contextmanager
def dev_session(home: Path, command: Sequence[str]) -> Iterator[DevSession]:
    """Start `command`, which prints its addresses as one line of JSON when all is served."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            raise AssertionError(process.communicate(timeout=_START_S)[1])
        addresses = json.loads(said)
        yield DevSession(home, process, addresses["dagster"], addresses["mlflow"])
    finally:
        process.terminate()
        process.communicate(timeout=60)


def stand_in(home: Path) -> list[str]:
    """The command that serves the stub definitions."""
    return [sys.executable, "-m", "cell_assets_tests.automation.dev_stand_in", str(home)]


@contextmanager
def open_home() -> Iterator[Path]:
    """An empty home that PostgreSQL's user can enter."""
    home = Path(tempfile.mkdtemp(prefix="cell_assets_dev_"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def processes_of(home: Path) -> list[Process]:
    """Living processes that name the home in their environment or command line, or work inside it."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            named = str(home).encode() in command + (folder / "environ").read_bytes()
            inside = (folder / "cwd").readlink().is_relative_to(home)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if named or inside:
            found.append(Process(int(folder.name), command.replace(b"\0", b" ").decode(errors="replace")))
    return found


def ask_graphql(address: str, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask Dagster's webserver; raises AssertionError for errors in the answer."""
    body = json.dumps({"query": query, "variables": variables or {}})
    answer = json.loads(_request(address, "POST", "/graphql", body))
    assert "errors" not in answer, answer
    return dict(answer["data"])


def get(address: str, path: str) -> bytes:
    """The page at a path."""
    return _request(address, "GET", path, None)


def wait_until(done: Callable[[], bool], patience_s: float, state: Callable[[], object]) -> None:
    """Wait for a condition; on failure show `state()`."""
    until = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < until, state()
        time.sleep(0.1)


def _request(address: str, method: str, path: str, body: str | None) -> bytes:
    connection = http.client.HTTPConnection(str(urlsplit(address).netloc), timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status == http.client.OK, (answer.status, content[:500])
    return content
