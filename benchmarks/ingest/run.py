"""How fast a plate is ingested: `.venv/bin/python benchmarks/ingest/run.py`

Beside reading the same files and writing the same chunks, with the same codecs and shards, by the fastest library
for each. Needs no input; takes 6 GB of temporary disk and some 10 minutes.
"""

import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import imagecodecs
import numpy as np
import tensorstore
import tifffile
import zarr
from ndtiff import Dataset
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.ingest.plates import CHANNELS, FOV_BYTES, N_TIMES, OPTIONS, WRITERS
from cell_assets.imaging.acquisition import PLATE
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ome_zarr_plate import IMAGE
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import CodeIdentity, RunDraft
from cell_assets.store.store import FormatName, Store
from cell_assets.store.tree import remove

HERE = Path(__file__).parent
MIB = 2**20
N_FOVS = 96
GROWING = (24, 48, 96, 192)
REPEATS = 5
GROWING_REPEATS = 2
CODE = CodeIdentity("0" * 64, None, None, "0" * 64, "benchmark")

Pixels = NDArray[np.generic]
Fov = list[Pixels]
"""The planes of one FOV, in order of time and channel."""
Reading = Callable[[Path, int], Iterator[Fov]]
Writing = Callable[[Path, Path, Iterator[Fov]], None]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ingest-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        result: dict[str, object] = {
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        }
        for kind in WRITERS:
            result[kind] = {
                "rates": rates(kind, home),
                "growing": growing(kind, home),
                "memory": memory(kind, home),
            }
            print(json.dumps(result[kind], indent=1), flush=True)
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def rates(kind: str, home: Path) -> dict[str, object]:
    """Every library's seconds to read and to write, and ours to copy and to do all, turn about."""
    source = WRITERS[kind](home / kind, N_FOVS)
    template = home / "template"
    prepare_ingest(source, OPTIONS[kind]).write(template)
    drawn = next(iter(READERS[kind].values()))(source, N_FOVS)
    in_memory = [next(drawn) for _ in range(8)]
    seconds: dict[str, list[float]] = {}
    load = []
    for repeat in range(REPEATS + 1):
        turn: dict[str, float] = {}
        for name, read in READERS[kind].items():
            turn[f"read {name}"] = timed(lambda read=read: exhaust(read(source, N_FOVS)))  # type: ignore[misc]
        for name, write in LIBRARIES.items():
            fovs = (in_memory[n % len(in_memory)] for n in range(N_FOVS))
            turn[f"write {name}"] = timed(
                lambda write=write, fovs=fovs: write(home / "written", template / PLATE, fovs)  # type: ignore[misc]
            )
            shutil.rmtree(home / "written")
        turn |= ours(kind, source, home)
        load.append(os.getloadavg()[0])
        if repeat:  # the first turn warms up
            for name, took in turn.items():
                seconds.setdefault(name, []).append(took)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = {
        verb: min((n for n in medians if n.startswith(verb)), key=medians.__getitem__)
        for verb in ("read", "write")
    }
    alone = [r + w for r, w in zip(seconds[best["read"]], seconds[best["write"]], strict=True)]
    shutil.rmtree(source)
    shutil.rmtree(template)
    return {
        "fovs": N_FOVS,
        "MiB": N_FOVS * FOV_BYTES // MIB,
        "load": round(statistics.median(load), 1),
        "MiB_per_s": {name: round(N_FOVS * FOV_BYTES / MIB / took) for name, took in medians.items()},
        "fastest": best,
        "copy_to_alone": compared(alone, seconds["ours: copy"]),
        "all_to_alone": compared(alone, seconds["ours: all"]),
    }


def compared(alone: list[float], took: list[float]) -> dict[str, float]:
    """Our rate as a share of theirs, turn by turn."""
    shares = [a / b for a, b in zip(alone, took, strict=True)]
    return {
        "median": round(statistics.median(shares), 2),
        "min": round(min(shares), 2),
        "max": round(max(shares), 2),
    }


def ours(kind: str, source: Path, home: Path) -> dict[str, float]:
    """Seconds of the copy within an ingest, and of all of it up to the published artifact."""
    with Ledger.open(f"sqlite:///{home / 'ledger.db'}") as ledger:
        store = Store(home / "store", ledger)
        copying = [0.0]
        started = last = time.perf_counter()

        def progress(done: int, total: int, what: str) -> None:
            nonlocal last
            now = time.perf_counter()
            if what.startswith("writing"):
                copying.append(now - last)
            last = now

        prepared = prepare_ingest(source, OPTIONS[kind])
        prepared.source_digest  # noqa: B018  as `cell-assets ingest` does, to refuse a name with other bytes
        with store.write("raw_acquisition", "plate") as staged:
            last = time.perf_counter()
            info = prepared.write(staged.path, progress)
            draft = RunDraft(CODE, {}, ledger.now())
            commit = store.publish(
                staged, draft, (), FormatName("acquisition", "1"), content_digest=info.content_digest
            )
        took = time.perf_counter() - started
        remove(store.path_of(commit.artifact))
    remove(home / "store")
    (home / "ledger.db").unlink()
    return {"ours: copy": sum(copying), "ours: all": took}


def growing(kind: str, home: Path) -> dict[str, object]:
    """Seconds for plates of growing numbers of FOVs, a line through them, and how far they lie from it."""
    took: dict[int, list[float]] = {n: [] for n in GROWING}
    sources = {n: WRITERS[kind](home / f"{kind}-{n}", n) for n in GROWING}
    for repeat in range(GROWING_REPEATS + 1):
        for n, source in sources.items():
            seconds = ours(kind, source, home)["ours: all"]
            if repeat:
                took[n].append(seconds)
    for source in sources.values():
        shutil.rmtree(source)
    medians = [statistics.median(took[n]) for n in GROWING]
    slope, start = np.polyfit(GROWING, medians, 1)
    off = [float(s - (start + slope * n)) / s for n, s in zip(GROWING, medians, strict=True)]
    return {
        "seconds": {n: round(s, 2) for n, s in zip(GROWING, medians, strict=True)},
        "ms_per_fov": round(1000 * float(slope), 1),
        "s_at_no_fov": round(float(start), 2),
        "largest_residual": round(max(map(abs, off)), 3),
        "load": round(os.getloadavg()[0], 1),
    }


PEAK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from benchmarks.ingest.plates import OPTIONS
from cell_assets.imaging.ingest import ingest
import iohub.ngff

def mib(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024

Path("/proc/self/clear_refs").write_text("5")
before = mib("VmRSS")
ingest(Path(sys.argv[1]), Path(sys.argv[2]), OPTIONS[sys.argv[3]])
print(mib("VmHWM") - before)
"""


def memory(kind: str, home: Path) -> dict[str, object]:
    """Peak resident memory of a process that ingests, above what it had before, for a small and a large plate."""
    peaks = {}
    for n in (GROWING[0], GROWING[-1]):
        source = WRITERS[kind](home / "peak", n)
        words = [str(source), str(home / "out"), kind, str(HERE.parents[1])]
        said = subprocess.run(
            [sys.executable, "-c", PEAK, *words], check=True, capture_output=True, text=True
        )
        peaks[n] = round(float(said.stdout.split()[-1]), 1)
        shutil.rmtree(source)
        shutil.rmtree(home / "out")
    return {"MiB_above_start": peaks, "MiB_of_one_time_point": FOV_BYTES / N_TIMES / MIB}


def tiff_files(source: Path, n_fovs: int) -> list[list[Path]]:
    """The files of every FOV, in order of time and channel."""
    wells = sorted({file.name.partition("_")[0] for file in source.iterdir()})
    places = list(product(range(N_TIMES), CHANNELS))
    return [[source / f"{well}_{channel}_t{t}.tif" for t, channel in places] for well in wells]


def read_tiffs(one: Callable[[Path], Pixels]) -> Reading:
    return lambda source, n_fovs: ([one(file) for file in fov] for fov in tiff_files(source, n_fovs))


def read_tiffs_in_threads(one: Callable[[Path], Pixels]) -> Reading:
    """As many files at once as there are cores."""

    def read(source: Path, n_fovs: int) -> Iterator[Fov]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for fov in tiff_files(source, n_fovs):
                yield list(pool.map(one, fov))

    return read


def by_imagecodecs(file: Path) -> Pixels:
    return np.asarray(imagecodecs.imread(str(file), codec="tiff"))


def read_ndtiff(source: Path, n_fovs: int) -> Iterator[Fov]:
    """By the package that is the format's own."""
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = Dataset(str(source))
    for well in sorted(dataset.axes["position"]):
        yield [
            dataset.read_image(position=well, time=t, channel=c) for t, c in product(range(N_TIMES), CHANNELS)
        ]
    dataset.close()


def read_ndtiff_by_tifffile(source: Path, n_fovs: int) -> Iterator[Fov]:
    """Plane after plane, as they lie in the files."""
    for file in sorted(source.glob("*.tif")):
        with tifffile.TiffFile(file) as tiff:
            pages = iter(tiff.pages)
            while True:
                fov = [page.asarray() for page, _ in zip(pages, range(N_TIMES * len(CHANNELS)), strict=False)]
                if not fov:
                    break
                yield fov


READERS: dict[str, dict[str, Reading]] = {
    "TIFF": {
        "tifffile": read_tiffs(tifffile.imread),
        "tifffile in threads": read_tiffs_in_threads(tifffile.imread),
        "imagecodecs": read_tiffs(by_imagecodecs),
        "imagecodecs in threads": read_tiffs_in_threads(by_imagecodecs),
    },
    "NDTiff": {"ndtiff": read_ndtiff, "tifffile": read_ndtiff_by_tifffile},
}


def write_tensorstore(target: Path, template: Path, fovs: Iterator[Fov]) -> None:
    """Every FOV an array with the metadata of the plate's own; a shard is written at once, as it wants to be."""
    metadata = json.loads(next(template.rglob(f"{IMAGE}/zarr.json")).read_text())
    for n, fov in enumerate(fovs):
        store = tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(target / str(n))},
                "metadata": metadata,
            },
            create=True,
        ).result()
        store.write(as_image(fov)).result()


def write_zarr(target: Path, template: Path, fovs: Iterator[Fov]) -> None:
    like = zarr.open_array(next(template.rglob(f"{IMAGE}/zarr.json")).parent, mode="r")
    for n, fov in enumerate(fovs):
        array = zarr.create_array(
            target / str(n),
            shape=like.shape,
            dtype=like.dtype,
            chunks=like.chunks,
            shards=like.shards,
            compressors=like.compressors,
            filters=None,
        )
        array[:] = as_image(fov)


LIBRARIES: dict[str, Writing] = {"tensorstore": write_tensorstore, "zarr-python": write_zarr}


def as_image(fov: Fov) -> Pixels:
    """(T, C, 1, Y, X)."""
    return np.stack(fov).reshape(N_TIMES, len(CHANNELS), 1, *fov[0].shape)


def exhaust(items: Iterator[object]) -> None:
    for _ in items:
        pass


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
