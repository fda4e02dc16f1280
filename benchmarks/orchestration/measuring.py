"""What a FOV costs beyond its own work: a Dagster run of the chain against a plain loop over the same bodies."""

import argparse
import cProfile
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.planning import plan_plate
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session, open_session
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.definitions import build_defs
from cell_assets.imaging.fov_chain import FovTask, Stage, process_fov
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate

POSITIONS = 96
REPEATS = 3
HERE = Path(__file__).parent
EXPERIMENT = "E"
PLATE = SimulationParameters(
    fovs_per_well=POSITIONS // 2,
    time_points=3,
    shape_zyx=(1, 64, 64),
    cells_per_fov=4,
    write_true_labels=False,
)


@dataclass(frozen=True)
class Measured:
    """One plate. Overhead is the run's wall time less the loop's, which the run's workers share, per position."""

    workers: int
    loop_s: float
    """Wall time of the bodies in a plain loop, one process, everything imported."""
    run_s: float
    """Wall time of the whole Dagster run, the start of its workers included."""
    loop_cpu_s: float
    run_cpu_s: float
    """Processor time of the run's own process: what orchestration costs however busy the machine is."""
    workers_cpu_s: float

    @property
    def overhead_ms(self) -> float:
        return 1000 * (self.run_s - self.loop_s / self.workers) / POSITIONS


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--profile", type=Path, help="write a profile of the first run's own process here")
    arguments.add_argument("--repeats", type=int, default=REPEATS)
    asked = arguments.parse_args()
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="orchestration-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        home.chmod(0o755)
        source = home / "simulated"
        simulate(source, PLATE)
        for workers in (1, 2):
            settings = Settings(home=home, database_url=None, workers=workers)
            with open_session(settings, build_defs) as session:
                for repeat in range(asked.repeats):
                    plate = f"P{workers}{repeat}"
                    _ingest(session, source, plate)
                    first = workers == 1 and repeat == 0
                    measured.append(_measure(session, plate, workers, asked.profile if first else None))
                    print(
                        f"{plate}: {asdict(measured[-1])}, overhead {measured[-1].overhead_ms:.1f} ms/position"
                    )
    if asked.profile is None:
        _write(measured)


def _ingest(session: Session, source: Path, plate: str) -> None:
    request = IngestRequest(
        source=str(source / "plate.zarr"),
        experiment=EXPERIMENT,
        plate=plate,
        plate_map=str(source / "plate_map.csv"),
        tracks=str(source / "tracks"),
    )
    ingest_plate(session, request)
    choices = {
        "fovs": {"patches": {"side_px": 32}},
        "training": {"dynaclr": {"changes": {"patch_side_px": 32}}},
    }
    choose(session, RunRequest(experiment=EXPERIMENT, choices=choices))


def _measure(session: Session, plate: str, workers: int, profile: Path | None) -> Measured:
    positions = _positions(session, plate)
    loop_started = time.process_time()
    loop_s = plain_loop(session, EXPERIMENT, plate, positions)
    loop_cpu_s = time.process_time() - loop_started
    with session.executor() as executor:
        keys = [fov_key(plate, position) for position in positions]
        profiler = cProfile.Profile()
        if profile is not None:
            profiler.enable()
        own, others = time.process_time(), _children_cpu_s()
        started = time.perf_counter()
        outcome = executor.materialise(FOV_ASSETS, partition_range=(keys[0], keys[-1]))
        run_s = time.perf_counter() - started
        own, others = time.process_time() - own, _children_cpu_s() - others
        if profile is not None:
            profiler.disable()
            profiler.dump_stats(profile)
    assert outcome.succeeded, outcome.error
    assert len(session.ledger.latest_many(Stage.PATCH_TABLE.value, keys)) == POSITIONS
    return Measured(workers, loop_s, run_s, loop_cpu_s, own, others)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _positions(session: Session, plate: str) -> tuple[str, ...]:
    record = session.ledger.plate(plate)
    assert record is not None
    assert len(record.draft.positions) == POSITIONS
    return record.draft.positions


def plain_loop(session: Session, experiment: str, plate: str, positions: tuple[str, ...]) -> float:
    """Seconds for the bodies alone: no store, no ledger, no Dagster, no second process, BLAS as in a worker."""
    request = ExperimentChoices.of(session.ledger, experiment).fovs
    plans = plan_plate(session.store, plate, positions, request)
    out = session.settings.home / "loop"
    tasks = [
        FovTask(
            acquisition=plan.acquisition,
            raw=plan.raw,
            position=plan.position,
            parameters=plan.parameters,
            make={stage: out / str(n) / stage.value for stage in Stage},
            made={},
        )
        for n, plan in enumerate(plans)
    ]
    for task in tasks:
        for folder in task.make.values():
            folder.mkdir(parents=True)
    started = time.perf_counter()
    with threadpool_limits(1):
        results = [process_fov(task) for task in tasks]
    seconds = time.perf_counter() - started
    assert [result.error for result in results if result.error is not None] == []
    shutil.rmtree(out)
    return seconds


def _seconds(one: Measured) -> tuple[float, ...]:
    return one.loop_s, one.run_s, one.loop_cpu_s, one.run_cpu_s, one.workers_cpu_s


def _write(measured: list[Measured]) -> None:
    rows = []
    for workers in sorted({one.workers for one in measured}):
        some = [one for one in measured if one.workers == workers]
        # Whatever else the machine does only adds time, to the loop as to the run.
        quietest = Measured(workers, *(min(column) for column in zip(*map(_seconds, some), strict=True)))
        rows.append(
            {
                "workers": workers,
                "loop_ms_per_position": round(1000 * quietest.loop_s / POSITIONS, 1),
                "run_ms_per_position": round(1000 * quietest.run_s / POSITIONS, 1),
                "overhead_ms_per_position": round(quietest.overhead_ms, 1),
                "loop_cpu_ms_per_position": round(1000 * quietest.loop_cpu_s / POSITIONS, 1),
                "workers_cpu_ms_per_position": round(1000 * quietest.workers_cpu_s / POSITIONS, 1),
                "own_cpu_ms_per_position": round(1000 * quietest.run_cpu_s / POSITIONS, 1),
                "each_loop_s": [round(one.loop_s, 2) for one in some],
                "each_run_s": [round(one.run_s, 2) for one in some],
            }
        )
    result = {
        "positions": POSITIONS,
        "shape_tczyx": [PLATE.time_points, 2, *PLATE.shape_zyx],
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "rows": rows,
    }
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
