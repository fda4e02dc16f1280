"""Signs of life of a writer: a lock file that the kernel frees at its death, and a lease in the ledger.

The lock tells within a machine, at once and without process numbers (which are reused, and mean nothing
between containers). The lease tells between machines, where a lock may not reach.
"""

import errno
import fcntl
import logging
import os
import socket
import threading
import time
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from cell_assets.errors import CellAssetsError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Intent

_log = logging.getLogger(__name__)

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def host_name() -> str:
    """This machine, or container, as intents and runs name it."""
    return socket.gethostname()


class Holder(StrEnum):
    """What a lock file says about its writer."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """The file is missing, or its file system has no locks: only the lease can tell."""


class WriterLock:
    """A lock file held from before the intent until after it closes.

    Pool workers that were forked meanwhile hold it too, rightly: they may still write into the folder.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def create(cls, path: Path) -> "WriterLock":
        """Create and hold the lock file; the name is random, so nobody but a sweep competes for it."""
        while True:
            lock = cls(path, os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
            lock._try()
            if lock._is_still_named():
                return lock
            lock._close()

    @classmethod
    def probe(cls, path: Path) -> tuple[Holder, "WriterLock | None"]:
        """Who holds the lock file; when its writer is gone, the lock comes along, held."""
        try:
            lock = cls(path, os.open(path, os.O_RDWR))
        except FileNotFoundError:
            return Holder.UNKNOWN, None
        holder = lock._try()
        if holder is Holder.GONE and lock._is_still_named():
            return holder, lock
        lock._close()
        return (Holder.UNKNOWN if holder is Holder.GONE else holder), None

    def release(self) -> None:
        """Remove the file and let go; doing it twice is harmless."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            self._close()

    def let_go(self) -> None:
        """Stop holding it, and leave the file where it is."""
        self._close()

    def _try(self) -> Holder:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder.ALIVE
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return Holder.UNKNOWN
            raise
        return Holder.GONE

    def _is_still_named(self) -> bool:
        """A sweep may have removed the file between its creation and its locking."""
        assert self._descriptor is not None
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class LeaseKeeper:
    """Renews the leases of every write in progress, from one thread that lives only while there are any."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._held: dict[int, timedelta] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def keep(self, intent: Intent, lease: timedelta) -> None:
        """Renew this intent's lease every third of it, until released."""
        with self._changed:
            self._held[intent.id] = lease
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._renew, name="cell-assets-leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def release(self, intent: Intent) -> None:
        """Renew no longer; unknown intents are ignored."""
        with self._changed:
            self._held.pop(intent.id, None)
            self._changed.notify()

    def _renew(self) -> None:
        while True:
            with self._changed:
                if not self._held:
                    # Some seconds of grace: hundreds of small writes in a row share one thread.
                    self._changed.wait(5)
                    if not self._held:
                        self._thread = None
                        return
                due = self._due_s()
                # Woken by every change; one that neither empties the list nor hastens it waits on.
                ends = time.monotonic() + due
                while self._held and self._due_s() >= due and (left := ends - time.monotonic()) > 0:
                    self._changed.wait(left)
                if time.monotonic() < ends:
                    continue
                held = dict(self._held)
            for intent_id, lease in held.items():
                self._renew_one(intent_id, lease)

    def _due_s(self) -> float:
        return min(self._held.values()).total_seconds() / 3

    def _renew_one(self, intent_id: int, lease: timedelta) -> None:
        try:
            self._ledger.renew_intent(intent_id, lease)
        except (CellAssetsError, SQLAlchemyError) as error:
            # Tried again in a third of a lease; should it end, the lock file still speaks for the writer.
            with self._changed:
                if intent_id in self._held:
                    _log.warning("lease of intent %d was not renewed: %s", intent_id, error)
