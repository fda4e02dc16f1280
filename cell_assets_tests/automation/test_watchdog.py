"""The watchdog ends processes that do not want to end, and those that left their group."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cell_assets.automation import watchdog

_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)
_POLITE = """
import signal, sys, time
def end(*_):
    time.sleep(0.5)
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
print(flush=True)
time.sleep(600)
"""


def _start(code: str, mark: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, watchdog.MARK: mark},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_lets_the_polite_finish_and_kills_the_stubborn() -> None:
    polite, stubborn = _start(_POLITE, "one"), _start(_STUBBORN, "one")
    bystander = _start(_STUBBORN, "another")
    left = watchdog.terminate([polite.pid, stubborn.pid], "no such mark", grace_s=2)
    assert left == frozenset()
    assert polite.wait(1) == 7
    assert stubborn.wait(1) == -signal.SIGKILL
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_finds_by_its_mark_a_process_of_another_group() -> None:
    process = _start(_STUBBORN, "found by mark")
    watchdog.terminate([], "found by mark", grace_s=0.2)
    assert process.wait(1) == -signal.SIGKILL


def test_group_members_are_listed_the_same_without_proc() -> None:
    process = _start(_STUBBORN, "by ps")
    assert list(watchdog._members_by_ps([process.pid])) == [process.pid]
    process.kill()
    process.wait()


def test_acts_when_its_pipe_closes_and_only_then() -> None:
    mark = "of a dev that was killed"
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(watchdog.__file__)), mark], stdin=subprocess.PIPE
    )
    guarded = _start(_POLITE, "left its mark behind")
    assert guard.stdin is not None
    guard.stdin.write(b"%d\n" % guarded.pid)
    guard.stdin.flush()
    time.sleep(0.5)
    assert guarded.poll() is None
    guard.stdin.close()
    assert guarded.wait(5) == 7
    assert guard.wait(5) == 0
