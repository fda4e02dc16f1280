"""`cell-assets dev` and the runs that its daemon launches, while PostgreSQL is away or a code server is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.automation.dev_session import DevSession, ask_graphql, get, wait_until
from cell_assets_tests.database.tcp_postgres import Ending
from cell_assets_tests.end_to_end.lab import CHECKOUT, PlateFolder
from cell_assets_tests.faults.faulty_lab import FaultyLab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    pytest.mark.timeout(1800),
]

_PATIENCE_S = 600.0
_LAUNCH = """
mutation Launch($given: ExecutionParams!) {
  launchRun(executionParams: $given) { __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
_RUN = """
query Run($id: ID!) { runOrError(runId: $id) { ... on Run {
  status rootRunId parentRunId tags { key value } eventConnection { events { ... on MessageEvent { message } } }
} } }
"""
_RUNS = "{ runsOrError { ... on Runs { results { runId status parentRunId tags { key value } } } } }"
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


@dataclass(frozen=True)
class Services:
    """A running `cell-assets dev` of a lab."""

    session: DevSession
    process: "subprocess.Popen[str]"

    def ended(self) -> str | None:
        """What it said, once it has ended."""
        return None if self.process.poll() is None else self.process.communicate()[1][-3000:]

    def launch(self, assets: list[str], partition: str) -> str:
        """Launch a run as the UI does; returns its id."""
        selector = {
            "repositoryLocationName": "cell_assets",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
            "assetCheckSelection": [],
        }
        tags = {"tags": [{"key": "dagster/partition", "value": partition}]}
        given = {"selector": selector, "runConfigData": {}, "executionMetadata": tags}
        launched = ask_graphql(self.session.dagster, _LAUNCH, {"given": given})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        return str(ask_graphql(self.session.dagster, _RUN, {"id": run_id})["runOrError"]["status"])

    def wait_success(self, run_id: str) -> None:
        def run() -> object:
            return ask_graphql(self.session.dagster, _RUN, {"id": run_id})

        wait_until(
            lambda: self.status(run_id) in ("SUCCESS", "FAILURE", "CANCELED"),
            _PATIENCE_S,
            lambda: (self.ended(), run()),
        )
        assert self.status(run_id) == "SUCCESS", run()

    def retry_of(self, run_id: str) -> str | None:
        """The run that tries this one again."""
        runs = ask_graphql(self.session.dagster, _RUNS)["runsOrError"]["results"]
        return next((str(run["runId"]) for run in runs if run["parentRunId"] == run_id), None)

    def daemons_are_healthy(self) -> bool:
        health = ask_graphql(self.session.dagster, _DAEMONS)["instance"]["daemonHealth"]
        return all(one["healthy"] for one in health["allDaemonStatuses"] if one["required"])


@contextmanager
def served(lab: FaultyLab) -> Iterator[Services]:
    """Everything answers when the block begins, and has gone when it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cell_assets_tests.faults.services"],
        cwd=CHECKOUT,
        env=lab.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            raise AssertionError(process.communicate(timeout=60)[1])
        addresses = json.loads(said)
        session = DevSession(lab.settings.home, process, addresses["dagster"], addresses["mlflow"])
        yield Services(session, process)
    finally:
        process.terminate()
        process.communicate(timeout=120)


@pytest.fixture
def lab(new_lab: Callable[[], FaultyLab], two_fovs: PlateFolder) -> FaultyLab:
    """With a plate."""
    made = new_lab()
    with made.opened() as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
    return made


@pytest.mark.parametrize("away_s", [15, 60])
def test_services_and_their_run_outlive_the_database(lab: FaultyLab, away_s: float) -> None:
    with served(lab) as services:
        before = {one.pid for one in services.session.processes()}
        run = services.launch(["segmentation", "tracks", "patch_table"], "P1|A/1/000")
        with lab.halt.at(Boundary.COMMIT, "tracks", services.ended):
            lab.take_away(away_s, Ending.IMMEDIATE)
        lab.wait_back()
        services.wait_success(run)
        assert services.retry_of(run) is None
        wait_until(services.daemons_are_healthy, 120, lambda: None)
        assert b"MLflow" in get(services.session.mlflow, "/")
        services.wait_success(services.launch(["plate_qc"], "P1"))
        assert before <= {one.pid for one in services.session.processes()}
    lab.assert_sound()


def test_a_run_of_a_killed_code_server_is_tried_again_and_succeeds(lab: FaultyLab) -> None:
    with served(lab) as services:
        run = services.launch(["segmentation", "tracks", "patch_table"], "P1|A/1/000")
        with lab.halt.at(Boundary.RENAME, "tracks", services.ended):
            for one in services.session.processes():
                os.kill(one.pid, signal.SIGKILL)
            services.process.wait(60)
    with served(lab) as services:
        assert services.status(run) == "FAILURE"
        wait_until(lambda: services.retry_of(run) is not None, _PATIENCE_S, services.ended)
        retry = services.retry_of(run)
        assert retry is not None
        services.wait_success(retry)
    with lab.opened() as session:
        session.store.sweep()
        (tracks,) = session.ledger.artifacts("tracks")
        assert session.ledger.runs(tracks.id)[0].dagster_run_id == retry
    lab.assert_sound()
