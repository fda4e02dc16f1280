"""One plate of 864 tiny positions on a real Kubernetes, from its pixels to its report: `benchmarks/scale/in_pods.py`

The control plane that `make test-k8s` builds; pods are processes of this machine, so that fetching images and mounting
volumes are not in it. Simulates its input.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import template

from benchmarks.orchestration.measuring import plain_loop
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, POSITION, register_plate_keys
from cell_assets.assets.recipes import AssetName
from cell_assets.automation import watchdog
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.stages import FOV_ASSETS, next_runs
from cell_assets.imaging.fov_chain import Stage
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets_tests.database.tcp_postgres import tcp_postgres
from cell_assets_tests.end_to_end.lab import SMALL_TRAINING
from cell_assets_tests.k8s.cluster.control_plane import control_plane, has_service_account
from cell_assets_tests.k8s.cluster.programs import programs_folder
from cell_assets_tests.k8s.deployed_lab import DeployedLab, deployed_lab, gpu_cluster
from cell_assets_tests.k8s.waiting import wait_until

NAMESPACE, EXPERIMENT, PLATE, METHOD = "scale", "E000", "P0000", "dynaclr"
CHOICES = {
    **template.CHOICES,
    "report": {"n_resamples": 100},
    "training": {METHOD: {"preset": "quick", "changes": SMALL_TRAINING}},
}


@dataclass(frozen=True)
class Run:
    """One run of Dagster, whose steps were pods."""

    assets: tuple[str, ...]
    seconds: float
    """From the click that launches it to its end, as the database has it."""
    seconds_until_it_runs: float
    """Of them: the plan, the queue, and the start of the run's own pod."""
    pods: int
    """With the run's own."""


def main() -> None:
    with (
        _folder() as folder,
        control_plane(programs_folder(), _made(folder / "plane")) as plane,
        gpu_cluster(plane) as cluster,
    ):
        cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
        wait_until(lambda: has_service_account(cluster.core, NAMESPACE), lambda: "no account")
        template.simulate_plate(folder / "simulated")
        with (
            tcp_postgres(_made(folder / "server"), {watchdog.MARK: plane.mark}) as server,
            deployed_lab(cluster, NAMESPACE, server, _made(folder / "volume")) as lab,
        ):
            result = measured(lab, folder / "simulated")
    text = json.dumps(result, indent=1)
    Path(__file__).with_name("in_pods.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(lab: DeployedLab, source: Path) -> dict[str, object]:
    """Every run of the plate, and what its positions cost beyond their own work."""
    request = template.request_of(source, EXPERIMENT, PLATE)
    positions = [one.name for one in prepare_ingest(Path(request.source), request.options()).source.positions]
    register_plate_keys(lab.instance, EXPERIMENT, PLATE, positions)
    config = {str(AssetName.RAW_ACQUISITION): as_config(request, PARTITION_SAYS)}
    runs = [timed(lab, (AssetName.RAW_ACQUISITION, AssetName.PLATE_QC), PLATE, config)]
    choose(lab.session, RunRequest(experiment=EXPERIMENT, choices=CHOICES))
    loop_s = plain_loop(lab.session, EXPERIMENT, PLATE, tuple(positions))
    while needed := next_runs(
        lab.session.store, EXPERIMENT, METHOD, lab.instance.get_dynamic_partitions(POSITION)
    ):
        for one in needed:
            key = one.partition or one.partition_range
            assert key is not None
            runs.append(timed(lab, one.assets, key))
    made = lab.session.ledger.latest_many(Stage.PATCH_TABLE.value, [f"{PLATE}|{one}" for one in positions])
    assert len(made) == len(positions) == template.POSITIONS
    (of_fovs,) = (run for run in runs if run.assets == FOV_ASSETS)
    return {
        "positions": len(positions),
        "cores": len(os.sched_getaffinity(0)),
        "workers_of_a_pod": 1,
        "load_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "loop_of_the_bodies_s": round(loop_s, 1),
        "fovs_beyond_the_loop_ms_per_position": round(1000 * (of_fovs.seconds - loop_s) / len(positions), 1),
        "with_the_whole_ingest_ms_per_position": round(
            1000 * (runs[0].seconds + of_fovs.seconds - loop_s) / len(positions), 1
        ),
        "numbers_of_the_report": len(lab.session.ledger.numbers(EXPERIMENT)),
        "runs": [asdict(run) for run in runs],
    }


def timed(
    lab: DeployedLab,
    assets: Sequence[str],
    partition: str | tuple[str, str],
    config: Mapping[str, Mapping[str, object]] | None = None,
) -> Run:
    """Launch a run as the UI does, and wait until it has ended well."""
    clicked = time.time()
    run_id = lab.launch([str(one) for one in assets], partition, config)
    # Seldom, as this process is the kubelet too.
    while not lab.run(run_id).is_finished:
        time.sleep(0.5)
    assert lab.run(run_id).is_success, lab.said(run_id)
    record = lab.instance.get_run_record_by_id(run_id)
    assert record is not None and record.start_time is not None and record.end_time is not None
    pods = {one.name for one in list(lab.pods.seen) if one.run == run_id}
    run = Run(
        tuple(str(one) for one in assets),
        round(record.end_time - clicked, 1),
        round(record.start_time - clicked, 1),
        len(pods),
    )
    print(run, flush=True)
    return run


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def _folder() -> Iterator[Path]:
    name = tempfile.mkdtemp(prefix="scale-in-pods-")
    # The database's user must be able to enter.
    Path(name).chmod(0o755)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


if __name__ == "__main__":
    main()
