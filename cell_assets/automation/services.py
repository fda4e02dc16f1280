"""The processes of an installation: their commands, shared by `cell-assets dev` and `cell-assets serve`.

Each listens on loopback unless told otherwise, because none of their pages asks who is there.
"""

import contextlib
import fcntl
import http.client
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cell_assets
from cell_assets.automation.crew import Service
from cell_assets.automation.dagster_home import WORKSPACE_FILE
from cell_assets.automation.listening import LOOPBACK, Listening
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.errors import BadInputError


@dataclass(frozen=True)
class CodeLocation:
    """The definitions that Dagster serves."""

    module: str = "cell_assets.definitions"
    attribute: str = "defs"
    folder: Path = Path(cell_assets.__file__).parents[1]
    """Folder from which the module is imported, whether the package is installed or run from its checkout."""


def code_server(where: Listening, location: CodeLocation, environment: Mapping[str, str]) -> Service:
    """One server for webserver and daemon, which would otherwise each load the definitions themselves."""
    command = _python("dagster", "api", "grpc", "--host", where.host, "--port", str(where.port))
    command += ["--module-name", location.module, "--attribute", location.attribute]
    command += ["--working-directory", str(location.folder), "--location-name", "cell_assets"]
    command += ["--use-python-environment-entry-point"]
    return Service("code-server", command, environment)


def settle_last_session(dagster_home: Path, environment: Mapping[str, str]) -> Service:
    """What makes Dagster's tables and reports runs of an ended code server as failed; ends by itself.

    A process of its own, so that the caller, which lives on, never imports Dagster.
    """
    paths = [str(CodeLocation().folder), *filter(None, [environment.get("PYTHONPATH")])]
    command = _python("cell_assets.automation.abandoned_runs", str(dagster_home))
    return Service("dagster-instance", command, {**environment, "PYTHONPATH": os.pathsep.join(paths)})


def webserver(
    where: Listening, workspace: Path, environment: Mapping[str, str], *, read_only: bool = False
) -> Service:
    """Dagster's UI; `read_only`: it refuses to launch, stop, delete or switch anything."""
    command = _python("dagster_webserver", "--host", where.host, "--port", str(where.port))
    command += ["-w", str(workspace)]
    if where.path_prefix:
        command += ["--path-prefix", where.path_prefix]
    if read_only:
        command += ["--read-only"]
    return Service("dagster-webserver", command, environment)


def daemon(workspace: Path, environment: Mapping[str, str]) -> Service:
    """What starts runs, sensors and schedules."""
    return Service("dagster-daemon", _python("dagster._daemon", "run", "-w", str(workspace)), environment)


def mlflow(
    where: Listening, home: Path, addresses: DatabaseAddresses, environment: Mapping[str, str]
) -> Service:
    """MLflow's pages over the model registry."""
    command = _python("mlflow", "server", "--host", where.host, "--port", str(where.port), "--workers", "1")
    # Models are registered from the artifact store: the server shows them and stores nothing itself.
    command += ["--no-serve-artifacts"]
    if where.path_prefix:
        command += ["--static-prefix", where.path_prefix]
    own = {
        # By environment: command lines are public on a machine, and the address may hold a password.
        "MLFLOW_BACKEND_STORE_URI": addresses.mlflow,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(home / "mlflow"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Its job runner would be two more processes of 200 MB, for evaluating language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return Service("mlflow", command, {**environment, **own})


def write_workspace(dagster_home: Path, host: str, port: int) -> Path:
    """Say in the Dagster home where the code server listens; returns the file for webserver and daemon.

    Replaced in one step, because they may be reading it.
    """
    workspace = dagster_home / WORKSPACE_FILE
    partial = dagster_home / f"{WORKSPACE_FILE}.{os.getpid()}"
    partial.write_text(
        f"load_from:\n  - grpc_server:\n      host: {host}\n      port: {port}\n"
        "      location_name: cell_assets\n",
        encoding="utf-8",
    )
    partial.replace(workspace)
    return workspace


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[int]:
    """A lock that one code server per home holds, as a file descriptor: two would settle each other's runs.

    Raises BadInputError when somebody holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "dev.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BadInputError(
                f"another `cell-assets dev` or `serve code-location` (process {lock.read().strip()}) serves "
                f"CELL_ASSETS_HOME {home}: use its pages, or stop it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


def answers(port: int, path: str) -> bool:
    """Whether a page of this machine is there."""
    # http.client knows no proxies, which could stand between this machine and itself.
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
