"""A plate through pods and in one process: where the time beyond the bodies goes."""

import argparse
import json
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

import dagster as dg
import template
from cell_assets_tests.k8s.deployed_lab import DeployedLab, deployed_lab, gpu_cluster
from kubernetes import client

from cell_assets.assets.partitions import fov_key
from cell_assets.automation.executing import RANGE_TAGS
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.database.tcp_postgres import tcp_postgres
from cell_assets_tests.k8s.cluster.control_plane import control_plane, has_service_account
from cell_assets_tests.k8s.cluster.programs import programs_folder
from cell_assets_tests.k8s.waiting import wait_until

HERE = Path(__file__).parent
NAMESPACE = "scale"
STEP = "fov_chain"


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--fovs-per-well", type=int, default=template.FOVS_OF_A_WELL)
    fovs_per_well = asked.parse_args().fovs_per_well
    with tempfile.TemporaryDirectory(prefix="scale-kubernetes-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        source = folder / "simulated"
        simulate(source, template.PLATE.model_copy(update={"fovs_per_well": fovs_per_well}))
        with (
            control_plane(programs_folder(), _new(folder / "plane")) as plane,
            gpu_cluster(plane) as cluster,
            tcp_postgres(_new(folder / "database"), {}) as server,
        ):
            cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
            wait_until(lambda: has_service_account(cluster.core, NAMESPACE), lambda: "no account")
            with deployed_lab(cluster, NAMESPACE, server, _new(folder / "volume")) as lab:
                result = _measure(lab, source)
            client.BatchV1Api(cluster.core.api_client).delete_collection_namespaced_job(
                NAMESPACE, body={"propagationPolicy": "Background"}
            )
    (HERE / "result_kubernetes.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def _measure(lab: DeployedLab, source: Path) -> dict[str, object]:
    keys = {}
    for plate in ("in-process", "in-pods"):
        ingest_plate(lab.session, template.request_of(source, "E000", plate))
        record = lab.session.ledger.plate(plate)
        assert record is not None
        keys[plate] = [fov_key(plate, position) for position in record.draft.positions]
    choose(lab.session, RunRequest(experiment="E000", choices=template.CHOICES))
    n = len(keys["in-pods"])

    with lab.session.executor() as executor:
        started = time.perf_counter()
        first, *_, last = keys["in-process"]
        outcome = executor.materialise(FOV_ASSETS, partition_range=(first, last))
        in_process = time.perf_counter() - started
        assert outcome.succeeded, outcome.error
        bodies = _step_seconds(executor.instance, outcome.run_id)
    started = time.perf_counter()
    run_id = _launch(lab, keys["in-pods"])
    assert lab.wait_until_ended(run_id) == "SUCCESS"
    in_pods = time.perf_counter() - started
    assert len(lab.session.ledger.latest_many(FOV_ASSETS[-1], keys["in-pods"])) == n
    step = _step_seconds(lab.instance, run_id)
    return {
        "positions": n,
        "in_process_s": round(in_process, 1),
        "its_step_s": round(bodies, 1),
        "in_pods_s": round(in_pods, 1),
        "step_in_its_pod_s": round(step, 1),
        "overhead_ms_per_position": round(1000 * (in_pods - in_process) / n, 1),
        "outside_of_the_step_ms_per_position": round(1000 * (in_pods - step) / n, 1),
        "pods": len({seen.name for seen in lab.pods.seen}),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def _launch(lab: DeployedLab, keys: list[str]) -> str:
    """A run over a range, as the UI launches one."""
    from dagster_graphql.cli import execute_query

    from cell_assets_tests.end_to_end.dagster_ui import LAUNCH, launch_selector

    tags = dict(zip(RANGE_TAGS, (keys[0], keys[-1]), strict=True))
    given = {
        "selector": launch_selector(list(FOV_ASSETS)),
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
    launched = execute_query(lab.workspace, LAUNCH, {"given": given})["data"]["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def _step_seconds(instance: dg.DagsterInstance, run_id: str) -> float:
    """From the start of the FOVs' step to its end, by its own events."""
    (one,) = [stats for stats in instance.get_run_step_stats(run_id) if stats.step_key == STEP]
    assert one.start_time is not None and one.end_time is not None
    return (datetime.fromtimestamp(one.end_time) - datetime.fromtimestamp(one.start_time)).total_seconds()


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
