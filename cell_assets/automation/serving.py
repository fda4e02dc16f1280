"""What `cell-assets dev` serves: Dagster's UI, its daemon, one code server for both, and MLflow's UI.

Everything listens on 127.0.0.1 only, because none of these pages asks who is there.
"""

import contextlib
import fcntl
import http.client
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cell_assets
from cell_assets.automation.crew import Crew, Service, StopRequestedError, stop_requests
from cell_assets.automation.dagster_home import WORKSPACE_FILE, prepare_dagster_home, process_environment
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.embedded import inheritable_lease
from cell_assets.errors import BadInputError
from cell_assets.settings import Settings

_LOOPBACK = "127.0.0.1"
_USUAL_DAGSTER_PORT = 3000
_USUAL_MLFLOW_PORT = 5000
_PATIENCE_S = 180.0
"""For one service to answer. MLflow's first start creates some sixty tables, and machines are busy."""


@dataclass(frozen=True)
class CodeLocation:
    """The definitions that Dagster serves."""

    module: str = "cell_assets.definitions"
    attribute: str = "defs"
    folder: Path = Path(cell_assets.__file__).parents[1]
    """Folder from which the module is imported, whether the package is installed or run from its checkout."""


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
        CellAssetsError: the database stopped answering.
    """
    home = settings.home.expanduser().absolute()
    logs = home / "logs"
    dagster_home = prepare_dagster_home(settings)
    with contextlib.ExitStack() as stack:
        locks = [stack.enter_context(_only_one(home)), stack.enter_context(inheritable_lease(settings))]
        requested = stack.enter_context(stop_requests())
        dagster_port = _choose_port("--port", ports.dagster, _USUAL_DAGSTER_PORT)
        mlflow_port = _choose_port("--mlflow-port", ports.mlflow, _USUAL_MLFLOW_PORT)
        code_port = _free_port()
        environment = {**os.environ, **process_environment(settings, addresses)}
        inherited = [lock for lock in locks if lock is not None]
        crew = stack.enter_context(Crew(home, logs, requested, addresses.dagster, inherited))
        stack.enter_context(contextlib.suppress(StopRequestedError))

        crew.start(_mlflow(mlflow_port, home, addresses, environment))
        # Alone, because Dagster's processes race when several find its tables missing.
        crew.finish(_settle_last_session(dagster_home, environment), _PATIENCE_S)
        workspace = _write_workspace(dagster_home, code_port)
        crew.start(_code_server(code_port, code_location or CodeLocation(), environment))
        crew.wait_until(lambda: _accepts(code_port), "code-server", _PATIENCE_S)
        crew.start(_webserver(dagster_port, workspace, environment))
        crew.start(_daemon(workspace, environment))
        crew.wait_until(lambda: _answers(dagster_port, "/server_info"), "dagster-webserver", _PATIENCE_S)
        crew.wait_until(lambda: _answers(mlflow_port, "/health"), "mlflow", _PATIENCE_S)
        on_ready(Served(f"http://{_LOOPBACK}:{dagster_port}", f"http://{_LOOPBACK}:{mlflow_port}", logs))
        crew.watch()


def _code_server(port: int, location: CodeLocation, environment: dict[str, str]) -> Service:
    """One server for webserver and daemon, which would otherwise each load the definitions themselves."""
    command = _python("dagster", "api", "grpc", "--host", _LOOPBACK, "--port", str(port))
    command += ["--module-name", location.module, "--attribute", location.attribute]
    command += ["--working-directory", str(location.folder), "--location-name", "cell_assets"]
    command += ["--use-python-environment-entry-point"]
    return Service("code-server", command, environment)


def _settle_last_session(dagster_home: Path, environment: dict[str, str]) -> Service:
    # A process of its own, so that this one, which lives on, never imports Dagster.
    paths = [str(CodeLocation().folder), *filter(None, [environment.get("PYTHONPATH")])]
    command = _python("cell_assets.automation.abandoned_runs", str(dagster_home))
    return Service("dagster-instance", command, {**environment, "PYTHONPATH": os.pathsep.join(paths)})


def _webserver(port: int, workspace: Path, environment: dict[str, str]) -> Service:
    command = _python("dagster_webserver", "--host", _LOOPBACK, "--port", str(port), "-w", str(workspace))
    return Service("dagster-webserver", command, environment)


def _daemon(workspace: Path, environment: dict[str, str]) -> Service:
    return Service("dagster-daemon", _python("dagster._daemon", "run", "-w", str(workspace)), environment)


def _mlflow(port: int, home: Path, addresses: DatabaseAddresses, environment: dict[str, str]) -> Service:
    command = _python("mlflow", "server", "--host", _LOOPBACK, "--port", str(port), "--workers", "1")
    # Models are registered from the artifact store: the server shows them and stores nothing itself.
    command += ["--no-serve-artifacts"]
    own = {
        # By environment: command lines are public on a machine, and the address may hold a password.
        "MLFLOW_BACKEND_STORE_URI": addresses.mlflow,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(home / "mlflow"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its job runner would be two more processes of 200 MB, for evaluating language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return Service("mlflow", command, {**environment, **own})


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _write_workspace(dagster_home: Path, code_port: int) -> Path:
    workspace = dagster_home / WORKSPACE_FILE
    workspace.write_text(
        "load_from:\n"
        "  - grpc_server:\n"
        f"      host: {_LOOPBACK}\n"
        f"      port: {code_port}\n"
        "      location_name: cell_assets\n",
        encoding="utf-8",
    )
    return workspace


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[int]:
    """A lock that one dev per home holds, as a file descriptor: two daemons would start every run twice."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "dev.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BadInputError(
                f"another `cell-assets dev` (process {lock.read().strip()}) serves CELL_ASSETS_HOME {home}: "
                "use its pages, or stop it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


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
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((_LOOPBACK, port), timeout=5).close()
    except OSError:
        return False
    return True


def _answers(port: int, path: str) -> bool:
    # http.client knows no proxies, which could stand between this machine and itself.
    connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
