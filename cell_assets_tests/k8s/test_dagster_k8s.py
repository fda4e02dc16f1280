"""That dagster-k8s, as it is published, runs on the tests' Kubernetes: one pod a run and one a step."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import yaml
from kubernetes import client

from cell_assets.automation import watchdog
from cell_assets_tests.database.tcp_postgres import TcpPostgres, tcp_postgres
from cell_assets_tests.k8s.cluster.control_plane import ControlPlane
from cell_assets_tests.k8s.cluster.kubelet import ProcessKubelet
from cell_assets_tests.k8s.pods import log
from cell_assets_tests.k8s.waiting import wait_until

pytestmark = pytest.mark.needs_kubernetes

_MODULE = "cell_assets_tests.k8s.two_steps"


@pytest.fixture(scope="module")
def server(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory, open_home: Path
) -> Iterator[TcpPostgres]:
    """A server that every pod reaches."""
    home = open_home / "tcp"
    home.mkdir()
    with tcp_postgres(home, {watchdog.MARK: plane.mark}) as running:
        running.create_database("dagster")
        yield running


@dataclass(frozen=True)
class Deployment:
    """A Dagster instance whose runs go to one namespace."""

    home: Path
    namespace: str
    instance: dg.DagsterInstance
    server: TcpPostgres
    core: client.CoreV1Api

    def launch(self, second: dict[str, Any]) -> str:
        """Launch a run of both steps as the command line does; returns its id."""
        run_id = str(uuid.uuid4())
        config = {"ops": {"second": {"config": second}}}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "dagster", "job", "launch", "-m", _MODULE, "-j", "two_steps"),
                *("--run-id", run_id, "--config-json", json.dumps(config)),
            ],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "DAGSTER_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return run_id

    def wait_until_finished(self, run_id: str) -> str:
        """How the run ended, as its row says."""
        wait_until(
            lambda: self.status(run_id) in ("SUCCESS", "FAILURE", "CANCELED"), lambda: self.seen(run_id)
        )
        return self.status(run_id)

    def status(self, run_id: str) -> str:
        """The status in the run's row."""
        rows = self.rows("SELECT status FROM runs WHERE run_id = %s", run_id)
        return str(rows[0][0])

    def step_events(self, run_id: str) -> list[tuple[str, str]]:
        """Type and step of the rows that say how steps began and ended."""
        return self.rows(
            "SELECT dagster_event_type, step_key FROM event_logs WHERE run_id = %s AND dagster_event_type IN "
            "('STEP_START', 'STEP_SUCCESS', 'STEP_FAILURE') ORDER BY id",
            run_id,
        )

    def rows(self, query: str, run_id: str) -> list[tuple[Any, ...]]:
        """Rows of Dagster's own tables."""
        with (
            closing(psycopg2.connect(self.server.url("dagster"))) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, (run_id,))
            return cursor.fetchall()

    def jobs(self) -> list[client.V1Job]:
        """Kubernetes Jobs of the namespace."""
        return list(client.BatchV1Api(self.core.api_client).list_namespaced_job(self.namespace).items)

    def seen(self, run_id: str) -> list[str]:
        """What there is to say when a run does not get on."""
        pods = self.core.list_namespaced_pod(self.namespace).items
        logs = [log(self.core, self.namespace, pod.metadata.name, tail_lines=20) for pod in pods]
        return [self.status(run_id), *logs, *[str(pod.status) for pod in pods]]


@pytest.fixture
def deployment(
    plane: ControlPlane,
    kubelet: ProcessKubelet,
    core: client.CoreV1Api,
    namespace: str,
    server: TcpPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    """An instance with the launcher and the database of a deployment, its password in a Secret."""
    core.create_namespaced_secret(
        namespace,
        {"metadata": {"name": "postgresql"}, "stringData": {"postgresql-password": server.password}},
    )
    written = {
        "storage": {
            "postgres": {
                "postgres_db": {
                    "username": "postgres",
                    "password": {"env": "DAGSTER_PG_PASSWORD"},
                    "hostname": "127.0.0.1",
                    "port": server.port,
                    "db_name": "dagster",
                }
            }
        },
        # Dagster's own queues a run until a daemon takes it.
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": {
                "load_incluster_config": False,
                "kubeconfig_file": str(plane.kubeconfig),
                "job_namespace": namespace,
                "job_image": "tests",
                "service_account_name": "default",
                "instance_config_map": "dagster-instance",
                "postgres_password_secret": "postgresql",
                "dagster_home": str(tmp_path),
            },
        },
        "telemetry": {"enabled": False},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(written))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", server.password)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield Deployment(tmp_path, namespace, instance, server, core)


def test_a_run_and_each_of_its_steps_are_jobs_of_their_own(deployment: Deployment) -> None:
    run_id = deployment.launch({})
    assert deployment.wait_until_finished(run_id) == "SUCCESS"
    assert deployment.step_events(run_id) == [
        ("STEP_START", "first"),
        ("STEP_SUCCESS", "first"),
        ("STEP_START", "second"),
        ("STEP_SUCCESS", "second"),
    ]
    jobs = deployment.jobs()
    assert len(jobs) == 3
    wait_until(lambda: all(job.status.succeeded == 1 for job in deployment.jobs()), deployment.jobs)
    output = _output_metadata(deployment, run_id)
    pods = {pod.metadata.name for pod in deployment.core.list_namespaced_pod(deployment.namespace).items}
    assert output["first_pod"] != output["second_pod"]
    assert {output["first_pod"], output["second_pod"]} < pods


def test_a_step_that_fails_fails_its_run(deployment: Deployment) -> None:
    run_id = deployment.launch({"fail": True})
    assert deployment.wait_until_finished(run_id) == "FAILURE"
    assert deployment.step_events(run_id) == [
        ("STEP_START", "first"),
        ("STEP_SUCCESS", "first"),
        ("STEP_START", "second"),
        ("STEP_FAILURE", "second"),
    ]
    failure = deployment.rows(
        "SELECT event FROM event_logs WHERE run_id = %s AND dagster_event_type = 'STEP_FAILURE'", run_id
    )
    assert "the second step was told to fail" in failure[0][0]


def test_terminating_a_run_ends_its_pods(
    deployment: Deployment, kubelet: ProcessKubelet, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    run_id = deployment.launch({"wait_s": 1000, "started": str(started)})
    wait_until(started.exists, lambda: deployment.seen(run_id))
    pods = [pod.metadata.name for pod in deployment.core.list_namespaced_pod(deployment.namespace).items]
    assert deployment.instance.run_launcher.terminate(run_id)
    assert deployment.wait_until_finished(run_id) == "CANCELED"
    wait_until(
        lambda: not any(kubelet.process_ids(deployment.namespace, name) for name in pods),
        lambda: deployment.seen(run_id),
    )
    assert not [job.metadata.name for job in deployment.jobs() if job.status.active]
    assert ("STEP_SUCCESS", "second") not in deployment.step_events(run_id)


def _output_metadata(deployment: Deployment, run_id: str) -> dict[str, str]:
    """What the second step said about its output."""
    for record in deployment.instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_OUTPUT
    ).records:
        event = record.event_log_entry.dagster_event
        assert event is not None
        if event.step_key == "second":
            return {name: str(value.value) for name, value in event.step_output_data.metadata.items()}
    raise AssertionError("the second step has no output")
