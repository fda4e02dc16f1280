"""Pods as tests write them, make them and ask for them."""

from collections.abc import Sequence
from typing import Any

from kubernetes import client

from cell_assets_tests.k8s.waiting import wait_until


def make_pod(
    core: client.CoreV1Api,
    namespace: str,
    name: str,
    command: Sequence[str],
    grace_s: int = 30,
    **container: Any,
) -> None:
    """A pod of one container, which `container` describes further in the API's own names."""
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_s,
        "containers": [{"name": "main", "image": "tests", "command": list(command), **container}],
    }
    core.create_namespaced_pod(namespace, {"metadata": {"name": name}, "spec": spec})


def wait_for_phase(core: client.CoreV1Api, namespace: str, name: str, *phases: str) -> client.V1Pod:
    """The pod as soon as it is in one of these phases."""
    seen: list[client.V1Pod] = []

    def reached() -> bool:
        seen.append(core.read_namespaced_pod(name, namespace))
        return seen[-1].status.phase in phases

    wait_until(reached, lambda: seen[-1])
    return seen[-1]


def terminated(pod: client.V1Pod) -> client.V1ContainerStateTerminated:
    """How the pod's container ended."""
    return pod.status.container_statuses[0].state.terminated


def log(core: client.CoreV1Api, namespace: str, name: str, **asked: Any) -> str:
    """What the pod wrote, by way of the API server."""
    # Preloaded, the client gives the text of a bytes literal.
    answer = core.read_namespaced_pod_log(name, namespace, _preload_content=False, **asked)
    return bytes(answer.data).decode()
