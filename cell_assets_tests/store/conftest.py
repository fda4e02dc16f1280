"""A store on a fresh ledger; `ledger` is once SQLite and once PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import Store


@pytest.fixture
def store(tmp_path: Path, ledger: Ledger) -> Store:
    return Store(tmp_path / "store", ledger)


@pytest.fixture(params=["sqlite", "postgres", "bucket"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store on a folder with each kind of ledger, and one on a bucket."""
    if request.param == "bucket":
        with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
            yield Store(tmp_path / "store", ledger, bucket=request.getfixturevalue("bucket_url"))
        return
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(
        url if request.param == "sqlite" else request.getfixturevalue("postgres_ledger_url")
    ) as ledger:
        yield Store(tmp_path / "store", ledger)


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """For what does not depend on the kind of database."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield Store(tmp_path / "store", ledger)
