"""The process that keeps the embedded PostgreSQL while a command needs it, and stops it cleanly after.

Run as a script by an interpreter of its own, so it imports the standard library only. Four lock files, all
taken with flock so that the kernel gives them back however a process ends:

- `lease`: shared by every living command; who gets it exclusively knows that no command is left.
- `start`: held by the one command that is starting the server.
- `watcher`: held by the watcher; its text is the watcher's process id.
- `server`: inherited by PostgreSQL and all its children; free means that none of them lives.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

_POLL_S = 0.1
_FAST_STOP_S = 60.0
"""How long a fast shutdown may take before an immediate one, which is safe but recovers at the next start."""
_IMMEDIATE_STOP_S = 10.0
_LONGEST_LOG_BYTES = 10_000_000

SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=200",
    "timezone=UTC",
    "log_timezone=UTC",
    # Parallel queries need shared memory that containers seldom have.
    "max_parallel_workers_per_gather=0",
)


@dataclass(frozen=True)
class Watch:
    """Which server to keep, and where the lock files are. Paths are text, because this travels as JSON."""

    locks: str
    postgres: str
    data: str
    socket: str
    log: str
    uid: int | None
    """User and group to run PostgreSQL as; None: those of the command."""
    gid: int | None

    def to_json(self) -> str:
        """One line, for the command line."""
        return json.dumps(asdict(self))

    def lock_file(self, name: str) -> Path:
        """Path of the lock file `lease`, `start`, `watcher` or `server`."""
        return Path(self.locks) / name


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """A lock file, open and not yet locked."""
    with path.open("a+") as handle:
        yield handle


def took(handle: IO[str], kind: int) -> bool:
    """Try to take a flock of `kind` without waiting."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock file exclusively; asks by a shared lock, so askers never collide."""
    with opened(path) as handle:
        return took(handle, fcntl.LOCK_SH)


def stop_server(watch: Watch) -> None:
    """Shut PostgreSQL down and wait until its last process has gone."""
    for signal_number, patience_s in (
        (signal.SIGINT, _FAST_STOP_S),
        (signal.SIGQUIT, _IMMEDIATE_STOP_S),
    ):
        if is_free(watch.lock_file("server")):
            return
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError, IndexError):
            pid = int((Path(watch.data) / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal_number)
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if is_free(watch.lock_file("server")):
                return
            time.sleep(_POLL_S / 10)


def main(watch: Watch) -> int:
    """Start or adopt the server in a background process; returns once that process is on watch."""
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        with os.fdopen(told) as pipe:
            return 0 if pipe.read() == "watching" else 1
    os.close(told)
    with opened(watch.lock_file("watcher")) as mine:
        # Waits for a watcher that is about to end; commands start watchers one at a time.
        fcntl.flock(mine, fcntl.LOCK_EX)
        mine.truncate(0)
        mine.write(str(os.getpid()))
        mine.flush()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end_watch)
        server = _start_server(watch)
        os.write(tell, b"watching")
        os.close(tell)
        try:
            _wait_for_last_lease(watch, server)
        except _WatchEnded:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stop_server(watch)
        if server is not None:
            server.wait(_IMMEDIATE_STOP_S)
    return 0


class _WatchEnded(BaseException):
    """Somebody asked the watcher to stop the server."""


def _end_watch(signal_number: int, frame: object) -> None:
    raise _WatchEnded


def _start_server(watch: Watch) -> "subprocess.Popen[bytes] | None":
    """Start PostgreSQL; None when it runs already, left by a watcher that was killed."""
    with opened(watch.lock_file("server")) as alive, _log(watch) as log:
        if not took(alive, fcntl.LOCK_EX):
            return None
        # Nobody lives who could own these; with a process id used again they would stop the start.
        stale = [Path(watch.data) / "postmaster.pid", *Path(watch.socket).glob(".s.PGSQL.*")]
        for path in stale:
            path.unlink(missing_ok=True)
        settings = (*SETTINGS, f"unix_socket_directories={watch.socket}")
        options = [part for setting in settings for part in ("-c", setting)]
        return subprocess.Popen(
            [watch.postgres, "-D", watch.data, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[alive.fileno()],
            cwd="/",
            umask=0o077,
            start_new_session=True,
            user=watch.uid,
            group=watch.gid,
            extra_groups=None if watch.uid is None else [],
        )


@contextlib.contextmanager
def _log(watch: Watch) -> Iterator[IO[str]]:
    path = Path(watch.log)
    if path.exists() and path.stat().st_size > _LONGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    with path.open("a") as handle:
        yield handle


def _wait_for_last_lease(watch: Watch, server: "subprocess.Popen[bytes] | None") -> None:
    with opened(watch.lock_file("lease")) as lease:
        while True:
            if server is not None:
                server.poll()
            if is_free(watch.lock_file("server")):
                return
            if took(lease, fcntl.LOCK_EX):
                # Held until the server is down: a command that comes now waits, then starts it again.
                stop_server(watch)
                return
            time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main(Watch(**json.loads(sys.argv[1]))))
