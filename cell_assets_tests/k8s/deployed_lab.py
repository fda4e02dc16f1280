"""cell_assets on the tests' Kubernetes as `docker/k8s/` deploys it: its values, its claim, its settings of the cluster.

What differs from a lab's own is said in `_values` and `_cluster_settings`: places, and sizes for a machine of tests.
"""

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query
from kubernetes import client

from cell_assets.automation import watchdog
from cell_assets.automation.executing import RANGE_TAGS
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.pods import GPU_POOL
from cell_assets.automation.preparing import prepare_databases
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.settings import Settings
from cell_assets_tests.automation.helm_values import K8S, code_location_of, dagster_yaml_of, helm_values
from cell_assets_tests.database.tcp_postgres import TcpPostgres
from cell_assets_tests.end_to_end.dagster_ui import LAUNCH, launch_selector
from cell_assets_tests.end_to_end.lab import CHECKOUT, PlateFolder, opened
from cell_assets_tests.k8s.cluster.control_plane import ControlPlane
from cell_assets_tests.k8s.cluster.kubelet import GPU, Node, ProcessKubelet
from cell_assets_tests.k8s.pod_history import PodHistory
from cell_assets_tests.k8s.pods import log
from cell_assets_tests.k8s.waiting import wait_until

MODULE = "cell_assets_tests.k8s.saving_definitions"
PATIENCE_S = 1200.0
"""A pod imports for many seconds where the machine is busy; a lost step is noticed after 20 s."""

CPU_NODE = Node("cpu-1", gpus=0)
GPU_NODE = Node(
    "gpu-1",
    gpus=1,
    labels={"nvidia.com/gpu.present": "true"},
    taints=({"key": GPU, "value": "present", "effect": "NoSchedule"},),
)


@dataclass(frozen=True)
class Cluster:
    """A control plane with one node for everything and one that has a GPU, and is for those who ask for it."""

    plane: ControlPlane
    cpu: ProcessKubelet
    gpu: ProcessKubelet
    core: client.CoreV1Api


@contextmanager
def gpu_cluster(plane: ControlPlane) -> Iterator[Cluster]:
    """Both nodes, until the block ends."""
    with (
        ProcessKubelet(plane, plane.folder / CPU_NODE.name, CPU_NODE) as cpu,
        ProcessKubelet(plane, plane.folder / GPU_NODE.name, GPU_NODE) as gpu,
    ):
        yield Cluster(plane, cpu, gpu, client.CoreV1Api(plane.api_client()))


@dataclass(frozen=True)
class DeployedLab:
    """The lab in one namespace: code server, daemon, and what a test asks of them."""

    cluster: Cluster
    namespace: str
    session: Session
    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    pods: PodHistory
    server: TcpPostgres

    @property
    def core(self) -> client.CoreV1Api:
        """Pods."""
        return self.cluster.core

    @property
    def batch(self) -> client.BatchV1Api:
        """Jobs."""
        return client.BatchV1Api(self.core.api_client)

    def bring_in(self, plate: PlateFolder, experiment: str, choices: Mapping[str, object]) -> None:
        """A plate with its FOVs, made here; what follows is for pods."""
        ingest_plate(self.session, plate.request(experiment, f"plate-of-{experiment}"))
        choose(self.session, RunRequest(experiment=experiment, choices=dict(choices)))
        keys = [
            f"plate-of-{experiment}|{position}"
            for position in self.session.ledger.plates(experiment)[0].draft.positions
        ]
        with self.session.executor() as executor:
            outcome = executor.materialise(FOV_ASSETS, partition_range=(keys[0], keys[-1]))
        assert outcome.succeeded, outcome.error

    def launch(
        self,
        assets: Sequence[str],
        partition: str | tuple[str, str],
        config: Mapping[str, Mapping[str, object]] | None = None,
    ) -> str:
        """Launch a run as the UI does; returns its id.

        Args:
            partition: a key, or the first and the last one of a range that a single run makes.
            config: of steps, by their names.
        """
        tags = (
            {"dagster/partition": partition}
            if isinstance(partition, str)
            else dict(zip(RANGE_TAGS, partition, strict=True))
        )
        given = {
            "selector": launch_selector(list(assets)),
            "runConfigData": {"ops": {step: {"config": dict(one)} for step, one in (config or {}).items()}},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = execute_query(self.workspace, LAUNCH, {"given": given})
        launched = answer["data"]["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", answer
        return str(launched["run"]["runId"])

    def wait_until_ended(self, run_id: str) -> str:
        """How the run ended."""
        wait_until(lambda: self.run(run_id).is_finished, lambda: self.said(run_id), PATIENCE_S)
        return self.run(run_id).status.value

    def run(self, run_id: str) -> dg.DagsterRun:
        """The run as Dagster has it."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def retry_of(self, run_id: str) -> str:
        """The run that the daemon launched instead of a failed one."""

        def found() -> list[str]:
            runs = self.instance.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": run_id}))
            return [run.run_id for run in runs]

        wait_until(lambda: len(found()) == 1, lambda: self.said(run_id), PATIENCE_S)
        return found()[0]

    def wait_for_pod(self, run_id: str, step: str, phase: str) -> str:
        """Name of the pod of a step, or with step "" of the run, as soon as one is in this phase."""

        def now() -> list[str]:
            return [one.name for one in self.pods.of(run_id, step) if one.phase == phase]

        wait_until(lambda: bool(now()), lambda: (self.pods.of(run_id, step), self.said(run_id)), PATIENCE_S)
        return now()[-1]

    def wait_for_saved_epoch(self, experiment: str, asset: str = "dynaclr_checkpoint") -> None:
        """Wait until a training of this experiment has saved what another attempt could go on from."""
        folder = self.session.settings.home / "training" / asset / experiment
        wait_until(
            lambda: bool(list(folder.rglob("resume.ckpt"))), lambda: list(folder.rglob("*")), PATIENCE_S
        )

    def train_beside(self, experiment: str) -> str:
        """Create the Job of another machine of a training, as it is shipped but for the one GPU; returns its name."""
        text = (K8S / "training_node.yaml").read_text()
        job = yaml.safe_load(text.replace("/lab", str(self.session.settings.home.parent)))
        pod = job["spec"]["template"]["spec"]
        del pod["nodeSelector"], pod["tolerations"]
        (container,) = pod["containers"]
        container["resources"] = {"requests": {"cpu": "1"}}
        container["args"] = [experiment if word == "E1" else word for word in container["args"]]
        return str(self.batch.create_namespaced_job(self.namespace, job).metadata.name)

    def messages(self, run_id: str) -> list[str]:
        """What the run's log says, in order."""
        return [record.user_message for record in self.instance.all_logs(run_id)]

    def events(self, run_id: str, step: str) -> list[str]:
        """Types of Dagster's events of a step, in order."""
        return [
            record.dagster_event.event_type_value
            for record in self.instance.all_logs(run_id)
            if record.dagster_event is not None and record.dagster_event.step_key == step
        ]

    def allow_gpu_steps(self, at_once: int) -> None:
        """Set the limit of the pool, as a person does."""
        self.instance.event_log_storage.set_concurrency_slots(GPU_POOL, at_once)

    def said(self, run_id: str) -> list[str]:
        """What there is to say when a run does not get on."""
        pods = self.core.list_namespaced_pod(self.namespace).items
        begun = [pod.metadata.name for pod in pods if pod.status.phase != "Pending"]
        logs = [log(self.core, self.namespace, name, tail_lines=15) for name in begun]
        return [str(self.run(run_id).status), *self.messages(run_id)[-15:], *logs]


@contextmanager
def deployed_lab(
    cluster: Cluster, namespace: str, server: TcpPostgres, volume: Path
) -> Iterator[DeployedLab]:
    """Deploy to a namespace that has an account, with `volume`, an empty folder, as the volume of all pods.

    Everything of it ends with the block but what Kubernetes holds.
    """
    home = volume / "cell_assets"
    home.mkdir()
    settings = Settings(home=home, database_url=server.url("lab"), workers=1)
    prepare_databases(settings)
    deployment = volume / "deployment"
    deployment.mkdir()
    kubernetes = deployment / "kubernetes.yaml"
    kubernetes.write_text(yaml.safe_dump(_cluster_settings(volume)))
    _create_objects(cluster.core, namespace, server, volume)
    values = _values(volume, kubernetes)
    (deployment / "dagster.yaml").write_text(
        yaml.safe_dump(_dagster_yaml(values, cluster.plane, namespace, server, deployment))
    )
    own = {"DAGSTER_HOME": str(deployment), "DAGSTER_PG_PASSWORD": server.password}
    own |= {one["name"]: one["value"] for one in values["dagsterDaemon"]["env"]}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CELL_ASSETS_")},
        **own,
        "CELL_ASSETS_HOME": str(home),
        "CELL_ASSETS_EXECUTOR": "k8s",
        "CELL_ASSETS_KUBERNETES": str(kubernetes),
        "CELL_ASSETS_DATABASE_URL": server.url("lab"),
        "PYTHONPATH": str(CHECKOUT),
        watchdog.MARK: cluster.plane.mark,
    }
    context = code_location_of(values)
    context["k8s"] |= {"namespace": namespace, "service_account_name": "default"}
    port = _free_port()
    workspace = deployment / "workspace.yaml"
    workspace.write_text(
        f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: cell_assets}}}}]\n"
    )
    with ExitStack() as stack:
        served = ["api", "grpc", "--host", "127.0.0.1", "--port", str(port), "--module-name", MODULE]
        served += ["--attribute", "defs", "--location-name", "cell_assets"]
        served += ["--container-image", "cell-assets:tests", "--container-context", json.dumps(context)]
        code_server = stack.enter_context(_service("dagster", served, environment, deployment))
        wait_until(lambda: _listens(port), lambda: _tail(deployment, code_server), PATIENCE_S)
        stack.enter_context(
            _service("dagster._daemon", ["run", "-w", str(workspace)], environment, deployment)
        )
        stack.enter_context(patch.dict(os.environ, own))
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(deployment)))
        loaded = stack.enter_context(WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])))
        session = stack.enter_context(opened(settings))
        pods = PodHistory(cluster.core, namespace)
        follower = threading.Thread(target=pods.follow, daemon=True)
        follower.start()
        try:
            yield DeployedLab(cluster, namespace, session, instance, loaded, pods, server)
        finally:
            pods.ended.set()
            follower.join()


def _values(volume: Path, kubernetes: Path) -> dict[str, Any]:
    """The shipped values, with this machine's places: a pod's paths are those of the machine here."""
    values = copy.deepcopy(helm_values())
    text = json.dumps(values)
    for there, here in (("/etc/cell-assets/kubernetes.yaml", kubernetes), ("/lab", volume)):
        text = text.replace(f'"{there}', f'"{here}')
    values = json.loads(text)
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    monitoring |= {"pollIntervalSeconds": 2, "freeSlotsAfterRunEndSeconds": 1}
    return values


def _cluster_settings(volume: Path) -> dict[str, Any]:
    """The shipped settings, for a machine of two cores that shares its disk."""
    settings: dict[str, Any] = yaml.safe_load((K8S / "kubernetes.yaml").read_text())
    settings["volume"]["mount_path"] = str(volume)
    settings["retries"] = {"first_delay_s": 1}
    for kind in ("cpu", "gpu"):
        settings[kind] |= {"cpus": 1, "memory": "8Gi"}
    settings["gpu"]["shared_memory"] = "1Gi"
    return settings


def _dagster_yaml(
    values: Mapping[str, Any], plane: ControlPlane, namespace: str, server: TcpPostgres, home: Path
) -> dict[str, Any]:
    written = dagster_yaml_of(values, plane.kubeconfig)
    written["run_launcher"]["config"] |= {
        "job_namespace": namespace,
        "service_account_name": "default",
        "dagster_home": str(home),
    }
    written["storage"] = {
        "postgres": {
            "postgres_db": {
                "username": "postgres",
                "password": {"env": "DAGSTER_PG_PASSWORD"},
                "hostname": "127.0.0.1",
                "port": server.port,
                "db_name": "lab_dagster",
            }
        }
    }
    return written


def _create_objects(core: client.CoreV1Api, namespace: str, server: TcpPostgres, volume: Path) -> None:
    """What README.md of docker/k8s has a person create, and a volume that the claim gets."""
    for name, key, value in (
        ("cell-assets-database", "CELL_ASSETS_DATABASE_URL", server.url("lab")),
        ("cell-assets-dagster", "postgresql-password", server.password),
    ):
        core.create_namespaced_secret(namespace, {"metadata": {"name": name}, "stringData": {key: value}})
    claim = yaml.safe_load((K8S / "volume.yaml").read_text())
    name = claim["metadata"]["name"]
    core.create_persistent_volume(
        {
            "metadata": {"name": namespace},
            "spec": {
                "capacity": claim["spec"]["resources"]["requests"],
                "accessModes": claim["spec"]["accessModes"],
                "hostPath": {"path": str(volume)},
                "claimRef": {"namespace": namespace, "name": name},
            },
        }
    )
    # "": no class of storage makes a volume; the one above is there.
    claim["spec"] |= {"storageClassName": "", "volumeName": namespace}
    core.create_namespaced_persistent_volume_claim(namespace, claim)

    def phase() -> str:
        return str(core.read_namespaced_persistent_volume_claim(name, namespace).status.phase)

    wait_until(lambda: phase() == "Bound", phase)


@contextmanager
def _service(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / f"{module}.log").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(folder: Path, process: "subprocess.Popen[bytes]") -> str:
    logs = [path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log")]
    return f"{process.poll()} {logs}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
