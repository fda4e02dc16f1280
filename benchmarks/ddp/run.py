"""Steps a second of a DynaCLR training in one process and in two, which share each batch: `benchmarks/ddp/run.py`

Generates a plate, so it needs no input.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.dynaclr_loader.run import INTERVAL_MIN, SIDE_PX, all_train, generated_tables
from cell_assets.methods.contract import Progress, TrainingTable
from cell_assets.methods.dynaclr.method import DynaclrMethod
from cell_assets.methods.dynaclr.parameters import TrainingParameters

STEPS = 10
NOT_COUNTED = 2
"""Steps at the start of a training, in which memory is claimed."""
BATCH = 16
"""Triplets of a step, over all processes."""
REPEATS = 2


@dataclass(frozen=True)
class Processes:
    """How a training uses two cores."""

    devices: int
    threads: int
    """Of each process."""


ONE_THREAD, TWO_THREADS, TWO_PROCESSES = Processes(1, 1), Processes(1, 2), Processes(2, 1)


@dataclass(frozen=True)
class Took:
    """The fastest of the repeats."""

    processes: Processes
    seconds_of_a_step: float
    seconds_before_the_first: float
    """With the start of the processes, their imports and the opening of the tables."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ddp-") as name:
        tables = generated_tables(Path(name))
        one, threads, together = (
            measured(tables, processes) for processes in (ONE_THREAD, TWO_THREADS, TWO_PROCESSES)
        )
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "preset": "quick",
        "batch_size": BATCH,
        "trainings": [asdict(took) for took in (one, threads, together)],
        "two_processes_over_two_threads": round(threads.seconds_of_a_step / together.seconds_of_a_step, 2),
        "two_processes_over_one_thread": round(one.seconds_of_a_step / together.seconds_of_a_step, 2),
    }
    text = json.dumps(result, indent=1)
    Path(__file__).with_name("result.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(tables: list[TrainingTable], processes: Processes) -> Took:
    """A few steps of one training, several times."""
    before, of_a_step = zip(*(timed(tables, processes) for _ in range(REPEATS)), strict=True)
    took = Took(processes, round(min(of_a_step), 3), round(min(before), 1))
    print(took, flush=True)
    return took


def timed(tables: list[TrainingTable], processes: Processes) -> tuple[float, float]:
    """Seconds before the first step has ended, and of each of those that count."""
    changes = {
        "patch_side_px": SIDE_PX,
        "tau_min": INTERVAL_MIN,
        "batch_size": BATCH,
        "max_steps": STEPS,
        "devices": processes.devices,
        "threads": processes.threads,
    }
    parameters = TrainingParameters.model_validate({**TrainingParameters.quick().model_dump(), **changes})
    ended: dict[int, float] = {}

    def note(progress: Progress) -> None:
        ended.setdefault(progress.done, time.perf_counter())

    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        DynaclrMethod().train(tables, all_train(tables), parameters, Path(out), note)
    last = max(ended)
    assert last == STEPS, ended
    return ended[1] - started, (ended[last] - ended[NOT_COUNTED]) / (last - NOT_COUNTED)


if __name__ == "__main__":
    main()
