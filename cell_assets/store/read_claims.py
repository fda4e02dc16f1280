"""Which copies the processes of this machine read just now, so that none is removed from under them.

A process that reads copies writes their names into a file of its own below `.staging`, whose lock file the kernel
frees at its death, as with a writer's; the sweep removes both then. A name is claimed before the copy is looked for,
and copies are removed only while nobody claims one.
"""

import contextlib
import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from cell_assets.store.layout import Layout
from cell_assets.store.leases import Holder, WriterLock

_SUFFIX = ".reads"
_MUTEX = ".copies.lock"


class ReadClaims:
    """The claims of one store object; they end with it, or with the process."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._own: tuple[int, Path] | None = None
        self._claimed: set[str] = set()
        self._guard = threading.Lock()

    def claim(self, uri: str) -> bool:
        """From now on nobody removes the copy of this name; returns whether it is there."""
        with self._guard, self._mutex(fcntl.LOCK_SH):
            path = self._own_file()
            if uri not in self._claimed:
                with path.open("a", encoding="utf-8") as file:
                    file.write(f"{uri}\n")
                self._claimed.add(uri)
            return self._layout.at(uri).is_dir()

    @contextlib.contextmanager
    def unclaimed(self, uri: str) -> Iterator[bool]:
        """Whether no living process claims this copy; none can begin to while the block runs."""
        with self._mutex(fcntl.LOCK_EX):
            yield not any(uri in names for names in self._living())

    def _living(self) -> Iterator[set[str]]:
        for path in self._layout.staging.glob(f"*{_SUFFIX}"):
            holder, lock = WriterLock.probe(path.with_suffix(".lock"))
            if lock is not None:
                lock.let_go()
            if holder is not Holder.GONE:
                with contextlib.suppress(FileNotFoundError):
                    yield set(path.read_text(encoding="utf-8").splitlines())

    def _own_file(self) -> Path:
        if self._own is None or self._own[0] != os.getpid():
            self._layout.staging.mkdir(parents=True, exist_ok=True)
            token = self._layout.new_token()
            lock = WriterLock.create(self._layout.lock(token))
            path = self._layout.staging / f"{token}{_SUFFIX}"
            self._own, self._claimed = (os.getpid(), path), set()
            weakref.finalize(self, _end, os.getpid(), path, lock)
        return self._own[1]

    @contextlib.contextmanager
    def _mutex(self, how: int) -> Iterator[None]:
        self._layout.root.mkdir(parents=True, exist_ok=True)
        with (self._layout.root / _MUTEX).open("a") as file:
            fcntl.flock(file, how)
            yield


def _end(pid: int, path: Path, lock: WriterLock) -> None:
    if os.getpid() == pid:
        path.unlink(missing_ok=True)
        lock.release()
