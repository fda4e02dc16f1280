"""A server that may be taken away, and labs on it."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell_assets.settings import Settings
from cell_assets_tests.database.tcp_postgres import TcpPostgres, tcp_postgres

pytest.register_assert_rewrite("cell_assets_tests.end_to_end.lab", "cell_assets_tests.faults.faulty_lab")

from cell_assets_tests.end_to_end.lab import PlateFolder, tiny_plate  # noqa: E402
from cell_assets_tests.faults.faulty_lab import FaultyLab  # noqa: E402

_labs = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[TcpPostgres]:
    """A PostgreSQL of the room's own, which is there when a test begins."""
    home = Path(tempfile.mkdtemp(prefix="cell_assets_faults_"))
    home.chmod(0o755)
    with tcp_postgres(home, {}) as running:
        yield running
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def new_lab(server: TcpPostgres, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], FaultyLab]:
    """Makes labs with an empty home, and databases that are not there yet."""

    def make() -> FaultyLab:
        url = server.url(f"lab_{next(_labs)}")
        return FaultyLab(Settings(home=tmp_path_factory.mktemp("home"), database_url=url, workers=1), server)

    return make


@pytest.fixture(scope="session")
def two_fovs(tmp_path_factory: pytest.TempPathFactory) -> PlateFolder:
    """A plate of two FOVs; do not change it."""
    return tiny_plate(tmp_path_factory.mktemp("plates") / "two")
