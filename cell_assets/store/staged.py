"""One output on its way: a staging folder, the intent that declares it, and the signs of life around it."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from cell_assets.errors import CellAssetsError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Intent
from cell_assets.store.faults import disk_full_error, is_disk_full
from cell_assets.store.leases import LeaseKeeper, WriterLock
from cell_assets.store.tree import remove

_log = logging.getLogger(__name__)


@dataclass
class Staged:
    """A place to write one output's files. Made by `Store.write`, ended by `Store.publish` or `abandon`.

    As a context manager it abandons, on leaving, whatever was not published. Workers get `path` and nothing
    else; the process that opened it publishes. Not for use by several threads at once.
    """

    intent: Intent
    path: Path
    """Empty folder to fill, writable until published."""
    root: Path
    ledger: Ledger = field(repr=False)
    lock: WriterLock = field(repr=False)
    keeper: LeaseKeeper = field(repr=False)
    is_open: bool = True
    """Neither published nor abandoned."""

    @property
    def asset(self) -> str:
        """The asset being written."""
        return self.intent.asset

    @property
    def partition(self) -> str:
        """Its partition key."""
        return self.intent.partition

    @property
    def title(self) -> str:
        """Asset and partition, for messages."""
        return f"{self.asset} {self.partition}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_open:
            self.abandon()
        if error is not None and not isinstance(error, CellAssetsError) and is_disk_full(error):
            raise disk_full_error(self.root, f"writing {self.title}") from error

    def abandon(self) -> None:
        """Remove the staged bytes and close the intent; what cannot be done now is left to the sweep."""
        if not self.is_open:
            return
        self.is_open = False
        self.keeper.release(self.intent)
        try:
            remove(self.path)
            self.ledger.close_intent(self.intent.id)
        except (CellAssetsError, SQLAlchemyError, OSError) as error:
            _log.warning("%s: staging folder %s is left to the sweep: %s", self.title, self.path, error)
        finally:
            self.lock.release()

    def finish(self) -> None:
        """Let go after publishing: the intent closed with the commit and the bytes moved away."""
        self.is_open = False
        self.keeper.release(self.intent)
        self.lock.release()
