"""Many installations on one PostgreSQL server: the databases of a year, copied whole under other names.

Partition names are one Dagster instance's, so that a lab of more plates than a code location holds has several
installations, each with a prefix of its own for its three databases.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pages
import psycopg2
import questions
from psycopg2 import sql

from cell_assets.automation.session import open_session
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.definitions import build_defs
from cell_assets.settings import Settings


@dataclass(frozen=True)
class Looked:
    """One installation, with all others on the same server."""

    installation: int
    numbers: questions.Taken
    """The command `cell-assets numbers` of one experiment."""
    pages: list[pages.PageTimes]


def settings_of(addresses: DatabaseAddresses, home: Path, installation: int) -> Settings:
    """Those of one of them; the first is the one that was built."""
    if installation == 0:
        return Settings(home=home, database_url=addresses.base)
    parts = urlsplit(addresses.base)
    base = parts._replace(path=f"{parts.path}{installation}").geturl()
    return Settings(home=home / "installations" / str(installation), database_url=base)


def copy_databases(addresses: DatabaseAddresses, home: Path, installations: int) -> None:
    """Copy the first installation's databases for each other one; whoever is connected to them is cut off."""
    with closing(
        psycopg2.connect(addresses.base.replace(urlsplit(addresses.base).path, "/postgres", 1))
    ) as server:
        server.autocommit = True
        with server.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY(%s)",
                (list(addresses.by_name),),
            )
            for n in range(1, installations):
                settings = settings_of(addresses, home, n)
                assert settings.database_url is not None
                settings.home.mkdir(parents=True, exist_ok=True)
                copies = DatabaseAddresses.of(settings.database_url).by_name
                for here, there in zip(addresses.by_name, copies, strict=True):
                    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (there,))
                    if cursor.fetchone() is None:
                        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
                        cursor.execute(copy.format(sql.Identifier(there), sql.Identifier(here)))


def look_at(
    addresses: DatabaseAddresses,
    home: Path,
    installation: int,
    browser: Path,
    flags: Sequence[str],
    shown: Sequence[tuple[str, str]],
) -> Looked:
    """Pages and numbers of one installation."""
    with open_session(settings_of(addresses, home, installation), build_defs) as session:
        numbers = questions.command(session, "numbers", "--experiment", "E000")
        with pages.served(session) as served:
            return Looked(installation, numbers, pages.look(served, browser, flags, shown))
