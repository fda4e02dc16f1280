"""The process that ends the children of `cell-assets dev` when dev itself was killed and cannot.

Run as a script by an interpreter of its own, so it imports the standard library only. Its standard input is
a pipe whose other end dev alone holds: each line names a process group, and the end of the pipe means that
dev has gone, however that came about.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

MARK = "CELL_ASSETS_DEV_SESSION"
"""Variable that every process below one `cell-assets dev` inherits, its value unique to that dev. It finds
those that left their process group, and those that dev started without living to report them."""

GRACE_S = 10.0
"""Time for a run to record that it was interrupted, before it is killed."""
_KILL_S = 10.0
_POLL_S = 0.05


def terminate(groups: Collection[int], mark: str, grace_s: float = GRACE_S) -> frozenset[int]:
    """End every process of these process groups and of the session `mark`: politely, then by force.

    Returns the ids of those still there at the end, which happens only where the kernel cannot end them.
    """
    asked: set[int] = set()
    begin = time.monotonic()
    while living := frozenset(_members(groups, mark)):
        waited_s = time.monotonic() - begin
        if waited_s > grace_s + _KILL_S:
            break
        for pid in living:
            # Once only: a second request would interrupt what the first one set going.
            if waited_s > grace_s:
                _send(pid, signal.SIGKILL)
            elif pid not in asked:
                _send(pid, signal.SIGTERM)
                asked.add(pid)
        time.sleep(_POLL_S)
    return living


def _send(pid: int, signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def _members(groups: Collection[int], mark: str) -> Iterator[int]:
    if not Path("/proc/self/stat").exists():
        yield from _members_by_ps(groups)
        return
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        # Processes end while they are looked at, and other people's cannot be looked into.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state == "Z":
                continue
            if int(group) in groups or wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def _members_by_ps(groups: Collection[int]) -> Iterator[int]:
    """For systems without /proc, which do not show other processes' environment either."""
    listing = subprocess.run(
        ["ps", "-axo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        pid, group, state = line.split()[:3]
        if int(group) in groups and not state.startswith("Z"):
            yield int(pid)


def main(mark: str) -> int:
    """Read process groups until dev has gone, then end what it left."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    groups = [int(line) for line in sys.stdin]
    left = terminate(groups, mark)
    if left:
        sys.stderr.write(f"processes {sorted(left)} could not be ended\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
