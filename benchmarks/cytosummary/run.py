"""How near to the machine's own matrix product are CytoSummaryNet's profiles and epochs? And to a loop over wells?

Generates a plate of 384 wells x 2,500 cells x 1,324 features (5.1 GB in the temporary folder), so it needs no input:
`benchmarks/cytosummary/run.py [--device cuda]`.
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
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cell_assets.evaluation.profiling.well_manifest import COMPOUND, IS_CONTROL
from cell_assets.methods.cytosummary.batches import EpochSets, SetBatch
from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells, trained_wells
from cell_assets.methods.processor import Precision

WELLS, CELLS, FEATURES = 384, 2500, 1324
COMPOUNDS, REPLICATES = 90, 4
TRIES = 3
STEPS = 2
PAPER_SECONDS = 20.1
"""A plate's profiling in the paper's Table 3."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = arguments.parse_args().device
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    network = CytoSummaryNet(NetworkConfig(features=FEATURES)).to(device)
    with tempfile.TemporaryDirectory(prefix="cytosummary-") as folder:
        plate = generated_plate(Path(folder))
        rate = matrix_product_rate(device)
        profiling = profiling_seconds(network, plate)
        flop = 2 * len(plate.features) * FEATURES * network.config.cell_width
        epoch = {name: epoch_seconds(step, network, plate) for name, step in STEPS_OF.items()}
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}",
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
        "bf16_matrix_product_tflops": round(rate / 1e12, 3),
        "profiling_seconds": round(profiling, 2),
        "profiling_share_of_matrix_product": round(flop / profiling / rate, 3),
        "paper_seconds_for_a_plate": PAPER_SECONDS,
        "step_seconds": {name: round(seconds, 2) for name, (seconds, _) in epoch.items()},
        "step_share_of_matrix_product": {
            name: round(work / seconds / rate, 3) for name, (seconds, work) in epoch.items()
        },
        "loop_over_counts": round(epoch["loop over sets"][0] / epoch["matrix of counts"][0], 2),
    }
    name = f"result_{device}.json"
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


def matrix_product_rate(device: str) -> float:
    """FLOP/s of the best of three square bfloat16 products."""
    side = 4096
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    left @ right
    return 2 * side**3 / min(seconds_of(lambda: left @ right, device, 5))


def profiling_seconds(network: CytoSummaryNet, plate: PlateCells) -> float:
    def profile() -> object:
        return network.profiles_of(plate.features, plate.starts, Precision.BFLOAT16)

    return statistics.median(seconds_of(profile, network.phi.weight.device.type, TRIES))


def epoch_seconds(
    step: Callable[[CytoSummaryNet, SetBatch], torch.Tensor], network: CytoSummaryNet, plate: PlateCells
) -> tuple[float, float]:
    """Seconds of a step, drawing and reading included, median over batches; and the FLOP that it cannot do without:
    forward and the gradient of φ's weights over every different cell."""
    compounds = sorted(set(plate.wells.loc[~plate.wells[IS_CONTROL], COMPOUND]))
    parameters = TrainingParameters()
    batches = EpochSets([plate], trained_wells([plate], compounds), parameters, epoch=0)
    optimizer = torch.optim.AdamW(network.parameters(), parameters.learning_rate)
    times, work = [], []
    for place in range(STEPS + 1):
        started = time.perf_counter()
        batch = batches[place]
        batch = SetBatch(*(part.to(network.phi.weight.device) for part in batch[:3]), *batch[3:])
        step(network, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch.cells.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        work.append(2 * 2 * len(batch.cells) * FEATURES * network.config.cell_width)
    return statistics.median(times[1:]), statistics.median(work[1:])


def by_counts(network: CytoSummaryNet, batch: SetBatch) -> torch.Tensor:
    with torch.autocast(batch.cells.device.type, torch.bfloat16):
        profiles = network(batch.cells, batch.counts)
    return supcon_loss(profiles, batch.compound)


def by_loop(network: CytoSummaryNet, batch: SetBatch) -> torch.Tensor:
    """As the published code: every set's cells, repeated as they were drawn, one set after another."""
    with torch.autocast(batch.cells.device.type, torch.bfloat16):
        sums = []
        for counts in batch.counts:
            drawn = torch.repeat_interleave(batch.cells, counts.long(), dim=0)
            sums.append(network.of_cells(drawn).sum(0))
        profiles = network.of_sums(torch.stack(sums))
    return supcon_loss(profiles, batch.compound)


STEPS_OF = {"matrix of counts": by_counts, "loop over sets": by_loop}


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
