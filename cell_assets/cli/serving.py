"""Commands that run one service alone, for containers and supervisors, and that ask whether it works."""

import re
from collections.abc import Callable
from typing import Any

import click

from cell_assets.automation.listening import (
    LOOPBACK,
    USUAL_CODE_PORT,
    USUAL_DAGSTER_PORT,
    USUAL_MLFLOW_PORT,
    Listening,
)
from cell_assets.errors import CellAssetsError

_HOST = click.option(
    "--host", default=LOOPBACK, show_default=True, help="Interface to listen on; 0.0.0.0 is every one."
)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _checked_prefix(_: click.Context, __: click.Parameter, value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no path such as /dagster, without a slash at its end")
    return value


_PATH_PREFIX = click.option(
    "--path-prefix",
    default="",
    callback=_checked_prefix,
    metavar="/PATH",
    help="What a proxy in front puts before every path of the pages.",
)


def _port(usual: int) -> Callable[[Any], Any]:
    return click.option(
        "--port", type=click.IntRange(1, 65535), default=usual, show_default=True, help="Where it listens."
    )


@click.group()
def serve() -> None:
    """Run one service alone, over a PostgreSQL server of yours; `cell-assets dev` runs all of them.

    Each has a container or a terminal of its own.

    \b
    Example:
      cell-assets serve code-location
      cell-assets serve webserver
      cell-assets serve daemon
    """


@serve.command()
@_HOST
@_port(USUAL_CODE_PORT)
@click.option(
    "--advertise", metavar="HOST", help="Name by which webserver and daemon reach it; --host if left out."
)
def code_location(host: str, port: int, advertise: str | None) -> None:
    """The definitions, and the runs that are launched. It comes first: it makes Dagster's tables.

    \b
    Example:
      cell-assets serve code-location --host 0.0.0.0 --advertise lab-server
    """
    from cell_assets.automation.service_process import become_code_server
    from cell_assets.settings import Settings

    become_code_server(Settings(), Listening(port, host), advertise or host)


@serve.command()
@_HOST
@_port(USUAL_DAGSTER_PORT)
@_PATH_PREFIX
@click.option("--read-only", is_flag=True, help="Refuse to launch, stop, delete or switch anything.")
def webserver(host: str, port: int, path_prefix: str, read_only: bool) -> None:
    """The Dagster UI.

    \b
    Example:
      cell-assets serve webserver --port 3001 --read-only
    """
    from cell_assets.automation.service_process import become_webserver
    from cell_assets.settings import Settings

    become_webserver(Settings(), Listening(port, host, path_prefix), read_only=read_only)


@serve.command()
def daemon() -> None:
    """The Dagster daemon: sensors, schedules and the queue of runs.

    \b
    Example:
      cell-assets serve daemon
    """
    from cell_assets.automation.service_process import become_daemon
    from cell_assets.settings import Settings

    become_daemon(Settings())


@serve.command()
@_HOST
@_port(USUAL_MLFLOW_PORT)
@_PATH_PREFIX
def mlflow(host: str, port: int, path_prefix: str) -> None:
    """The MLflow UI over the model registry.

    \b
    Example:
      cell-assets serve mlflow --path-prefix /mlflow
    """
    from cell_assets.automation.service_process import become_mlflow
    from cell_assets.settings import Settings

    become_mlflow(Settings(), Listening(port, host, path_prefix))


@click.group()
def healthy() -> None:
    """Ask whether a service on this machine works: silence and exit code 0, or a reason and 1.

    \b
    Example:
      cell-assets healthy webserver --path-prefix /dagster
    """


@healthy.command("code-location")
@_port(USUAL_CODE_PORT)
def code_location_healthy(port: int) -> None:
    """Whether the code server takes requests.

    \b
    Example:
      cell-assets healthy code-location
    """
    from cell_assets.automation.service_health import code_server_answers

    if not code_server_answers(port):
        raise CellAssetsError(f"no Dagster code server answers on port {port} of this machine: read its log")


@healthy.command("webserver")
@_port(USUAL_DAGSTER_PORT)
@_PATH_PREFIX
def webserver_healthy(port: int, path_prefix: str) -> None:
    """Whether the Dagster UI answers.

    \b
    Example:
      cell-assets healthy webserver --port 3001
    """
    _ask_page("Dagster webserver", port, f"{path_prefix}/server_info")


@healthy.command("daemon")
def daemon_healthy() -> None:
    """Whether every daemon of this installation gave a sign of life within five minutes.

    \b
    Example:
      cell-assets healthy daemon
    """
    from cell_assets.automation.service_health import HEARTBEAT_TOLERANCE_S, daemons_beat
    from cell_assets.settings import Settings

    if not daemons_beat(Settings()):
        raise CellAssetsError(
            f"a Dagster daemon gave no sign of life for {HEARTBEAT_TOLERANCE_S:.0f} s: read its log"
        )


@healthy.command("mlflow")
@_port(USUAL_MLFLOW_PORT)
@_PATH_PREFIX
def mlflow_healthy(port: int, path_prefix: str) -> None:
    """Whether the MLflow UI answers.

    \b
    Example:
      cell-assets healthy mlflow
    """
    _ask_page("MLflow server", port, f"{path_prefix}/health")


def _ask_page(name: str, port: int, path: str) -> None:
    from cell_assets.automation.services import answers

    if not answers(port, path):
        raise CellAssetsError(f"no {name} answers on port {port} of this machine at {path}: read its log")
