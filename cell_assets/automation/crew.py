"""The child processes of `cell-assets dev`: started, looked after, and ended together.

One fault ends all of them: a daemon without its code server, or a page without its daemon, would look
healthy to a person and do nothing.
"""

import contextlib
import logging
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import IO, Self

import psycopg2

from cell_assets.automation import watchdog
from cell_assets.errors import CellAssetsError

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_DATABASE_EVERY_S = 2.0
_TAIL_LINES = 15


class ServiceStoppedError(CellAssetsError):
    """A part of `cell-assets dev` stopped by itself, and everything else was stopped for it."""

    def __init__(self, what: str, log: Path, last_lines: Sequence[str]) -> None:
        ending = f" and ends with: {last_lines[-1]}" if last_lines else " and is empty"
        super().__init__(f"{what}, so everything was stopped; its log is {log}{ending}")
        self.log = log
        self.last_lines = tuple(last_lines)
        """The end of the log, oldest line first."""


class StopRequestedError(Exception):
    """Somebody asked dev to stop (Ctrl-C, a signal)."""


@dataclass(frozen=True)
class Service:
    """A child process that is expected to run until it is stopped."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """All of its environment."""


@contextlib.contextmanager
def stop_requests() -> Iterator[Event]:
    """An event that Ctrl-C, SIGTERM and the closing of the terminal set, instead of ending the process.

    Enter it before starting children: where a script started dev in the background, SIGINT is ignored, and
    Dagster's processes copy that for SIGTERM. A handler here gives them the default back.
    """
    requested = Event()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            # nohup: the closing of the terminal is meant to be survived.
            continue
        before[number] = signal.signal(number, lambda *_: requested.set())
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Crew:
    """Starts services, notices when one of them, the watchdog or the database ends, and ends them all."""

    def __init__(
        self,
        folder: Path,
        logs: Path,
        requested: Event,
        database_url: str,
        database_patience_s: float,
        keep_open: Sequence[int],
    ) -> None:
        """Services work in `folder` and write to `logs`.

        `database_url` is what libpq reads; a database that goes away is waited for. The watchdog inherits the files
        `keep_open`, so that locks on them are held until the last service has ended.
        """
        self._folder = folder
        self._logs = logs
        self._requested = requested
        self._database_url = database_url
        self._database_patience_s = database_patience_s
        self._keep_open = keep_open
        self._mark = secrets.token_hex(16)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._database_answered = time.monotonic()
        self._database_asked = self._database_answered
        self._database_is_away = False

    def __enter__(self) -> Self:
        self._watchdog = self._start_watchdog()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        watchdog.terminate([process.pid for process in self._running.values()], self._mark)
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
        pipe = self._pipe()
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._watchdog.wait(2 * watchdog.GRACE_S)

    def start(self, service: Service) -> None:
        """Start a service in a session of its own, out of reach of the terminal's Ctrl-C."""
        self._running[service.name] = self._spawn(service)
        with contextlib.suppress(BrokenPipeError):
            # A watchdog that has ended is noticed by `check`.
            self._pipe().write(b"%d\n" % self._running[service.name].pid)

    def finish(self, service: Service, patience_s: float) -> None:
        """Start a process that ends by itself, and wait until it has done so successfully."""
        process = self._spawn(service)
        try:
            self.wait_until(lambda: self._ended_well(service.name, process), service.name, patience_s)
        finally:
            process.kill()
            process.wait()

    def wait_until(self, done: Callable[[], bool], name: str, patience_s: float) -> None:
        """Wait until `done()`, which is about the process `name`, while watching over all of them."""
        until = time.monotonic() + patience_s
        while not done():
            if self._requested.wait(_POLL_S):
                raise StopRequestedError
            self.check()
            if time.monotonic() > until:
                raise self._stopped(name, f"{name} did not answer within {patience_s:.0f} s")

    def watch(self) -> None:
        """Watch over the services until somebody asks to stop; raises what `check` raises."""
        while not self._requested.wait(_POLL_S):
            self.check()

    def check(self) -> None:
        """Raise ServiceStoppedError when a service, the watchdog or the database has gone."""
        self._check_database()
        for name, process in [*self._running.items(), ("watchdog", self._watchdog)]:
            code = process.poll()
            if code is not None:
                raise self._stopped(name, f"{name} {_how_it_ended(code)}")

    def _ended_well(self, name: str, process: "subprocess.Popen[bytes]") -> bool:
        code = process.poll()
        if code:
            raise self._stopped(name, f"{name} {_how_it_ended(code)}")
        return code == 0

    def _check_database(self) -> None:
        now = time.monotonic()
        if now - self._database_asked < _DATABASE_EVERY_S:
            return
        self._database_asked = now
        try:
            psycopg2.connect(self._database_url, connect_timeout=5).close()
        except psycopg2.OperationalError as error:
            reason = " ".join(str(error).split())
            if now - self._database_answered > self._database_patience_s:
                raise CellAssetsError(
                    f"the database stopped answering, so everything was stopped: {reason}; start it, then "
                    "`cell-assets dev` again"
                ) from error
            if not self._database_is_away:
                _log.warning(
                    "the database does not answer and is waited for, up to %g s: %s",
                    self._database_patience_s,
                    reason,
                )
            self._database_is_away = True
        else:
            if self._database_is_away:
                _log.warning("the database answers again, after %.0f s", now - self._database_answered)
            self._database_answered = now
            self._database_is_away = False

    def _stopped(self, name: str, what: str) -> ServiceStoppedError:
        log = self._log(name)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return ServiceStoppedError(what, log, [line for line in lines if line.strip()][-_TAIL_LINES:])

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _spawn(self, service: Service) -> "subprocess.Popen[bytes]":
        with self._fresh_log(service.name) as log:
            return subprocess.Popen(
                service.command,
                env={**service.environment, watchdog.MARK: self._mark, "PYTHONUNBUFFERED": "1"},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _start_watchdog(self) -> "subprocess.Popen[bytes]":
        with self._fresh_log("watchdog") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(watchdog.__file__).resolve()), self._mark],
                bufsize=0,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=self._keep_open,
                start_new_session=True,
            )

    def _pipe(self) -> IO[bytes]:
        assert self._watchdog.stdin is not None
        return self._watchdog.stdin

    def _fresh_log(self, name: str) -> IO[bytes]:
        log = self._log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            # What the last dev wrote may say why it ended.
            log.replace(log.with_suffix(".log.1"))
        return log.open("wb")


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
