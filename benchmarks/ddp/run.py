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
BATCHES = (16,)
REPEATS = 2


@dataclass(frozen=True)
class Processes:
    """How a training uses two cores."""

    devices: int
    threads: int
    """Of each process."""


LAYOUTS = (Processes(1, 1), Processes(1, 2), Processes(2, 1))


@dataclass(frozen=True)
class Took:
    """The fastest of the repeats."""

    devices: int
    threads: int
    batch_size: int
    seconds_of_a_step: float
    seconds_before_the_first: float
    """With the start of the processes, their imports and the opening of the tables."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ddp-") as name:
        tables = generated_tables(Path(name))
        found = [measured(tables, layout, batch) for batch in BATCHES for layout in LAYOUTS]
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "preset": "quick",
        "trainings": [asdict(one) for one in found],
        "two_processes_over_two_threads": {
            batch: round(step_of(found, batch, Processes(1, 2)) / step_of(found, batch, Processes(2, 1)), 2)
            for batch in BATCHES
        },
        "two_processes_over_one_thread": {
            batch: round(step_of(found, batch, Processes(1, 1)) / step_of(found, batch, Processes(2, 1)), 2)
            for batch in BATCHES
        },
    }
    text = json.dumps(result, indent=1)
    Path(__file__).with_name("result.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(tables: list[TrainingTable], layout: Processes, batch: int) -> Took:
    """A few steps of one training, several times."""
    before, of_a_step = zip(*(timed(tables, layout, batch) for _ in range(REPEATS)), strict=True)
    took = Took(layout.devices, layout.threads, batch, round(min(of_a_step), 3), round(min(before), 1))
    print(took, flush=True)
    return took


def timed(tables: list[TrainingTable], layout: Processes, batch: int) -> tuple[float, float]:
    """Seconds before the first step has ended, and of each of those that count."""
    changes = {
        "patch_side_px": SIDE_PX,
        "tau_min": INTERVAL_MIN,
        "batch_size": batch,
        "max_steps": STEPS,
        "devices": layout.devices,
        "threads": layout.threads,
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


def step_of(found: list[Took], batch: int, layout: Processes) -> float:
    """Seconds of a step."""
    (one,) = (
        took
        for took in found
        if (took.batch_size, took.devices, took.threads) == (batch, layout.devices, layout.threads)
    )
    return one.seconds_of_a_step


if __name__ == "__main__":
    main()
