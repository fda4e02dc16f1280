"""How much memory of its own a piece of work takes, for tests that start a process to measure it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_STATUS = Path("/proc/self/status")
_GIVEN_BACK = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
"""What is freed is the system's again at once: by what allocators kept, the same work took 9 to 106 MiB."""


class Peak:
    """The most anonymous memory, MiB, above that at the start; pages of memory maps are the operating system's to
    drop, and not counted."""

    def __enter__(self) -> Self:
        self._before, self.mib, self._watching = _anonymous_mib(), 0.0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._watching:
            self.mib = max(self.mib, _anonymous_mib() - self._before)
            time.sleep(0.002)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching = False
        self._thread.join()


def printed_mib(script: str, *arguments: object) -> tuple[float, ...]:
    """Numbers that a new process prints, since what a process took before is there to be taken again."""
    if not _STATUS.exists():
        pytest.skip("memory is measured by Linux's /proc")
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
        env=os.environ | _GIVEN_BACK,
    )
    return tuple(map(float, done.stdout.split()))


def _anonymous_mib() -> float:
    lines = _STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024
