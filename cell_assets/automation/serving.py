"""What `cell-assets dev` serves: Dagster's UI, its daemon, one code server for both, and MLflow's UI.

Everything listens on 127.0.0.1 only, because none of these pages asks who is there.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cell_assets.automation.crew import Crew, StopRequestedError, stop_requests
from cell_assets.automation.dagster_home import prepare_dagster_home, process_environment
from cell_assets.automation.listening import LOOPBACK, USUAL_DAGSTER_PORT, USUAL_MLFLOW_PORT, Listening
from cell_assets.automation.services import (
    CodeLocation,
    answers,
    code_server,
    daemon,
    mlflow,
    only_one,
    settle_last_session,
    webserver,
    write_workspace,
)
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import inheritable_lease
from cell_assets.errors import BadInputError
from cell_assets.ledger.lost_connections import PATIENCE_S
from cell_assets.settings import Settings

_PATIENCE_S = 180.0
"""For one service to answer. MLflow's first start creates some sixty tables, and machines are busy."""

_EMBEDDED_PATIENCE_S = 10.0
"""It refuses connections for a moment while it recovers from a killed backend; once gone, nobody starts it again."""


@dataclass(frozen=True)
class Ports:
    """Ports that the caller insists on; None: the usual one, or any free one where that is taken."""

    dagster: int | None = None
    mlflow: int | None = None


@dataclass(frozen=True)
class Served:
    """Where to look, once everything answers."""

    dagster: str
    mlflow: str
    logs: Path


def serve(
    settings: Settings,
    addresses: DatabaseAddresses,
    ports: Ports,
    on_ready: Callable[[Served], None],
    code_location: CodeLocation | None = None,
) -> None:
    """Serve until Ctrl-C, SIGTERM or the closing of the terminal; call it from the main thread.

    `on_ready` is called once, when all pages answer. When this returns or raises, none of the processes is
    left, the runs that they executed included. However this process itself is killed, its watchdog sees to
    the same.

    Raises:
        BadInputError: a port that the caller insists on is taken, or another `dev` serves the same home.
        ServiceStoppedError: one of the services ended, or did not begin to answer.
        CellAssetsError: the database stays away.
    """
    home = settings.home.expanduser().absolute()
    logs = home / "logs"
    dagster_home = prepare_dagster_home(settings)
    with contextlib.ExitStack() as stack:
        locks = [stack.enter_context(only_one(home)), stack.enter_context(inheritable_lease(settings))]
        requested = stack.enter_context(stop_requests())
        dagster_port = _choose_port("--port", ports.dagster, USUAL_DAGSTER_PORT)
        mlflow_port = _choose_port("--mlflow-port", ports.mlflow, USUAL_MLFLOW_PORT)
        code_port = _free_port()
        environment = {**os.environ, **process_environment(settings, addresses)}
        inherited = [lock for lock in locks if lock is not None]
        patience_s = _EMBEDDED_PATIENCE_S if settings.database_url is None else PATIENCE_S
        crew = stack.enter_context(Crew(home, logs, requested, addresses.dagster, patience_s, inherited))
        stack.enter_context(contextlib.suppress(StopRequestedError))

        crew.start(mlflow(Listening(mlflow_port), home, addresses, environment))
        # Alone, because Dagster's processes race when several find its tables missing.
        crew.finish(settle_last_session(dagster_home, environment), _PATIENCE_S)
        workspace = write_workspace(dagster_home, LOOPBACK, code_port)
        crew.start(code_server(Listening(code_port), code_location or CodeLocation(), environment))
        crew.wait_until(lambda: _accepts(code_port), "code-server", _PATIENCE_S)
        crew.start(webserver(Listening(dagster_port), workspace, environment))
        crew.start(daemon(workspace, environment))
        crew.wait_until(lambda: answers(dagster_port, "/server_info"), "dagster-webserver", _PATIENCE_S)
        crew.wait_until(lambda: answers(mlflow_port, "/health"), "mlflow", _PATIENCE_S)
        on_ready(Served(f"http://{LOOPBACK}:{dagster_port}", f"http://{LOOPBACK}:{mlflow_port}", logs))
        crew.watch()


def _choose_port(option: str, wanted: int | None, usual: int) -> int:
    if _is_free(wanted or usual):
        return wanted or usual
    if wanted is not None:
        raise BadInputError(f"{option} {wanted} is in use by another program: choose another or leave it out")
    return _free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    except OSError:
        return False
    return True
