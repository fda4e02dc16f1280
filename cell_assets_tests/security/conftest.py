"""Labs whose database asks for a password, which is a canary."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg2 import sql

from cell_assets.database.addresses import DatabaseAddresses
from cell_assets_tests.database.tcp_postgres import TcpPostgres, tcp_postgres
from cell_assets_tests.security.canary import Canary
from cell_assets_tests.security.services import Services, services


@dataclass(frozen=True)
class GuardedLab:
    """A home, databases behind a password, and services over both."""

    home: Path
    canary: Canary
    url: str
    """With the password."""
    url_file: Path
    said: Path
    """What services and commands wrote on their outputs."""
    services: Services

    @property
    def addresses(self) -> DatabaseAddresses:
        return DatabaseAddresses.of(self.url)


@pytest.fixture(scope="module")
def guarded_postgres() -> Iterator[TcpPostgres]:
    """A PostgreSQL on loopback that asks for passwords."""
    folder = Path(tempfile.mkdtemp(prefix="cell_assets_guarded_"))
    folder.chmod(0o755)
    with tcp_postgres(
        folder, {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    ) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def guarded_lab(
    guarded_postgres: TcpPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedLab]:
    """An empty lab, told its database by a file, as containers are."""
    canary, folder = Canary.new(), tmp_path_factory.mktemp("guarded")
    user = f"lab_{secrets.token_hex(4)}"
    guarded_postgres.execute(
        sql.SQL("CREATE USER {} CREATEDB PASSWORD {}").format(
            sql.Identifier(user), sql.Literal(canary.secret)
        )
    )
    url = f"postgresql://{user}:{canary.quoted}@127.0.0.1:{guarded_postgres.port}/{user}"
    url_file = folder / "secret" / "url"
    url_file.parent.mkdir(mode=0o700)
    url_file.write_text(url)
    for name in ("home", "said"):
        (folder / name).mkdir()
    environment = {
        "CELL_ASSETS_HOME": str(folder / "home"),
        "CELL_ASSETS_DATABASE_URL_FILE": str(url_file),
        "CELL_ASSETS_WORKERS": "1",
        "HOME": str(folder / "home"),
    }
    with services(environment, folder / "said") as running:
        yield GuardedLab(folder / "home", canary, url, url_file, folder / "said", running)
