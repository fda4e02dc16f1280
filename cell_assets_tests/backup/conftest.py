"""Labs of a store, a ledger and databases alone, and where they can be restored to."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cell_assets.backup.restoring import RestoredLab, restore_backup
from cell_assets.backup.taking import TakenBackup, take_backup
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets.store.store import Store

_labs = itertools.count()


@dataclass(frozen=True)
class Lab:
    """A home and databases of its own."""

    settings: Settings

    @contextmanager
    def opened(self) -> Iterator[Store]:
        with open_database(self.settings) as addresses, Ledger.open(addresses.ledger) as ledger:
            yield Store(self.settings.store_root, ledger)

    def addresses(self) -> DatabaseAddresses:
        assert self.settings.database_url is not None
        return DatabaseAddresses.of(self.settings.database_url)

    def back_up(self, folder: Path, keep_free: int = 0) -> TakenBackup:
        with self.opened() as store:
            home = self.settings.home
            return take_backup(store, self.addresses(), folder, home, lambda *_: None, keep_free)

    def restore(self, folder: Path) -> RestoredLab:
        return restore_backup(folder, self.settings, lambda *_: None)


@pytest.fixture
def new_home(postgres_url: str, tmp_path: Path) -> Callable[[], Lab]:
    """Makes labs that hold nothing: a home that is not there yet, and databases that are not either."""

    def make() -> Lab:
        name = f"kept_{next(_labs)}"
        url = postgres_url.replace("/cell_assets?", f"/{name}?")
        return Lab(Settings(home=tmp_path / name, database_url=url, keep_free_bytes=0))

    return make
