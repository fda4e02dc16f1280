"""Triplets a second for DynaCLR: read alone, and ready for the network, here and by VisCy 0.4.1 on the same plate.

Generates a plate, so it needs no input: `benchmarks/dynaclr_loader/run.py [PYTHON]`, where PYTHON is the interpreter
of an environment with VisCy (README.md says how to make it); without it only this package is measured.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import zarr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.generated_plate import PlateFrames, make_plate, unplaced_cells
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.patches import PatchRequest, resolve_patches, write_patch_table
from cell_assets.imaging.tracking import TRACKS_PARQUET
from cell_assets.ledger.records import WellDraft
from cell_assets.methods.contract import TrainingTable
from cell_assets.methods.dynaclr.augmentation import PatchAugmentation
from cell_assets.methods.dynaclr.lightning_module import augmented_triplets
from cell_assets.methods.dynaclr.loading import EpochBatches, TripletBatch
from cell_assets.methods.dynaclr.parameters import SamplingStrategy, TrainingParameters
from cell_assets.methods.dynaclr.patches import open_tables
from cell_assets.methods.dynaclr.sampling import TripletSampler

POSITIONS = ("A/1/0", "A/1/1")
SHAPE = (6, 2, 15, 1024, 1024)
"""(T, C, Z, Y, X) of a position."""
CHANNELS = ("Phase", "RFP")
CELLS_PER_FRAME = 40
STORED_PX = 192
SIDE_PX = 128
BATCH = 16
BATCHES = 6
INTERVAL_MIN = 30.0
SEED = 1


def main(viscy: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="dynaclr-loader-") as name:
        folder = Path(name)
        tables = generated_tables(folder)
        say_normalisation(folder / "plate.zarr")
        ours = measure(tables)
        theirs = None if viscy is None else measure_viscy(viscy, folder)
        report(ours, theirs)


def generated_tables(folder: Path) -> list[TrainingTable]:
    """Patch tables of a generated plate, which stays in `folder` as `plate.zarr` with its `tracks`."""
    random = np.random.default_rng(SEED)
    make_plate(folder / "plate.zarr", POSITIONS, CHANNELS, SHAPE, INTERVAL_MIN, random)
    for position in POSITIONS:
        make_tracks(folder / "tracks", position, random)
    return write_tables(folder)


def say_normalisation(plate: Path) -> None:
    """What VisCy's normalisation reads; the values do not decide its speed."""
    values = {"mean": 1000.0, "std": 500.0, "median": 1000.0, "iqr": 800.0}
    for position in POSITIONS:
        group = zarr.open_group(plate / position, mode="r+")
        group.attrs["normalization"] = {name: {"fov_statistics": values} for name in CHANNELS}


def make_tracks(root: Path, position: str, random: np.random.Generator) -> None:
    """Each cell stays where it is; none is so near the border that VisCy would drop it."""
    half = STORED_PX // 2 + 1
    cells = unplaced_cells(position, CELLS_PER_FRAME, SHAPE[0])
    for axis, extent in (("y", SHAPE[3]), ("x", SHAPE[4])):
        cells[axis] = np.repeat(random.integers(half, extent - half, CELLS_PER_FRAME), SHAPE[0]).astype(float)
    folder = root / position
    folder.mkdir(parents=True)
    write_parquet(cells, folder / TRACKS_PARQUET)
    columns = ["track_id", "t", "z", "y", "x", "id", "parent_track_id", "parent_id"]
    cells[columns].to_csv(folder / "tracks.csv", index=False)


def write_tables(folder: Path) -> list[TrainingTable]:
    source, tables = PlateFrames(folder / "plate.zarr", POSITIONS), []
    for position in POSITIONS:
        fov = FieldOfView(
            position=position,
            shape=SHAPE,
            dtype=np.dtype(np.uint16),
            channel_names=CHANNELS,
            voxel_size_um=(0.25, 0.15, 0.15),
            interval_min=INTERVAL_MIN,
            well=WellDraft("A/1"),
        )
        out = folder / "tables" / position
        out.mkdir(parents=True)
        parameters = resolve_patches(fov, PatchRequest(side_px=STORED_PX))
        write_patch_table(source, fov, folder / "tracks" / position, parameters, out)
        tables.append(TrainingTable("P1", position, out))
    return tables


def all_train(tables: list[TrainingTable]) -> FrozenCells:
    """Every track of the tables trains."""
    rows = [
        (table.plate, table.fov_name, track, track, "train")
        for table in tables
        for track in range(1, CELLS_PER_FRAME + 1)
    ]
    return FrozenCells(pd.DataFrame(rows, columns=["plate", "fov_name", "track_id", "lineage_root", "split"]))


def measure(tables: list[TrainingTable]) -> dict[str, list[float]]:
    parameters = TrainingParameters(patch_side_px=SIDE_PX, tau_min=INTERVAL_MIN)
    manifest = all_train(tables)
    source = open_tables(tables, manifest)
    sampler = TripletSampler(
        source.index(manifest), "train", SamplingStrategy.TIME_AND_CELL_AWARE, SEED, INTERVAL_MIN
    )
    augmentation = PatchAugmentation(parameters.augmentation, source.kinds, SIDE_PX)
    torch.set_num_threads(parameters.threads)

    def drawn(epochs: int) -> Iterable[TripletBatch]:
        for epoch in range(epochs):
            batches = EpochBatches(source, sampler, epoch, BATCH)
            for step in range(len(batches)):
                yield batches[step]

    def ready(batch: TripletBatch) -> None:
        done = augmented_triplets(batch, augmentation, torch.Generator().manual_seed(SEED))
        assert done.patches.shape == (len(batch.patches), *SHAPE[1:3], SIDE_PX, SIDE_PX)

    # Reading is so much faster that more batches are needed to time it.
    return {
        "read": rates(drawn(6), lambda _: None, 12 * BATCHES),
        "ready": rates(drawn(3), ready, 2 * BATCHES),
    }


def rates(batches: Iterable[TripletBatch], use: Callable[[TripletBatch], None], wanted: int) -> list[float]:
    """Triplets a second of each batch after the first."""
    found: list[float] = []
    before = None
    for batch in batches:
        use(batch)
        now = time.perf_counter()
        if before is not None:
            found.append(len(batch.counted) / (now - before))
        before = now
        if len(found) == wanted:
            break
    return found


def measure_viscy(python: str, folder: Path) -> dict[str, list[float]]:
    script = Path(__file__).with_name("viscy_loader.py")
    sizes = (SHAPE[2], STORED_PX, SIDE_PX, BATCH, BATCHES)
    said = subprocess.run(
        [python, str(script), str(folder / "plate.zarr"), str(folder / "tracks"), *map(str, sizes)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, list[float]] = json.loads(said.stdout.splitlines()[-1])
    return found


def report(ours: dict[str, list[float]], theirs: dict[str, list[float]] | None) -> None:
    result: dict[str, object] = {
        "patch": [*SHAPE[1:3], SIDE_PX, SIDE_PX],
        "from": STORED_PX,
        "batch": BATCH,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
    }
    lines = ["| triplets/s (median, min to max) | here | VisCy 0.4.1 | ratio |", "|---|---|---|---|"]
    for what in ("read", "ready"):
        mine = statistics.median(ours[what])
        result[what] = {"here": round(mine, 1)}
        said = f"{mine:.1f} ({min(ours[what]):.1f} to {max(ours[what]):.1f})"
        if theirs is None:
            lines.append(f"| {what} | {said} | – | – |")
            continue
        other = statistics.median(theirs[what])
        result[what] = {"here": round(mine, 1), "viscy": round(other, 2), "ratio": round(mine / other, 1)}
        lines.append(
            f"| {what} | {said} | {other:.1f} ({min(theirs[what]):.1f} to {max(theirs[what]):.1f}) "
            f"| {mine / other:.1f} |"
        )
    here = Path(__file__).parent
    (here / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    table = "\n".join(lines) + "\n"
    (here / "results.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
