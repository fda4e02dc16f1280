"""Fixtures that every room may use: one real PostgreSQL per test session, and a fresh ledger per test."""

import itertools
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from hypothesis import settings

from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets_tests.object_store import FlakyProxy, client_environment, make_bucket, served

# Tests never assert on seconds, and the first example of many waits for an import.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

# A job that a script runs in the background ignores SIGINT. Dagster copies that for SIGTERM, and services that tests
# start would inherit both, and be waited for in vain when they are asked to end.
signal.signal(signal.SIGINT, signal.default_int_handler)

_fresh = itertools.count()


@pytest.fixture(scope="session")
def open_home() -> Iterator[Path]:
    """An empty home folder that the database's user can enter, as pytest's own temporary folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="cell_assets_tests_"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url(open_home: Path) -> Iterator[str]:
    """Base URL of an embedded PostgreSQL that lives as long as the test session."""
    with open_database(Settings(home=open_home, database_url=None)) as addresses:
        yield addresses.base


@pytest.fixture(scope="session")
def ledger_template(postgres_url: str) -> str:
    """Name of a database that holds an empty, migrated ledger, to be copied."""
    Ledger.open(DatabaseAddresses.of(postgres_url).ledger).close()
    return "cell_assets_ledger"


@pytest.fixture
def postgres_ledger_url(postgres_url: str, ledger_template: str) -> Iterator[str]:
    """URL of a fresh ledger on PostgreSQL."""
    name = f"fresh_{next(_fresh)}"
    _execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {ledger_template}")
    yield postgres_url.replace("/cell_assets?", f"/{name}?")
    _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh ledger, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_ledger_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A fresh ledger, once on SQLite and once on PostgreSQL."""
    with Ledger.open(ledger_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlakyProxy]:
    """A real object store behind a proxy that can say 503, for as long as the test session lives."""
    with served() as address, FlakyProxy(address) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in client_environment(proxy.address, tmp_path_factory.mktemp("client")).items():
            patch.setenv(name, value)
        yield proxy


@pytest.fixture
def bucket_url(object_store: FlakyProxy) -> Iterator[str]:
    """URL of a fresh bucket in it, with a prefix."""
    name = f"lab-{next(_fresh)}"
    make_bucket(name)
    yield f"s3://{name}/main"
    object_store.refuse = lambda method, path: False


def _execute(postgres_url: str, statement: str) -> None:
    with closing(psycopg2.connect(postgres_url.replace("/cell_assets?", "/postgres?"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
