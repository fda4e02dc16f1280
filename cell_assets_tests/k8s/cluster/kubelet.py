"""A node whose pods are processes: what a kubelet tells the API, without containers. See README.md."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

import urllib3
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from cell_assets.automation import watchdog
from cell_assets_tests.k8s.cluster.container_environment import (
    UnresolvedError,
    container_environment,
    expand,
)
from cell_assets_tests.k8s.cluster.container_logs import ContainerLog, LogServer
from cell_assets_tests.k8s.cluster.control_plane import ControlPlane
from cell_assets_tests.k8s.cluster.pod_process import KILLED, Outcome, PodProcess

GPU = "nvidia.com/gpu"
_WATCH_S = 30
_RETRY_S = 0.2


@dataclass(frozen=True)
class Node:
    """What the node offers to the scheduler; nothing of it is enforced on processes."""

    name: str = "node-1"
    gpus: int = 1
    cpus: str = "16"
    memory: str = "64Gi"
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    """As the API writes them: key, value, effect."""

    @property
    def resources(self) -> dict[str, str]:
        """Capacity, all of it allocatable."""
        return {"cpu": self.cpus, "memory": self.memory, "pods": "110", GPU: str(self.gpus)}


@dataclass(frozen=True)
class Image:
    """What stands in for every container image: the interpreter that runs the tests, and this checkout."""

    environment: Mapping[str, str] = field(default_factory=dict)
    work: Path | None = None
    """Working directory of containers that name none; None: an empty folder of each pod."""

    def all_variables(self) -> dict[str, str]:
        """The image's variables; nothing of the tests' own environment but what a process needs to run."""
        here = str(Path(__file__).resolve().parents[3])
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "PYTHONPATH": here,
            "HOME": str(Path.home()),
            **self.environment,
        }


class ProcessKubelet:
    """A registered, ready node that runs the pods bound to it; use it as a context manager."""

    def __init__(self, plane: ControlPlane, folder: Path, node: Node, image: Image | None = None) -> None:
        """Logs and working directories of pods go below `folder`, which is made."""
        folder.mkdir()
        self.node = node
        self._plane = plane
        self._folder = folder
        self._image = image or Image()
        self._core = client.CoreV1Api(plane.api_client())
        self._pods: dict[str, PodProcess] = {}
        self._names: dict[tuple[str, str], str] = {}
        """Id of the latest pod of a namespace and name."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._logs = LogServer(self._find_log, plane.certificate, plane.certificate_key)

    def __enter__(self) -> "ProcessKubelet":
        self._register()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._stopped.is_set():
            self._stop_all()
            with _absent_is_fine():
                self._core.delete_node(self.node.name)
        self._logs.close()

    def kill_out_of_memory(self, namespace: str, name: str) -> None:
        """End a pod as the kernel does when it goes beyond its memory limit."""
        self._process(namespace, name).kill(Outcome(KILLED, "OOMKilled"))

    def evict(self, namespace: str, name: str) -> None:
        """End a pod as a kubelet does when its node runs out of memory; the pod object stays."""
        message = "The node was low on resource: memory."
        self._process(namespace, name).kill(Outcome(KILLED, "Error", "Evicted", message))

    def lose(self) -> None:
        """Lose the node: all processes end unreported, and the node and its pods go.

        The last is what the node controller does after some minutes, and whoever removes the machine.
        """
        self._stop_all()
        with _absent_is_fine():
            self._core.delete_node(self.node.name)
        for pod in self._mine():
            self._remove(pod)

    def process_ids(self, namespace: str, name: str) -> frozenset[int]:
        """Ids of the living processes in the pod's process group."""
        return self._process(namespace, name).process_ids()

    def _register(self) -> None:
        name = self.node.name
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **self.node.labels}
        self._core.create_node({"metadata": {"name": name, "labels": labels}})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "runs processes"}
        self._core.patch_node_status(
            name,
            {
                "status": {
                    "capacity": self.node.resources,
                    "allocatable": self.node.resources,
                    "conditions": [{**ready, "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}],
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
                }
            },
        )
        # Admission marks every new node as not ready, and the controller that takes it away does not run.
        self._core.patch_node(name, {"spec": {"taints": list(self.node.taints) or None}})

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                # Begins with all pods there are, so that nothing is missed between two watches.
                for event in watch.Watch().stream(
                    self._core.list_pod_for_all_namespaces,
                    field_selector=f"spec.nodeName={self.node.name}",
                    timeout_seconds=_WATCH_S,
                ):
                    if self._stopped.is_set():
                        return
                    self._see(event["type"], event["object"])
            except (ApiException, urllib3.exceptions.HTTPError):
                # The API server ends with the session, and may be restarted by a test.
                self._stopped.wait(_RETRY_S)

    def _see(self, change: str, pod: client.V1Pod) -> None:
        uid = pod.metadata.uid
        process = self._pods.get(uid)
        if change == "DELETED":
            if process is not None:
                process.deleting.set()
                process.kill(None)
        elif pod.metadata.deletion_timestamp is not None:
            if process is None or process.ended.is_set():
                self._remove(pod)
            elif not process.deleting.is_set():
                process.deleting.set()
                grace_s = float(pod.metadata.deletion_grace_period_seconds or 0)
                threading.Thread(target=self._end, args=(pod, process, grace_s), daemon=True).start()
        elif process is None and pod.status.phase == "Pending":
            process = PodProcess(self._folder / uid)
            with self._lock:
                self._pods[uid] = process
                self._names[pod.metadata.namespace, pod.metadata.name] = uid
            threading.Thread(target=self._run, args=(pod, process), daemon=True).start()

    def _run(self, pod: client.V1Pod, process: PodProcess) -> None:
        started = _now()
        try:
            ready = self._prepare(pod, process, started)
            if ready is not None:
                command, variables = ready
                work = pod.spec.containers[0].working_dir
                process.start(command, variables, Path(work) if work else self._image.work)
                self._report(pod, "Running", {"running": {"startedAt": started}}, started)
                outcome = process.wait()
                if not self._stopped.is_set():
                    self._report_end(pod, outcome, started)
        finally:
            process.ended.set()

    def _end(self, pod: client.V1Pod, process: PodProcess, grace_s: float) -> None:
        process.stop(grace_s)
        process.ended.wait()
        if not self._stopped.is_set():
            self._remove(pod)

    def _prepare(
        self, pod: client.V1Pod, process: PodProcess, started: str
    ) -> tuple[list[str], dict[str, str]] | None:
        """Command and environment, as soon as all that they refer to is there; None: deleted before."""
        while True:
            try:
                return self._command(pod)
            except UnresolvedError as error:
                waiting = {"reason": "CreateContainerConfigError", "message": str(error)}
                self._report(pod, "Pending", {"waiting": waiting}, started)
            if process.deleting.wait(_RETRY_S) or self._stopped.is_set():
                return None

    def _command(self, pod: client.V1Pod) -> tuple[list[str], dict[str, str]]:
        container = pod.spec.containers[0]
        if len(pod.spec.containers) != 1 or pod.spec.init_containers:
            raise UnresolvedError("pods of more than one container do not run here")
        words = [*(container.command or ()), *(container.args or ())]
        if not words:
            raise UnresolvedError("without command and args only the image knows what to run")
        variables = {
            **self._image.all_variables(),
            "HOSTNAME": pod.spec.hostname or pod.metadata.name,
            **container_environment(self._core, pod, container),
        }
        return [expand(word, variables) for word in words], variables | {watchdog.MARK: self._plane.mark}

    def _report_end(self, pod: client.V1Pod, outcome: Outcome, started: str) -> None:
        terminated = {
            "exitCode": outcome.exit_code,
            "reason": outcome.container_reason,
            "message": outcome.message,
            "startedAt": started,
            "finishedAt": _now(),
        }
        self._report(
            pod,
            outcome.phase,
            {"terminated": terminated},
            started,
            {"reason": outcome.pod_reason, "message": outcome.message if outcome.pod_reason else None},
        )

    def _report(
        self,
        pod: client.V1Pod,
        phase: str,
        state: dict[str, Any],
        started: str,
        why: dict[str, str | None] | None = None,
    ) -> None:
        running = phase == "Running"
        ready = "True" if running else "False"
        container = pod.spec.containers[0]
        status = {
            "phase": phase,
            "startTime": started,
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": ready},
                {"type": "ContainersReady", "status": ready},
            ],
            "containerStatuses": [
                {
                    "name": container.name,
                    "image": container.image,
                    "imageID": "",
                    "containerID": f"process://{pod.metadata.uid}",
                    "ready": running,
                    "started": running,
                    "restartCount": 0,
                    "state": state,
                }
            ],
            **(why or {}),
        }
        with _absent_is_fine():
            self._core.patch_namespaced_pod_status(
                pod.metadata.name,
                pod.metadata.namespace,
                {"metadata": {"uid": pod.metadata.uid}, "status": status},
            )

    def _remove(self, pod: client.V1Pod) -> None:
        # The API server ignores the period as a query parameter where there is a body too.
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.metadata.uid}}
        with _absent_is_fine():
            self._core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, body=body)

    def _mine(self) -> list[client.V1Pod]:
        selector = f"spec.nodeName={self.node.name}"
        return list(self._core.list_pod_for_all_namespaces(field_selector=selector).items)

    def _stop_all(self) -> None:
        self._stopped.set()
        with self._lock:
            processes = list(self._pods.values())
        for process in processes:
            process.deleting.set()
            process.kill(None)
        for process in processes:
            process.ended.wait(10)

    def _process(self, namespace: str, name: str) -> PodProcess:
        with self._lock:
            uid = self._names.get((namespace, name))
            assert uid is not None, f"{namespace}/{name} does not run on {self.node.name}"
            return self._pods[uid]

    def _find_log(self, namespace: str, name: str, container: str) -> ContainerLog | None:
        with self._lock:
            uid = self._names.get((namespace, name))
            return None if uid is None else self._pods[uid].log


@contextlib.contextmanager
def _absent_is_fine() -> Iterator[None]:
    """For objects that somebody else may delete, or replace by a namesake, at any moment."""
    try:
        yield
    except ApiException as error:
        if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
