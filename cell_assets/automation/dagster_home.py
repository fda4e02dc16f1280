"""The folder and the environment that make a process part of this installation's Dagster instance."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from cell_assets.database.addresses import DatabaseAddresses, making_tables
from cell_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

WORKSPACE_FILE = "workspace.yaml"
"""In the Dagster home: where the last code server listens."""


_NO_LOGS = "dagster._core.storage.noop_compute_log_manager"
_SHOW_OUTPUT_HERE = {"compute_logs": {"module": _NO_LOGS, "class": "NoOpComputeLogManager"}}
"""A command's own terminal shows what a step prints. Dagster's copy of it takes four processes for every step,
which answer Ctrl-C with tracebacks of their own and live on for a while."""


def prepare_dagster_home(settings: Settings) -> Path:
    """Bring the installed `dagster.yaml` into the Dagster home and return that folder, absolute.

    The file is replaced in one step, and only when it differs: processes that run may be reading it.
    """
    home = settings.dagster_home.expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True)
    wanted = resources.files("cell_assets.automation").joinpath("dagster.yaml").read_text(encoding="utf-8")
    there = home / "dagster.yaml"
    if not there.exists() or there.read_text(encoding="utf-8") != wanted:
        partial = home / f"dagster.yaml.{os.getpid()}"
        partial.write_text(wanted, encoding="utf-8")
        partial.replace(there)
    return home


def process_environment(settings: Settings, addresses: DatabaseAddresses) -> dict[str, str]:
    """The variables by which a child process finds the same home, databases and Dagster instance.

    They may hold a password, so they belong in a child's environment and never on its command line.
    """
    variables = {
        "CELL_ASSETS_HOME": str(settings.home.expanduser().absolute()),
        "CELL_ASSETS_DATABASE_URL": addresses.base,
        # Whatever this process was told; both at once are refused.
        "CELL_ASSETS_DATABASE_URL_FILE": "",
        "CELL_ASSETS_DAGSTER_URL": addresses.dagster,
        "CELL_ASSETS_VERIFY_ON_READ": json.dumps(settings.verify_on_read),
        "CELL_ASSETS_LANDING": json.dumps(settings.landing),
        "CELL_ASSETS_STILL_S": str(settings.still_s),
        "DAGSTER_HOME": str(settings.dagster_home.expanduser().absolute()),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        # Off by default.
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        "DO_NOT_TRACK": "1",
    }
    if settings.workers is not None:
        variables["CELL_ASSETS_WORKERS"] = str(settings.workers)
    return variables


@contextmanager
def open_instance(settings: Settings, addresses: DatabaseAddresses) -> Iterator["DagsterInstance"]:
    """This installation's Dagster instance in the current process; its tables exist afterwards.

    Inside the block this process carries the variables of `process_environment`, as `dagster.yaml` and the
    step processes that Dagster starts read them from there.
    """
    # Dagster takes a second to import, and commands that run nothing should not pay for it.
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    home = prepare_dagster_home(settings)
    with _carried(process_environment(settings, addresses)):
        ref = InstanceRef.from_dir(str(home), overrides=_SHOW_OUTPUT_HERE)
        # Its processes race when several find the tables missing.
        with making_tables(addresses.dagster):
            instance = DagsterInstance.from_ref(ref)
        with instance as opened:
            yield opened


@contextmanager
def _carried(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
