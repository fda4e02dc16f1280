"""A store on a fresh ledger; `ledger` is once SQLite and once PostgreSQL."""

from pathlib import Path

import pytest

from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import Store


@pytest.fixture
def store(tmp_path: Path, ledger: Ledger) -> Store:
    return Store(tmp_path / "store", ledger)
