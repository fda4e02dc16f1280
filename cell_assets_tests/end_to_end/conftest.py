"""Homes and labs for whole runs."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell_assets.settings import Settings

pytest.register_assert_rewrite("cell_assets_tests.end_to_end.lab")

from cell_assets_tests.end_to_end.lab import PlateFolder, tiny_plate  # noqa: E402

_labs = itertools.count()


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """An empty home of the module's own, which an embedded PostgreSQL may be started in."""
    folder = Path(tempfile.mkdtemp(prefix="cell_assets_tests_"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, onerror=_make_writable)


@pytest.fixture(scope="session")
def new_lab(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Settings]:
    """Makes settings of a lab of its own: an empty home, and fresh databases on the session's server."""

    def make() -> Settings:
        url = postgres_url.replace("/cell_assets?", f"/lab_{next(_labs)}?")
        return Settings(home=tmp_path_factory.mktemp("home"), database_url=url, workers=1)

    return make


@pytest.fixture(scope="session")
def two_fovs(tmp_path_factory: pytest.TempPathFactory) -> PlateFolder:
    """A plate of two FOVs; do not change it."""
    return tiny_plate(tmp_path_factory.mktemp("plates") / "two")


def _make_writable(remove: Callable[[str], object], path: str, _: object) -> None:
    """Root needs no permission to remove read-only folders; everybody else does."""
    Path(path).parent.chmod(0o755)
    Path(path).chmod(0o755)
    remove(path)
