"""That pods are scheduled, run, reported and ended on the tests' Kubernetes as on any other."""

import json
import sys
import time
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from cell_assets_tests.k8s.cluster.control_plane import ControlPlane
from cell_assets_tests.k8s.cluster.kubelet import GPU, Node, ProcessKubelet
from cell_assets_tests.k8s.pods import log, make_pod, terminated, wait_for_phase
from cell_assets_tests.k8s.waiting import wait_until

pytestmark = pytest.mark.needs_kubernetes

_ONE_GPU = {"limits": {GPU: "1"}}
_ENDLESS = ("sh", "-c", "echo up; sleep 1000")
_SHOWS_ENVIRONMENT = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")


def test_a_pod_runs_and_its_log_comes_through_the_api(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    make_pod(core, namespace, "talks", ["sh", "-c", "echo one; echo two >&2; echo $0 three", "$(HOSTNAME)"])
    pod = wait_for_phase(core, namespace, "talks", "Succeeded", "Failed")
    assert (pod.status.phase, pod.spec.node_name) == ("Succeeded", kubelet.node.name)
    assert (terminated(pod).exit_code, terminated(pod).reason) == (0, "Completed")
    assert log(core, namespace, "talks") == "one\ntwo\ntalks three\n"
    last = log(core, namespace, "talks", tail_lines=1, timestamps=True)
    stamp, _, said = last.partition(" ")
    assert said == "talks three\n"
    assert stamp.startswith("20") and stamp.endswith("Z")


def test_a_log_is_followed_until_the_pod_ends(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    make_pod(core, namespace, "slow", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"])
    wait_for_phase(core, namespace, "slow", "Running")
    assert log(core, namespace, "slow", follow=True) == "1\n2\n3\n"


def test_exit_codes_and_signals_are_reported(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    # The API's own syntax takes two dollars for one.
    commands = {"seven": "exit 7", "itself": "kill -9 $$$$", "absent": "exec /no/such/program"}
    for name, command in commands.items():
        make_pod(core, namespace, name, ["sh", "-c", command])
    make_pod(core, namespace, "nothing", ["/no/such/program"])
    pods = {n: wait_for_phase(core, namespace, n, "Succeeded", "Failed") for n in [*commands, "nothing"]}
    assert {name: terminated(pod).exit_code for name, pod in pods.items()} == {
        "seven": 7,
        "itself": 137,
        "absent": 127,
        "nothing": 127,
    }
    assert {terminated(pods[name]).reason for name in commands} == {"Error"}
    assert terminated(pods["nothing"]).reason == "ContainerCannotRun"
    assert "/no/such/program" in terminated(pods["nothing"]).message


def test_the_environment_is_that_of_the_pod(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTS_ALONE", "1")
    core.create_namespaced_secret(
        namespace, {"metadata": {"name": "login"}, "stringData": {"password": "s3$cret", "user": "lab"}}
    )
    core.create_namespaced_config_map(
        namespace, {"metadata": {"name": "choices"}, "data": {"WORKERS": "4", "colour": "red"}}
    )
    make_pod(
        core,
        namespace,
        "asks",
        _SHOWS_ENVIRONMENT,
        envFrom=[{"configMapRef": {"name": "choices"}}, {"prefix": "DB_", "secretRef": {"name": "login"}}],
        env=[
            {"name": "LITERAL", "value": "x"},
            {"name": "BOTH", "value": "$(LITERAL)-$(WORKERS)-$(NOT_THERE)-$$(LITERAL)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "choices", "key": "colour"}}},
            {
                "name": "MAYBE",
                "valueFrom": {"secretKeyRef": {"name": "none", "key": "none", "optional": True}},
            },
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    )
    assert wait_for_phase(core, namespace, "asks", "Succeeded", "Failed").status.phase == "Succeeded"
    found = json.loads(log(core, namespace, "asks"))
    expected = {
        "WORKERS": "4",
        "DB_user": "lab",
        "LITERAL": "x",
        "BOTH": "x-4-$(NOT_THERE)-$(LITERAL)",
        "PASSWORD": "s3$cret",
        "COLOUR": "red",
        "NODE": kubelet.node.name,
        "ME": "asks",
        "HOSTNAME": "asks",
    }
    assert {name: found[name] for name in expected} == expected
    assert not found.keys() & {"MAYBE", "OF_THE_TESTS_ALONE"}


def test_a_pod_waits_for_a_secret_that_is_not_there_yet(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    reference = {"secretKeyRef": {"name": "late", "key": "word"}}
    make_pod(
        core,
        namespace,
        "patient",
        ["sh", "-c", "echo $WORD"],
        env=[{"name": "WORD", "valueFrom": reference}],
    )

    def waits() -> bool:
        statuses = core.read_namespaced_pod("patient", namespace).status.container_statuses
        return bool(statuses) and statuses[0].state.waiting.message == 'secret "late" not found'

    wait_until(waits, lambda: core.read_namespaced_pod("patient", namespace).status)
    core.create_namespaced_secret(namespace, {"metadata": {"name": "late"}, "stringData": {"word": "now"}})
    wait_for_phase(core, namespace, "patient", "Succeeded")
    assert log(core, namespace, "patient") == "now\n"


def test_with_one_gpu_the_second_pod_waits_for_the_first(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    assert core.read_node(kubelet.node.name).status.allocatable[GPU] == "1"
    make_pod(core, namespace, "first", _ENDLESS, resources=_ONE_GPU)
    wait_for_phase(core, namespace, "first", "Running")
    make_pod(core, namespace, "second", ["echo", "done"], resources=_ONE_GPU)
    make_pod(core, namespace, "without", ["echo", "done"])
    # The scheduler takes them in order: when the third has ended, the second was looked at.
    wait_for_phase(core, namespace, "without", "Succeeded")

    def scheduled() -> client.V1PodCondition | None:
        conditions = core.read_namespaced_pod("second", namespace).status.conditions or []
        return next((one for one in conditions if one.type == "PodScheduled"), None)

    wait_until(lambda: scheduled() is not None, lambda: core.read_namespaced_pod("second", namespace))
    refused = scheduled()
    assert refused is not None
    assert (refused.status, refused.reason) == ("False", "Unschedulable")
    assert f"Insufficient {GPU}" in refused.message
    assert core.read_namespaced_pod("second", namespace).status.phase == "Pending"
    core.delete_namespaced_pod("first", namespace)
    wait_for_phase(core, namespace, "second", "Succeeded")


def test_deletion_asks_first_and_kills_the_whole_group_after_the_grace_period(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    # Neither the first process nor its child ends when asked to.
    stubborn = "trap 'echo asked' TERM; (trap '' TERM; while :; do sleep 0.1; done) & while :; do wait; done"
    make_pod(core, namespace, "stubborn", ["sh", "-c", stubborn], grace_s=1)
    wait_for_phase(core, namespace, "stubborn", "Running")
    wait_until(lambda: len(kubelet.process_ids(namespace, "stubborn")) >= 3, lambda: "no children")
    group = kubelet.process_ids(namespace, "stubborn")
    follow = core.read_namespaced_pod_log("stubborn", namespace, follow=True, _preload_content=False)
    began = time.monotonic()
    core.delete_namespaced_pod("stubborn", namespace)
    wait_until(lambda: _is_gone(core, namespace, "stubborn"), lambda: "still there")
    assert time.monotonic() - began >= 1
    assert b"".join(follow.stream()) == b"asked\n"
    assert not kubelet.process_ids(namespace, "stubborn")
    assert not any(_lives(pid) for pid in group)


def test_a_pod_that_ends_when_asked_is_not_killed(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    polite = "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    make_pod(core, namespace, "polite", ["sh", "-c", polite], grace_s=600)
    wait_for_phase(core, namespace, "polite", "Running")
    wait_until(lambda: log(core, namespace, "polite") == "up\n", lambda: log(core, namespace, "polite"))
    follow = core.read_namespaced_pod_log("polite", namespace, follow=True, _preload_content=False)
    core.delete_namespaced_pod("polite", namespace)
    wait_until(lambda: _is_gone(core, namespace, "polite"), lambda: "still there")
    assert b"".join(follow.stream()) == b"up\nsaved\n"


def test_out_of_memory_and_eviction_are_reported(
    core: client.CoreV1Api, kubelet: ProcessKubelet, namespace: str
) -> None:
    for name in ("large", "evicted"):
        make_pod(core, namespace, name, _ENDLESS)
        wait_for_phase(core, namespace, name, "Running")
    kubelet.kill_out_of_memory(namespace, "large")
    kubelet.evict(namespace, "evicted")
    large = wait_for_phase(core, namespace, "large", "Failed")
    assert (terminated(large).exit_code, terminated(large).reason) == (137, "OOMKilled")
    assert large.status.reason is None
    evicted = wait_for_phase(core, namespace, "evicted", "Failed")
    assert evicted.status.reason == "Evicted"
    assert evicted.status.message == "The node was low on resource: memory."
    assert not kubelet.process_ids(namespace, "large") | kubelet.process_ids(namespace, "evicted")


def test_pods_of_a_lost_node_go_and_their_job_starts_another_elsewhere(
    core: client.CoreV1Api, kubelet: ProcessKubelet, plane: ControlPlane, namespace: str
) -> None:
    lost = Node("node-2", gpus=0, labels={"lost": "soon"})
    batch = client.BatchV1Api(core.api_client)
    container = {"name": "main", "image": "tests", "command": ["sh", "-c", "sleep 1000"]}
    prefers = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {"matchExpressions": [{"key": "lost", "operator": "Exists"}]},
                }
            ]
        }
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container], "affinity": prefers}}
    with ProcessKubelet(plane, plane.folder / "node-2", lost) as second:
        batch.create_namespaced_job(
            namespace, {"metadata": {"name": "moves"}, "spec": {"backoffLimit": 0, "template": template}}
        )
        before = _wait_for_pod_on(core, namespace, lost.name)
        group = second.process_ids(namespace, before)
        assert group
        second.lose()
        assert not any(_lives(pid) for pid in group)
    after = _wait_for_pod_on(core, namespace, kubelet.node.name)
    assert after != before
    assert [node.metadata.name for node in core.list_node().items] == [kubelet.node.name]


def _wait_for_pod_on(core: client.CoreV1Api, namespace: str, node: str) -> str:
    """Name of the running pod on a node."""

    def running() -> list[str]:
        pods = core.list_namespaced_pod(namespace).items
        return [
            pod.metadata.name for pod in pods if pod.spec.node_name == node and pod.status.phase == "Running"
        ]

    wait_until(lambda: len(running()) == 1, lambda: core.list_namespaced_pod(namespace))
    return running()[0]


def _is_gone(core: client.CoreV1Api, namespace: str, name: str) -> bool:
    try:
        core.read_namespaced_pod(name, namespace)
    except ApiException as error:
        return bool(error.status == 404)
    return False


def _lives(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet reaped does not."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
