"""A DynaCLR training step: its time part by part, and the network's FLOP/s beside this machine's matrix product.

Generates a plate, so it needs no input: `benchmarks/dynaclr_step/run.py [--device cuda] [--triplets 32]`.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.dynaclr_loader.run import INTERVAL_MIN, SHAPE, SIDE_PX, all_train, generated_tables
from cell_assets.methods.contract import Progress, TrainingTable
from cell_assets.methods.dynaclr.augmentation import PatchAugmentation
from cell_assets.methods.dynaclr.lightning_module import augmented_triplets
from cell_assets.methods.dynaclr.loading import EpochBatches, TripletBatch
from cell_assets.methods.dynaclr.network import DynaclrNetwork, Encoding, NetworkConfig
from cell_assets.methods.dynaclr.objective import triplet_loss
from cell_assets.methods.dynaclr.parameters import CompileMode, TrainingParameters
from cell_assets.methods.dynaclr.patches import open_tables
from cell_assets.methods.dynaclr.sampling import TripletSampler
from cell_assets.methods.dynaclr.training import train
from cell_assets.methods.processor import Device

REPEATS = 6
MATRIX_SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
PLATES = (1, 4)


@dataclass(frozen=True)
class Step:
    """Median seconds of each part of a step."""

    read: float
    augment: float
    network: dict[CompileMode, float]
    """Forward, loss, backward."""
    products: float | None
    """The matrix products within the uncompiled network, where PyTorch's profiler can time them."""
    optimizer: float

    @property
    def whole(self) -> float:
        return self.read + self.augment + min(self.network.values()) + self.optimizer


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("--triplets", type=int, default=32)
    arguments.add_argument("--memory-of", type=int, help="Train on so many plates and print the peak, in MB.")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="dynaclr-step-") as name:
        tables = generated_tables(Path(name))
        if asked.memory_of:
            print(json.dumps(peak_of_training(tables, asked.memory_of)))
            return
        device = torch.device(asked.device)
        torch.set_num_threads(os.cpu_count() or 1)
        rate = matrix_rate(device)
        step, flop = measured_step(tables, device, asked.triplets)
    peaks = {} if asked.device == "cuda" else {plates: memory_of(plates) for plates in PLATES}
    report(asked.device, asked.triplets, rate, step, flop, peaks)


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of the fastest square bfloat16 matrix product."""
    found = []
    for side in MATRIX_SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
        found.append(2 * side**3 / min(seconds(lambda a=a, b=b: torch.mm(a, b), device)))
    return max(found)


def measured_step(tables: list[TrainingTable], device: torch.device, triplets: int) -> tuple[Step, float]:
    """Seconds of each part, and the FLOP that the network's forward and backward pass take."""
    parameters = TrainingParameters(patch_side_px=SIDE_PX, tau_min=INTERVAL_MIN, batch_size=triplets)
    manifest = all_train(tables)
    source = open_tables(tables, manifest)
    sampler = TripletSampler(source.index(manifest), "train", parameters.strategy, 0, INTERVAL_MIN)
    batches = EpochBatches(source, sampler, 0, triplets)
    augmentation = PatchAugmentation(parameters.augmentation, source.kinds, SIDE_PX)
    network = DynaclrNetwork(NetworkConfig(channels=len(source.channel_names), depth=source.patch_shape[0]))
    network = network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=parameters.rate)
    place = iter(range(10**9))

    def read() -> TripletBatch:
        return batches[next(place) % len(batches)]

    batch = read()
    on_device = TripletBatch(*(part.to(device) if isinstance(part, torch.Tensor) else part for part in batch))

    def augment() -> torch.Tensor:
        return augmented_triplets(on_device, augmentation, torch.Generator().manual_seed(0)).patches

    patches = augment()

    def one_pass(run: Callable[[torch.Tensor], Encoding]) -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            projections = run(patches).projections
        anchor, positive, negative = projections.float().chunk(3)
        triplet_loss(anchor, positive, negative, on_device.counted, parameters.margin).mean.backward()

    # Backward is twice forward. PyTorch's count of it takes depthwise kernels for full ones: 3 times too many.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(patches[:3])
    flop = 3 * counter.get_total_flops() * len(patches) / 3
    eager = statistics.median(seconds(lambda: one_pass(network), device))
    compiled = torch.compile(network, dynamic=False)
    step = Step(
        read=statistics.median(seconds(read, device)),
        augment=statistics.median(seconds(augment, device)),
        network={
            CompileMode.EAGER: eager,
            CompileMode.INDUCTOR: statistics.median(seconds(lambda: one_pass(compiled), device)),
        },
        products=products_within(lambda: one_pass(network)) if device.type == "cpu" else None,
        optimizer=statistics.median(seconds(optimizer.step, device)),
    )
    return step, flop


def products_within(run: Callable[[], object]) -> float:
    """Seconds of `run` in matrix products alone."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    times = [
        event.self_cpu_time_total
        for event in profiled.key_averages()
        if event.key in ("aten::mm", "aten::addmm")
    ]
    return sum(times) / 1e6


def seconds(run: Callable[[], object], device: torch.device) -> list[float]:
    """Of each of several runs after a first that is not counted."""
    found = []
    for _ in range(REPEATS + 1):
        before = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - before)
    return found[1:]


def memory_of(plates: int) -> float:
    """Peak MB of a training on so many plates, in a process of its own."""
    said = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(plates)], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(json.loads(said.stdout.splitlines()[-1]))


def peak_of_training(tables: list[TrainingTable], plates: int) -> float:
    """Peak resident MB, less the mapped pages of the patch files, which the system takes back when it needs them."""
    named = [
        TrainingTable(f"P{plate}", table.fov_name, table.path) for plate in range(plates) for table in tables
    ]
    parameters = TrainingParameters.quick().model_copy(
        update={"patch_side_px": SIDE_PX, "max_steps": 4, "tau_min": INTERVAL_MIN, "device": Device.CPU}
    )
    highest = 0

    def look(_: Progress) -> None:
        nonlocal highest
        highest = max(highest, private_kb())

    with tempfile.TemporaryDirectory() as out:
        train(named, all_train(named), parameters, Path(out), look)
    return round(highest / 1000, 1)


def private_kb() -> int:
    """Resident pages of this process that are no file's."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(device: str, triplets: int, rate: float, step: Step, flop: float, peaks: dict[int, float]) -> None:
    products = None if step.products is None else flop / step.products / rate
    shares = {mode.value: flop / taken / rate for mode, taken in step.network.items()}
    result = {
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "patch": [*SHAPE[1:3], SIDE_PX, SIDE_PX],
        "triplets": triplets,
        "seconds": {
            "read": round(step.read, 4),
            "augment": round(step.augment, 4),
            **{f"network, {mode.value}": round(taken, 4) for mode, taken in step.network.items()},
            "matrix products within": None if step.products is None else round(step.products, 4),
            "optimizer": round(step.optimizer, 4),
        },
        "triplets_per_s": round(triplets / step.whole, 2),
        "loader_stall": round(step.read / step.whole, 4),
        "network_tflop": round(flop / 1e12, 3),
        "bf16_product_tflop_per_s": round(rate / 1e12, 3),
        "share_of_product_rate": {mode: round(share, 3) for mode, share in shares.items()},
        "share_if_only_products_took_time": None if products is None else round(products, 3),
        "peak_mb_by_plates": peaks,
    }
    path = Path(__file__).with_name(f"results_{device}.json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
