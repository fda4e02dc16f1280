"""The promise on concurrency: many migrate and record at once, the server dies, and history is exact."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cell_assets.database.embedded import open_database
from cell_assets.settings import Settings
from cell_assets_tests.ledger.writers import (
    assert_nothing_is_lost_or_doubled,
    kill_family,
    migrate_at_once,
    recording_side_by_side,
    wait_until_recorded,
)


@pytest.mark.parametrize(
    ("n_migrating", "n_writers", "n_each"),
    [(4, 4, 40), pytest.param(8, 16, 500, marks=pytest.mark.slow)],
)
def test_nothing_is_lost_or_doubled(empty_url: str, n_migrating: int, n_writers: int, n_each: int) -> None:
    migrate_at_once(empty_url, n_migrating)
    with recording_side_by_side(empty_url, n_writers, n_each):
        pass
    assert_nothing_is_lost_or_doubled(empty_url, n_writers, n_each)


@pytest.fixture
def own_home() -> Iterator[Path]:
    """A home whose server a test may kill."""
    folder = Path(tempfile.mkdtemp(prefix="cell_assets_home_"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("n_writers", "n_each", "n_crashes"),
    [(4, 60, 3), pytest.param(16, 500, 12, marks=pytest.mark.slow)],
)
def test_a_server_killed_while_many_record_costs_nothing(
    own_home: Path, n_writers: int, n_each: int, n_crashes: int
) -> None:
    settings = Settings(home=own_home, database_url=None)
    postmaster = own_home / "database" / "data" / "postmaster.pid"
    with contextlib.ExitStack() as servers:
        url = servers.enter_context(open_database(settings)).ledger
        with recording_side_by_side(url, n_writers, n_each):
            for crash in range(n_crashes):
                wait_until_recorded(url, (crash + 1) * n_writers * n_each // (n_crashes + 2))
                kill_family(int(postmaster.read_text().split()[0]))
                servers.enter_context(open_database(settings))
        assert_nothing_is_lost_or_doubled(url, n_writers, n_each)
