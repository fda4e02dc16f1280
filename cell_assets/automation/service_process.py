"""One service of an installation as the current process: what each container of `docker/compose.yaml` runs.

The process is replaced by the service, so that whoever started it signals and waits for the service itself.
All services share one home and one PostgreSQL server; the code server comes first, because it makes Dagster's
tables and tells the others where it listens.
"""

import os
import subprocess
from pathlib import Path
from typing import NoReturn

from cell_assets.automation.crew import Service
from cell_assets.automation.dagster_home import WORKSPACE_FILE, prepare_dagster_home, process_environment
from cell_assets.automation.listening import Listening
from cell_assets.automation.services import (
    CodeLocation,
    code_server,
    daemon,
    mlflow,
    only_one,
    settle_last_session,
    webserver,
    write_workspace,
)
from cell_assets.database.addresses import DatabaseAddresses, create_databases
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.settings import Settings


def become_code_server(settings: Settings, where: Listening, advertised: str) -> NoReturn:
    """Make Dagster's tables, settle what the code server before left unfinished, and serve the definitions.

    `advertised` is the host name by which webserver and daemon reach this process.

    Raises:
        BadInputError: no database is configured, or another code server serves the same home.
        CellAssetsError: the database cannot be reached, or Dagster's tables cannot be made.
    """
    addresses = _addresses(settings)
    dagster_home = prepare_dagster_home(settings)
    environment = _environment(settings, addresses)
    with only_one(_home(settings)) as lock:
        settling = settle_last_session(dagster_home, environment)
        done = subprocess.run(settling.command, env=dict(settling.environment), check=False)
        if done.returncode:
            raise CellAssetsError(
                f"Dagster's tables could not be made ready (exit code {done.returncode}): its reason stands above"
            )
        write_workspace(dagster_home, advertised, where.port)
        os.set_inheritable(lock, True)
        _become(code_server(where, CodeLocation(), environment))


def become_webserver(settings: Settings, where: Listening, *, read_only: bool) -> NoReturn:
    """Serve Dagster's UI; raises as `become_code_server` does, and BadInputError before a code server was there."""
    environment = _environment(settings, _addresses(settings))
    _become(webserver(where, _workspace(settings), environment, read_only=read_only))


def become_daemon(settings: Settings) -> NoReturn:
    """Run Dagster's daemon; raises as `become_webserver` does."""
    environment = _environment(settings, _addresses(settings))
    _become(daemon(_workspace(settings), environment))


def become_mlflow(settings: Settings, where: Listening) -> NoReturn:
    """Serve MLflow's pages; raises as `become_code_server` does."""
    addresses = _addresses(settings)
    _become(mlflow(where, _home(settings), addresses, _environment(settings, addresses)))


def _addresses(settings: Settings) -> DatabaseAddresses:
    if settings.database_url is None:
        raise BadInputError(
            "no database is configured, and a service alone starts none: set CELL_ASSETS_DATABASE_URL, or "
            "CELL_ASSETS_DATABASE_URL_FILE to a file that holds it, or use `cell-assets dev`"
        )
    return create_databases(settings.database_url)


def _home(settings: Settings) -> Path:
    return settings.home.expanduser().absolute()


def _environment(settings: Settings, addresses: DatabaseAddresses) -> dict[str, str]:
    return {**os.environ, **process_environment(settings, addresses), "PYTHONUNBUFFERED": "1"}


def _workspace(settings: Settings) -> Path:
    workspace = prepare_dagster_home(settings) / WORKSPACE_FILE
    if not workspace.exists():
        raise BadInputError(
            f"no code server has served CELL_ASSETS_HOME {_home(settings)} yet: start "
            "`cell-assets serve code-location` first, over the same home"
        )
    return workspace


def _become(service: Service) -> NoReturn:
    os.execve(service.command[0], list(service.command), dict(service.environment))
