"""How near to the machine's own matrix product are CytoSummaryNet's profiles and epochs? And to a loop over wells?

Generates a plate of 384 wells x 2,500 cells x 1,324 features (5.1 GB in the temporary folder), so it needs no input:
`benchmarks/cytosummary/run.py [--device cuda]`. In bfloat16 where the processor has it, and in float32 elsewhere.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL
from cell_assets.methods.cytosummary.batches import EpochSets, SetBatch
from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, trained_wells
from cell_assets.methods.execution import runnable_precision
from cell_assets.methods.processor import Device, Precision

WELLS, CELLS, FEATURES = 384, 2500, 1324
COMPOUNDS, REPLICATES = 90, 4
TRIES = 3
STEPS = 3
PAPER_SECONDS = 20.1
"""A plate's profiling in the paper's Table 3."""
Step = Callable[[CytoSummaryNet, SetBatch], torch.Tensor]
"""A batch's profiles (S, P)."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments.add_argument(
        "--steps-only", action="store_true", help="leave out profiling, which takes the most products"
    )
    arguments.add_argument(
        "--compounds", type=int, default=18, help="whose sets are in a step; fewer on slow machines"
    )
    asked = arguments.parse_args()
    device = asked.device
    precision, _ = runnable_precision(Precision.BFLOAT16, Device(device))
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    network = CytoSummaryNet(NetworkConfig(features=FEATURES)).to(device)
    with tempfile.TemporaryDirectory(prefix="cytosummary-") as folder:
        plate = generated_plate(Path(folder))
        rate = matrix_product_rate(device, precision)
        epoch = step_times(network, plate, precision, asked.compounds)
        profiling = {} if asked.steps_only else profiling_result(network, plate, precision, rate)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}",
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
        "precision": precision,
        "matrix_product_tflops": round(rate / 1e12, 3),
        **profiling,
        "compounds_of_a_step": asked.compounds,
        "step_seconds": {name: round(found.seconds, 2) for name, found in epoch.items()},
        "step_processor_seconds": {name: round(found.processor, 2) for name, found in epoch.items()},
        "of_which_drawing_and_reading": {name: round(found.reading, 2) for name, found in epoch.items()},
        "step_share_of_matrix_product": {
            name: round(found.flop / found.seconds / rate, 3) for name, found in epoch.items()
        },
        "loop_over_counts": {
            "seconds": round(epoch["loop over sets"].seconds / epoch["counts"].seconds, 2),
            "processor seconds": round(epoch["loop over sets"].processor / epoch["counts"].processor, 2),
        },
    }
    name = f"result_{device}_{precision}.json"
    Path(__file__).with_name(name).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def generated_plate(folder: Path) -> PlateCells:
    """Cells on disk, as a memory map; what their values are does not decide the speed."""
    random = np.random.default_rng(0)
    some = random.normal(size=(CELLS, FEATURES)).astype(np.float32)
    features: NDArray[np.float32] = np.memmap(
        folder / "cells", np.float32, "w+", shape=(WELLS * CELLS, FEATURES)
    )
    for well in range(WELLS):
        features[well * CELLS : (well + 1) * CELLS] = np.roll(some, well, axis=1)
    compound = [f"c{well // REPLICATES}" for well in range(COMPOUNDS * REPLICATES)]
    control = WELLS - len(compound)
    wells = pd.DataFrame(
        {
            COMPOUND: [*compound, *["control"] * control],
            IS_CONTROL: [False] * len(compound) + [True] * control,
        }
    )
    return PlateCells("P", features, np.arange(WELLS + 1) * CELLS, wells)


def matrix_product_rate(device: str, precision: Precision) -> float:
    """FLOP/s of the best of five square products."""
    side, dtype = 4096, getattr(torch, precision)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * side**3 / min(seconds_of(lambda: left @ right, device, 5))


def profiling_result(
    network: CytoSummaryNet, plate: PlateCells, precision: Precision, rate: float
) -> dict[str, float]:
    """Of a whole plate, reading included."""

    def profile() -> object:
        return network.profiles_of(plate.features, plate.starts, precision)

    seconds = statistics.median(seconds_of(profile, network.phi.weight.device.type, TRIES))
    flop = 2 * len(plate.features) * FEATURES * network.config.cell_width
    return {
        "profiling_seconds": round(seconds, 2),
        "profiling_share_of_matrix_product": round(flop / seconds / rate, 3),
        "paper_seconds_for_a_plate": PAPER_SECONDS,
    }


@dataclass(frozen=True)
class StepTime:
    """Of a step, medians over batches."""

    seconds: float
    """Drawing and reading included."""
    processor: float
    """Seconds of all threads, which other programs on the machine change less."""
    reading: float
    """Seconds of drawing and reading alone."""
    flop: float
    """That it cannot do without: forward and the gradient of φ's weights over every different cell."""


def step_times(
    network: CytoSummaryNet, plate: PlateCells, precision: Precision, compounds_per_batch: int
) -> dict[str, StepTime]:
    """Every kind of step in turn on each of an epoch's first batches, the first of which is not counted."""
    compounds = sorted(set(plate.wells.loc[~plate.wells[IS_CONTROL], COMPOUND]))
    parameters = TrainingParameters(compounds_per_batch=compounds_per_batch)
    batches = EpochSets([plate], trained_wells([plate], compounds), parameters, epoch=0)
    optimizer = torch.optim.AdamW(network.parameters(), parameters.learning_rate)
    device = network.phi.weight.device
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in STEPS_OF}
    for place in range(STEPS + 1):
        for name, step in STEPS_OF.items():
            started, started_processor = time.perf_counter(), time.process_time()
            batch = move_data_to_device(batches[place], device)
            read = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=precision is Precision.BFLOAT16):
                profiles = step(network, batch)
            supcon_loss(profiles, batch.compound).backward()
            optimizer.step()
            optimizer.zero_grad()
            if batch.cells.is_cuda:
                torch.cuda.synchronize()
            ended, processor = time.perf_counter(), time.process_time() - started_processor
            work = 2 * 2 * len(batch.cells) * FEATURES * network.config.cell_width
            times[name].append((ended - started, processor, read - started, work))
    return {
        name: StepTime(*(statistics.median(one) for one in zip(*rows[1:], strict=True)))
        for name, rows in times.items()
    }


def by_counts(network: CytoSummaryNet, batch: SetBatch) -> torch.Tensor:
    profiles: torch.Tensor = network(batch.cells, batch.counts)
    return profiles


def by_loop(network: CytoSummaryNet, batch: SetBatch) -> torch.Tensor:
    """As the published code: every set's cells, repeated as they were drawn, one set after another."""
    sums = []
    for counts in batch.counts.dense():
        drawn = torch.repeat_interleave(batch.cells, counts.long(), dim=0)
        sums.append(network.of_cells(drawn).sum(0))
    return network.of_sums(torch.stack(sums))


STEPS_OF: dict[str, Step] = {"counts": by_counts, "loop over sets": by_loop}


def seconds_of(action: Callable[[], object], device: str, tries: int) -> Sequence[float]:
    found = []
    for _ in range(tries):
        started = time.perf_counter()
        action()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    main()
