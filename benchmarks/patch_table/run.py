"""How many patches a second: written into a patch table, read from it, and cropped from the plate instead.

Generates a small plate, so it needs no input: `.venv/bin/python benchmarks/patch_table/run.py`
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tensorstore as ts
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.generated_plate import PlateFrames, make_plate, unplaced_cells
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.ome_zarr_plate import open_image
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table
from cell_assets.imaging.patches import PatchRequest, crop_starts, resolve_patches, write_patch_table
from cell_assets.imaging.tracking import TRACKS_PARQUET
from cell_assets.ledger.records import WellDraft

POSITIONS = ("A/1/000", "A/1/001")
CHANNELS = ("Phase", "GFP")
SHAPE = (6, 2, 15, 768, 768)
"""(T, C, Z, Y, X) of a position."""
CELLS_PER_FRAME = 40
SIDE_PX = 192
BATCH = 32
REPEATS = 5
SEED = 1


def main() -> None:
    random = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory(prefix="patch-table-benchmark-") as name:
        folder = Path(name)
        make_plate(folder / "plate.zarr", POSITIONS, CHANNELS, SHAPE, 10.0, random)
        cells = {
            position: make_tracks(folder / "tracks" / position, position, random) for position in POSITIONS
        }
        write_rate = write_tables(folder)
        tables = {position: open_patch_table(folder / "tables" / position) for position in POSITIONS}
        slow = {
            position: open_patch_table(folder / "tables" / position, memory_map=False)
            for position in POSITIONS
        }
        images = {position: open_image(folder / "plate.zarr", position) for position in POSITIONS}
        check_equal(tables, images, cells)
        rates = {
            "patch table, memory map": rate(lambda p, r: tables[p].read(r), cells, random, batches=16),
            "patch table, TensorStore": rate(lambda p, r: slow[p].read(r), cells, random, batches=8),
            "FOV chunks, TensorStore": rate(
                lambda p, r: crop_from_plate(images[p], cells[p], r), cells, random, batches=1
            ),
        }
        report(write_rate, rates, len(cells) * CELLS_PER_FRAME * SHAPE[0])


def make_tracks(folder: Path, position: str, random: np.random.Generator) -> pd.DataFrame:
    half = SIDE_PX // 2 + 1
    cells = unplaced_cells(position, CELLS_PER_FRAME, SHAPE[0])
    for axis, extent in (("y", SHAPE[3]), ("x", SHAPE[4])):
        cells[axis] = random.uniform(half, extent - half, len(cells))
    folder.mkdir(parents=True)
    write_parquet(cells, folder / TRACKS_PARQUET)
    return cells


def write_tables(folder: Path) -> float:
    source = PlateFrames(folder / "plate.zarr", POSITIONS)
    n, start = 0, time.perf_counter()
    for position in POSITIONS:
        fov = FieldOfView(
            position=position,
            shape=SHAPE,
            dtype=np.dtype(np.uint16),
            channel_names=CHANNELS,
            voxel_size_um=(0.25, 0.15, 0.15),
            interval_min=10.0,
            well=WellDraft("A/1"),
        )
        out = folder / "tables" / position
        out.mkdir(parents=True)
        parameters = resolve_patches(fov, PatchRequest(side_px=SIDE_PX))
        n += write_patch_table(source, fov, folder / "tracks" / position, parameters, out).n_cells
        # What is still in the writer's cache is not written.
        os.sync()
    return n / (time.perf_counter() - start)


def crop_from_plate(
    image: ts.TensorStore, cells: pd.DataFrame, rows: NDArray[np.int64]
) -> NDArray[np.generic]:
    """The same patches from the plate; all reads of the batch are in flight together."""
    starts = crop_starts(cells[["y", "x"]].to_numpy()[rows], SIDE_PX)
    times = cells["t"].to_numpy()[rows]
    out = np.empty((len(rows), *SHAPE[1:3], SIDE_PX, SIDE_PX), np.uint16)
    with ts.Batch() as batch:
        reads = [
            image[t, :, :, y : y + SIDE_PX, x : x + SIDE_PX].read(batch=batch)
            for t, (y, x) in zip(times, starts, strict=True)
        ]
    for at, read in enumerate(reads):
        out[at] = read.result()
    return out


def check_equal(
    tables: dict[str, PatchTable], images: dict[str, ts.TensorStore], cells: dict[str, pd.DataFrame]
) -> None:
    rows = np.array([0, 7, 101])
    for position in POSITIONS:
        cropped = crop_from_plate(images[position], cells[position], rows)
        np.testing.assert_array_equal(tables[position].read(rows), cropped)


def rate(
    read: Callable[[str, NDArray[np.int64]], NDArray[np.generic]],
    cells: dict[str, pd.DataFrame],
    random: np.random.Generator,
    batches: int,
) -> list[float]:
    """Patches a second of random batches from one position each, per repeat; the first pass warms caches."""
    rates = []
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        for batch in range(batches):
            position = POSITIONS[batch % len(POSITIONS)]
            read(position, random.integers(0, len(cells[position]), BATCH))
        if repeat:
            rates.append(batches * BATCH / (time.perf_counter() - start))
    return rates


def report(write_rate: float, rates: dict[str, list[float]], n_patches: int) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    fastest = medians["patch table, memory map"] / medians["FOV chunks, TensorStore"]
    result = {
        "patch": [*SHAPE[1:3], SIDE_PX, SIDE_PX],
        "dtype": "uint16",
        "n_patches": n_patches,
        "batch": BATCH,
        "repeats": REPEATS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "write_patches_per_s": round(write_rate, 1),
        "read_patches_per_s": {
            name: {
                "median": round(medians[name], 1),
                "min": round(min(values), 1),
                "max": round(max(values), 1),
            }
            for name, values in rates.items()
        },
        "memory_map_over_fov_chunks": round(fastest, 1),
    }
    here = Path(__file__).parent
    (here / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    lines = ["| what | patches/s (median) | min | max |", "|---|---|---|---|"]
    lines.append(f"| write, frame read and disk sync included | {write_rate:,.0f} | | |")
    for name, values in rates.items():
        lines.append(f"| read, {name} | {medians[name]:,.0f} | {min(values):,.0f} | {max(values):,.0f} |")
    lines.append(f"\nMemory map over FOV chunks: {fastest:.1f}x.")
    table = "\n".join(lines) + "\n"
    (here / "results.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
