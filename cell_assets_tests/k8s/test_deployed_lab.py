"""That the project's own assets run on Kubernetes as deployed, and what becomes of them when pods are lost."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell_assets.automation import watchdog
from cell_assets.automation.running import RunRequest, choose
from cell_assets.ledger.records import Provenance, RunOutcome
from cell_assets_tests.database.tcp_postgres import tcp_postgres
from cell_assets_tests.end_to_end.lab import (
    SMALL_TRAINING,
    assert_nothing_left,
    assert_published_is_whole,
    small_choices,
    tiny_plate,
)
from cell_assets_tests.k8s.cluster.control_plane import ControlPlane, has_service_account
from cell_assets_tests.k8s.cluster.kubelet import GPU
from cell_assets_tests.k8s.deployed_lab import (
    CPU_NODE,
    GPU_NODE,
    Cluster,
    DeployedLab,
    deployed_lab,
    gpu_cluster,
)
from cell_assets_tests.k8s.pods import wait_for_phase
from cell_assets_tests.k8s.waiting import wait_until

pytestmark = [pytest.mark.needs_kubernetes, pytest.mark.timeout(1500)]

NAMESPACE = "lab"
MANIFEST, CHECKPOINT = "experiment_manifest", "dynaclr_checkpoint"
RUN = ""
"""The step of a run's own pod."""


def training(seed: int) -> dict[str, object]:
    """Choices under which a training saves a few dozen epochs in some seconds."""
    changes = {**SMALL_TRAINING, "max_steps": None, "max_epochs": 80, "seed": seed}
    return small_choices() | {"training": {"dynaclr": {"preset": "quick", "changes": changes}}}


@pytest.fixture(scope="module")
def cluster(own_plane: ControlPlane) -> Iterator[Cluster]:
    with gpu_cluster(own_plane) as running:
        yield running


@pytest.fixture(scope="module")
def lab(cluster: Cluster, open_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedLab]:
    """Two experiments whose FOVs are made, and nothing that needs a GPU."""
    cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
    wait_until(lambda: has_service_account(cluster.core, NAMESPACE), lambda: "no account")
    home = open_home / "lab"
    home.mkdir()
    volume = tmp_path_factory.mktemp("volume")
    with (
        tcp_postgres(home, {watchdog.MARK: cluster.plane.mark}) as server,
        deployed_lab(cluster, NAMESPACE, server, volume) as running,
    ):
        plate = tiny_plate(tmp_path_factory.mktemp("plates") / "plate")
        for experiment in ("E1", "E2"):
            running.bring_in(plate, experiment, training(seed=1))
        yield running


@pytest.mark.slow
def test_two_gpu_assets_take_turns_on_the_one_gpu(lab: DeployedLab) -> None:
    lab.allow_gpu_steps(2)
    occupy_the_gpu(lab)
    runs = [lab.launch([MANIFEST, CHECKPOINT], experiment) for experiment in ("E1", "E2")]
    pods = [lab.wait_for_pod(run, CHECKPOINT, "Pending") for run in runs]

    def refused() -> list[bool]:
        return [f"Insufficient {GPU}" in lab.pods.of(run, CHECKPOINT)[-1].reason for run in runs]

    wait_until(lambda: all(refused()), lambda: [lab.pods.of(run, CHECKPOINT) for run in runs])
    lab.core.delete_namespaced_pod("occupant", NAMESPACE)
    assert [lab.wait_until_ended(run) for run in runs] == ["SUCCESS", "SUCCESS"]

    for name in pods:
        (container,) = lab.core.read_namespaced_pod(name, NAMESPACE).spec.containers
        assert container.resources.limits[GPU] == "1"
    nodes = {
        step: {one.node for run in runs for one in lab.pods.of(run, step) if one.phase == "Running"}
        for step in (CHECKPOINT, MANIFEST, RUN)
    }
    assert nodes == {CHECKPOINT: {GPU_NODE.name}, MANIFEST: {CPU_NODE.name}, RUN: {CPU_NODE.name}}
    assert lab.pods.running_together(CHECKPOINT) == 1
    assert lab.pods.running_together(RUN) == 2
    # The second was looked at again while the first ran, and refused.
    order = [one for one in lab.pods.seen if one.name in pods]
    first = next(one for one in order if one.phase == "Running").name
    (second,) = set(pods) - {first}
    phases = [(one.name, one.phase) for one in order]
    assert phases.index((first, "Succeeded")) < phases.index((second, "Running"))
    for run, experiment in zip(runs, ("E1", "E2"), strict=True):
        made = lab.session.ledger.latest(CHECKPOINT, experiment)
        assert made is not None
        assert made.run.dagster_run_id == run
    assert_published_is_whole(lab.session)
    assert_nothing_left(lab.session)


@pytest.mark.slow
def test_the_pool_keeps_a_gpu_step_from_having_a_pod(lab: DeployedLab) -> None:
    lab.allow_gpu_steps(1)
    for experiment, seed in (("E1", 3), ("E2", 3)):
        choose(lab.session, RunRequest(experiment=experiment, choices=training(seed)))
    runs = [lab.launch([CHECKPOINT], experiment) for experiment in ("E1", "E2")]
    assert [lab.wait_until_ended(run) for run in runs] == ["SUCCESS", "SUCCESS"]

    assert lab.pods.running_together(RUN) == 2
    seen = [(one.name, one.phase) for one in lab.pods.seen if one.run in runs and one.step == CHECKPOINT]
    first, second = dict.fromkeys(name for name, _ in seen)
    # The second has no pod, not even one that waits, before the first's has ended.
    assert seen.index((first, "Succeeded")) < [name for name, _ in seen].index(second)


@pytest.mark.slow
def test_a_step_trains_with_a_pod_on_another_node(lab: DeployedLab) -> None:
    lab.allow_gpu_steps(1)
    choices = training(seed=4)
    choices["training"]["dynaclr"]["changes"] |= {"devices": 2, "num_nodes": 2}  # type: ignore[index]
    choose(lab.session, RunRequest(experiment="E2", choices=choices))
    run_id = lab.launch([MANIFEST, CHECKPOINT], "E2")
    lab.wait_for_pod(run_id, CHECKPOINT, "Running")
    job = lab.train_beside("E2")
    assert lab.wait_until_ended(run_id) == "SUCCESS"

    def pods_of_job() -> list[tuple[str, str]]:
        pods = lab.core.list_namespaced_pod(NAMESPACE, label_selector=f"job-name={job}").items
        return [(pod.status.phase, pod.spec.node_name) for pod in pods]

    wait_until(lambda: pods_of_job() == [("Succeeded", CPU_NODE.name)], pods_of_job)
    assert {one.node for one in lab.pods.of(run_id, CHECKPOINT) if one.phase == "Running"} == {GPU_NODE.name}
    made = lab.session.ledger.latest(CHECKPOINT, "E2")
    assert made is not None
    assert (made.run.dagster_run_id, made.run.parameters["devices"]) == (run_id, 2)
    assert_published_is_whole(lab.session)
    assert_nothing_left(lab.session)


def occupy_the_gpu(lab: DeployedLab) -> None:
    """A pod of somebody else, so that both of the lab's are there before either can run."""
    container = {"name": "main", "image": "tests", "command": ["sleep", "1000"]}
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container | {"resources": {"limits": {GPU: "1"}}}],
    }
    lab.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "occupant"}, "spec": spec})
    wait_for_phase(lab.core, NAMESPACE, "occupant", "Running")


def retrain(lab: DeployedLab, *before: str) -> str:
    """Choose the other of two trainings of E1, so that its checkpoint is outdated, and launch it; gives the run."""
    latest = lab.session.ledger.latest(CHECKPOINT, "E1")
    seed = 2 if latest is not None and seed_of(latest) == 1 else 1
    choose(lab.session, RunRequest(experiment="E1", choices=training(seed)))
    return lab.launch([*before, CHECKPOINT], "E1")


def seed_of(made: Provenance) -> int:
    return int(made.run.parameters["seed"])  # type: ignore[arg-type]


def made_by(lab: DeployedLab, run_id: str) -> tuple[int, str]:
    """Seed and digest of the newest checkpoint of E1, which this run made."""
    made = lab.session.ledger.latest(CHECKPOINT, "E1")
    assert made is not None
    assert made.run.dagster_run_id == run_id
    return seed_of(made), made.artifact.digest


@pytest.fixture(scope="module")
def undisturbed(lab: DeployedLab) -> dict[int, str]:
    """Digest of the checkpoint of each seed, as trained without loss of a pod."""
    lab.allow_gpu_steps(1)
    digests = {}
    for before in ((MANIFEST,), ()):
        run_id = retrain(lab, *before)
        assert lab.wait_until_ended(run_id) == "SUCCESS"
        assert resumed_after(lab, run_id) == []
        seed, digest = made_by(lab, run_id)
        digests[seed] = digest
    assert len(set(digests.values())) == 2
    return digests


def resumed_after(lab: DeployedLab, run_id: str) -> list[int]:
    """After which epochs the trainings of a run went on that an interrupted attempt had begun."""
    told = [re.search(r"it went on after epoch (\d+)", message) for message in lab.messages(run_id)]
    return [int(match[1]) for match in told if match is not None]


def out_of_memory(lab: DeployedLab, pod: str) -> None:
    lab.cluster.gpu.kill_out_of_memory(NAMESPACE, pod)
    wait_until(lambda: ("Failed", "OOMKilled") in ends(lab, pod), lambda: ends(lab, pod))


def node_pressure(lab: DeployedLab, pod: str) -> None:
    lab.cluster.gpu.evict(NAMESPACE, pod)
    wait_until(lambda: any("Evicted" in why for _, why in ends(lab, pod)), lambda: ends(lab, pod))


def eviction_api(lab: DeployedLab, pod: str) -> None:
    """What `kubectl drain` and the cluster's autoscaler do."""
    body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}}
    lab.core.create_namespaced_pod_eviction(pod, NAMESPACE, body)


def deletion(lab: DeployedLab, pod: str) -> None:
    lab.core.delete_namespaced_pod(pod, NAMESPACE)


def ends(lab: DeployedLab, pod: str) -> list[tuple[str, str]]:
    """Phase and reason of what was seen of a pod."""
    return [(one.phase, one.reason) for one in lab.pods.seen if one.name == pod]


@pytest.mark.slow
@pytest.mark.parametrize("lose", [out_of_memory, node_pressure, eviction_api, deletion])
def test_a_training_whose_pod_is_lost_goes_on_to_the_same_bytes(
    lab: DeployedLab, undisturbed: dict[int, str], lose: Callable[[DeployedLab, str], None]
) -> None:
    run_id = retrain(lab)
    pod = lab.wait_for_pod(run_id, CHECKPOINT, "Running")
    lab.wait_for_saved_epoch("E1")
    lose(lab, pod)
    assert lab.wait_until_ended(run_id) == "SUCCESS"
    assert min(resumed_after(lab, run_id)) >= 1
    seed, digest = made_by(lab, run_id)
    assert digest == undisturbed[seed]
    assert [
        one.outcome for one in lab.session.ledger.attempts(CHECKPOINT, "E1") if one.dagster_run_id == run_id
    ] == [RunOutcome.SUCCEEDED]
    assert_all_is_well(lab)


def assert_all_is_well(lab: DeployedLab) -> None:
    """Everything published is whole, and what lost pods left is swept away."""
    assert_published_is_whole(lab.session)
    lab.session.store.sweep()
    assert_nothing_left(lab.session)


def kill_the_process(lab: DeployedLab, pod: str) -> None:
    for pid in lab.cluster.cpu.process_ids(NAMESPACE, pod):
        os.kill(pid, signal.SIGKILL)


def delete_the_job(lab: DeployedLab, pod: str) -> None:
    job = lab.core.read_namespaced_pod(pod, NAMESPACE).metadata.labels["job-name"]
    lab.batch.delete_namespaced_job(job, NAMESPACE, body={"propagationPolicy": "Background"})


@pytest.mark.slow
@pytest.mark.parametrize("lose", [kill_the_process, delete_the_job])
def test_a_run_whose_worker_is_lost_is_launched_anew(
    lab: DeployedLab, undisturbed: dict[int, str], lose: Callable[[DeployedLab, str], None]
) -> None:
    run_id = retrain(lab)
    worker = lab.wait_for_pod(run_id, RUN, "Running")
    lab.wait_for_pod(run_id, CHECKPOINT, "Running")
    lab.wait_for_saved_epoch("E1")
    lose(lab, worker)
    assert lab.wait_until_ended(run_id) == "FAILURE"
    again = lab.retry_of(run_id)
    assert lab.wait_until_ended(again) == "SUCCESS"
    seed, digest = made_by(lab, again)
    assert digest == undisturbed[seed]
    assert_all_is_well(lab)
