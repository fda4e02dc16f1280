"""Many processes that start at once on one PostgreSQL: an empty one, as the containers of a new deployment do, and one
whose tables older versions of Dagster and MLflow made, as those of an upgraded one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from alembic import command
from dagster._core.storage.sql import run_alembic_downgrade
from dagster_postgres import run_storage
from dagster_postgres.utils import pg_alembic_config
from mlflow.store.db.utils import _get_alembic_config

from cell_assets.automation.preparing import prepare_databases
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.errors import BadInputError
from cell_assets.ledger.migrations.upgrade import REVISIONS
from cell_assets.settings import Settings

N_PROCESSES = 6
_OLDER_DAGSTER = "6b7fb194ff9c"
"""Before `concurrency_limits` got its column `using_default_limit`."""


def prepared_at_once(settings: Settings) -> list[str]:
    """What each of several processes said on standard error while all prepared the databases."""
    assert settings.database_url is not None
    secret = settings.home / "url"
    secret.write_text(settings.database_url)
    environment = {**os.environ, "CELL_ASSETS_DATABASE_URL_FILE": str(secret)}
    environment["CELL_ASSETS_HOME"] = str(settings.home)
    environment.pop("CELL_ASSETS_DATABASE_URL", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cell_assets_tests.end_to_end.starting"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(N_PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * N_PROCESSES, [err for _, err in said]
    assert [out for out, _ in said] == [f"3 {REVISIONS[-1]}\n"] * N_PROCESSES
    return [err for _, err in said]


def migrations(said: str, revisions: tuple[str, ...]) -> int:
    """How many of these migrations a process said that it made."""
    return sum(f"-> {revision}," in line for line in said.splitlines() for revision in revisions)


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def revision(url: str) -> str:
    with connected(url) as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def stamp(url: str, version: str) -> None:
    with connected(url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": version})


def columns(url: str, table: str) -> set[str]:
    with connected(url) as connection:
        return {column["name"] for column in sa.inspect(connection).get_columns(table)}


def age(addresses: DatabaseAddresses) -> None:
    """Take the tables of Dagster and MLflow back to an older version, by their own migrations."""
    with connected(addresses.dagster) as connection:
        run_alembic_downgrade(pg_alembic_config(run_storage.__file__), connection, _OLDER_DAGSTER)
    with connected(addresses.mlflow) as connection:
        config = _get_alembic_config("")
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")


def asked_anew(url: str) -> str:
    """What a process says on standard error that asks for models: MLflow looks at its tables once a process."""
    script = (
        "import sys; from cell_assets.resources.mlflow_registry import ModelRegistry\n"
        "ModelRegistry(sys.argv[1]).registered()"
    )
    return subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True).stderr


def test_many_processes_at_once_make_an_empty_server_theirs(new_lab: Callable[[], Settings]) -> None:
    said = prepared_at_once(new_lab())
    # Of the ledger; Dagster's and MLflow's own revisions have longer names.
    made = [migrations(one, REVISIONS) for one in said]
    assert sorted(made) == [0] * (N_PROCESSES - 1) + [len(REVISIONS)], said
    for one in said:
        assert "Retrying failed database creation" not in one


def test_many_processes_at_once_bring_older_tables_up_to_date(new_lab: Callable[[], Settings]) -> None:
    settings = new_lab()
    assert settings.database_url is not None
    addresses = DatabaseAddresses.of(settings.database_url)
    prepare_databases(settings)
    newest = revision(addresses.dagster), revision(addresses.mlflow)
    before = columns(addresses.dagster, "concurrency_limits"), columns(addresses.mlflow, "jobs")
    # A version that only changed columns: MLflow itself brings up to date where a table is missing, and asks otherwise.
    stamp(addresses.mlflow, "75868b020152")
    assert "run `cell-assets prepare`" in asked_anew(addresses.mlflow)
    stamp(addresses.mlflow, newest[1])
    age(addresses)
    assert revision(addresses.dagster) == _OLDER_DAGSTER
    assert columns(addresses.dagster, "concurrency_limits") < before[0]
    assert columns(addresses.mlflow, "jobs") < before[1]

    said = prepared_at_once(settings)
    assert (revision(addresses.dagster), revision(addresses.mlflow)) == newest
    after = columns(addresses.dagster, "concurrency_limits"), columns(addresses.mlflow, "jobs")
    assert after == before
    assert sorted(migrations(one, newest) for one in said) == [0] * (N_PROCESSES - 1) + [2], said
    assert asked_anew(addresses.mlflow) == ""


@pytest.mark.parametrize("of", ["dagster", "mlflow"])
def test_tables_of_a_newer_version_are_refused(of: str, new_lab: Callable[[], Settings]) -> None:
    settings = new_lab()
    assert settings.database_url is not None
    url = getattr(DatabaseAddresses.of(settings.database_url), of)
    prepare_databases(settings)
    with connected(url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'f00d'")
    with pytest.raises(BadInputError, match=f"is of a newer version than the installed {of} .*f00d"):
        prepare_databases(settings)
    assert revision(url) == "f00d"
