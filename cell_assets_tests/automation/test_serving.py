"""`serve`: all pages answer, and whatever ends, nothing is left behind and the database is whole."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from cell_assets.automation.abandoned_runs import fail_abandoned_runs, last_code_server
from cell_assets.automation.dagster_home import open_instance
from cell_assets.automation.serving import Ports, serve
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import open_database
from cell_assets.errors import BadInputError
from cell_assets.settings import Settings
from cell_assets_tests.automation.dev_session import (
    DevSession,
    ask_graphql,
    dev_session,
    get,
    open_home,
    processes_of,
    stand_in,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

_LOCATIONS = """
{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }
"""
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


@pytest.fixture
def home() -> Iterator[Path]:
    with open_home() as folder:
        yield folder
        # The database's own watcher takes a moment longer than the command that closed the database.
        wait_until(lambda: not processes_of(folder), 10, lambda: processes_of(folder))


def _status_of(home: Path, run_id: str) -> str:
    """The run's status in the reopened database, after settling what a killed dev left."""
    settings = Settings(home=home, database_url=None)
    with open_database(settings) as addresses, open_instance(settings, addresses) as instance:
        gone = last_code_server(home / "dagster")
        assert gone is not None
        fail_abandoned_runs(instance, gone)
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.status.value


def _assert_whole(home: Path) -> None:
    """Every row of every table of Dagster's and MLflow's databases can be read."""
    with open_database(Settings(home=home, database_url=None)) as addresses:
        for url in (addresses.dagster, addresses.mlflow.replace("+psycopg2", "")):
            with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
                tables = [row[0] for row in cursor.fetchall()]
                assert len(tables) > 10
                for table in tables:
                    cursor.execute(f'SELECT * FROM "{table}"')
                    cursor.fetchall()


def _start_endless(session: DevSession) -> str:
    run_id = session.launch("endless_job")
    wait_until((session.home / "endless_runs").exists, 60, session.processes)
    return run_id


def test_serves_and_ends_with_everything_it_started(home: Path) -> None:
    with dev_session(home, stand_in(home)) as session:
        locations = ask_graphql(session.dagster, _LOCATIONS)["workspaceOrError"]["locationEntries"]
        assert [(one["name"], one["locationOrLoadError"]["__typename"]) for one in locations] == [
            ("cell_assets", "RepositoryLocation")
        ]
        assert b"<title>MLflow</title>" in get(session.mlflow, "/")
        # Database addresses may hold a password, and command lines are public.
        assert not [one for one in session.processes() if "postgresql:" in one.command]

        run_id = _start_endless(session)
        with (
            pytest.raises(AssertionError, match="another `cell-assets dev`"),
            dev_session(home, stand_in(home)),
        ):
            pass
        wait_until(lambda: _daemons_healthy(session), 60, lambda: ask_graphql(session.dagster, _DAEMONS))

        session.process.send_signal(signal.SIGTERM)
        code, said = session.wait_ended()
    assert code == 0, said
    assert _status_of(home, run_id) in ("CANCELED", "FAILURE")
    _assert_whole(home)


def _daemons_healthy(session: DevSession) -> bool:
    daemons = ask_graphql(session.dagster, _DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(one["healthy"] for one in daemons if one["required"])


def test_killing_dev_leaves_nothing(home: Path) -> None:
    with dev_session(home, stand_in(home)) as session:
        run_id = _start_endless(session)
        session.process.kill()
        session.wait_ended()
    assert _status_of(home, run_id) in ("CANCELED", "FAILURE")
    _assert_whole(home)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param(("dagster api grpc",), "code-server was killed by SIGKILL", id="code server"),
        pytest.param(
            ("dagster_webserver",), "dagster-webserver was killed", id="webserver", marks=pytest.mark.slow
        ),
        pytest.param(("dagster._daemon",), "dagster-daemon was killed", id="daemon", marks=pytest.mark.slow),
        pytest.param(("mlflow server",), "mlflow was killed by SIGKILL", id="mlflow", marks=pytest.mark.slow),
        pytest.param(("uvicorn",), "mlflow ended", id="mlflow's worker", marks=pytest.mark.slow),
        pytest.param(
            ("automation/watchdog.py",), "watchdog was killed", id="watchdog", marks=pytest.mark.slow
        ),
        pytest.param(
            ("bin/postgres", "-D"), "database stopped answering", id="postgres", marks=pytest.mark.slow
        ),
    ],
)
def test_killing_a_part_ends_all_and_names_it(home: Path, words: tuple[str, ...], named: str) -> None:
    with dev_session(home, stand_in(home)) as session:
        run_id = _start_endless(session)
        os.kill(session.pid_of(*words), signal.SIGKILL)
        code, said = session.wait_ended()
    assert code == 1
    assert named in said
    assert _status_of(home, run_id) in ("CANCELED", "FAILURE")
    _assert_whole(home)


@pytest.mark.slow
def test_the_next_dev_settles_what_was_left(home: Path) -> None:
    with dev_session(home, stand_in(home)) as session:
        run_id = _start_endless(session)
        # The worst case: all at once, so that nobody could record anything.
        for one in session.processes():
            os.kill(one.pid, signal.SIGKILL)
        session.wait_ended()
    with dev_session(home, stand_in(home)) as session:
        query = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        assert ask_graphql(session.dagster, query, {"id": run_id})["runOrError"]["status"] == "FAILURE"


def test_a_taken_port_that_the_caller_insists_on_is_refused_before_anything_starts(tmp_path: Path) -> None:
    nowhere = DatabaseAddresses.of("postgresql://nobody@/none?host=/nowhere")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInputError, match=f"--mlflow-port {port} is in use"):
            serve(Settings(home=tmp_path, database_url=None), nowhere, Ports(mlflow=port), lambda _: None)
    assert processes_of(tmp_path) == []
