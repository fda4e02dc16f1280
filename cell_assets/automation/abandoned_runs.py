"""Runs that an ended code server left unfinished are reported as failed.

Dagster's default run launcher cannot ask whether a run's process still lives: such a run would stay
"started" for ever and take one of the places of `max_concurrent_runs`. Run as a program before the webserver
and the daemon start, so that Dagster's tables are created by one process and not by three at once.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG

from cell_assets.automation.dagster_home import WORKSPACE_FILE

_UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class CodeServer:
    """Where a code server listened. Dagster writes it on each run that the server executes."""

    host: str
    port: int


def last_code_server(dagster_home: Path) -> CodeServer | None:
    """The code server that last served this home."""
    workspace = dagster_home / WORKSPACE_FILE
    if not workspace.exists():
        return None
    written = yaml.safe_load(workspace.read_text(encoding="utf-8"))["load_from"][0]["grpc_server"]
    return CodeServer(written["host"], written["port"])


def fail_abandoned_runs(instance: DagsterInstance, gone: CodeServer) -> tuple[str, ...]:
    """Report as failed every unfinished run of a code server that has ended; returns their ids."""
    failed = []
    for run in instance.get_runs(filters=RunsFilter(statuses=_UNFINISHED)):
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if (server.get("host"), server.get("port")) == (gone.host, gone.port):
            instance.report_run_failed(run, "The code server that executed this run has ended.")
            failed.append(run.run_id)
    return tuple(failed)


def main(dagster_home: Path) -> None:
    """Create Dagster's tables where they are missing, and settle what the last code server left."""
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        gone = last_code_server(dagster_home)
        failed = fail_abandoned_runs(instance, gone) if gone is not None else ()
        sys.stdout.write(f"runs reported as failed: {len(failed)} {' '.join(failed)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
