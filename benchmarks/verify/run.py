"""How fast an artifact is verified: `.venv/bin/python benchmarks/verify/run.py`

Against the blake3 package over buffers in memory, and against DVC and LaminDB over 100,000 chunk files. Needs no
input; takes 5 minutes and 4 GB of temporary disk, some of both for installing the two competitors.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from blake3 import blake3

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.throwaway import answer, environment
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, CodeIdentity, RunDraft
from cell_assets.store.store import FormatName, Store
from cell_assets.store.tree import remove
from cell_assets.store.verdict import verify_folder

HERE = Path(__file__).parent
MIB = 2**20
FILE_MIB = (1, 64, 256, 512)
TOTAL_MIB = 512
"""Bytes of each artifact of large files and of the buffers that it is held against: far more than any cache."""
CHUNKS = {"FOVs": 10, "t": 50, "c": 2, "z": 1, "y": 10, "x": 10}
CHUNK_BYTES = 16 * 1024
COMPETITORS = {"DVC": ("dvc==3.67.1", "dvc_tree.py"), "LaminDB": ("lamindb==2.12.1", "lamindb_folder.py")}
REPEATS = 25
REPEATS_CHUNKS = 5

Seconds = dict[str, list[float]]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="verify-benchmark-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        with Ledger.open(f"sqlite:///{home / 'ledger.db'}") as ledger:
            store = Store(home / "store", ledger)
            result = {"large_files": large_files(store), "chunk_files": chunk_files(store, home)}
        # Published folders are read-only, which stops a user who is not root from emptying them.
        remove(home / "store")
    result |= {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def large_files(store: Store) -> list[dict[str, object]]:
    """Verify against blake3 for each size of files: one core and thread for both, then all cores for both."""
    results = []
    cores = sorted(os.sched_getaffinity(0))
    for size in FILE_MIB:
        artifact = publish(store, f"{size} MiB", random_files(size * MIB, TOTAL_MIB // size))
        for used, threads in ((cores[:1], 1), (cores, blake3.AUTO)):
            # A process of its own: blake3 starts as many threads as there are cores that it may use.
            with ProcessPoolExecutor(
                1, get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, used)
            ) as pool:
                seconds = pool.submit(
                    against_blake3, store.path_of(artifact), artifact, size * MIB, threads
                ).result()
            found = {"file_MiB": size, "files": artifact.n_files, "cores": len(used)}
            results.append(found | load() | compared(seconds, TOTAL_MIB, "MiB_per_s"))
            print(results[-1], flush=True)
        remove(store.path_of(artifact))
    return results


def against_blake3(folder: Path, artifact: Artifact, n_bytes: int, threads: int) -> Seconds:
    """Seconds to verify the artifact, and to hash as many bytes in distinct buffers of the size of its files."""
    buffers = [os.urandom(n_bytes) for _ in range(TOTAL_MIB * MIB // n_bytes)]

    def hash_buffers() -> None:
        for buffer in buffers:
            blake3(buffer, max_threads=threads).digest()

    def verify() -> None:
        assert verify_folder(folder, artifact).is_verified

    return interleaved({"verify": timed(verify), "blake3": timed(hash_buffers)}, REPEATS)


def chunk_files(store: Store, home: Path) -> dict[str, object]:
    """Verify of a folder of chunk files against the competitors' hashing of that very folder."""
    n_files = CHUNKS["FOVs"] * CHUNKS["t"] * CHUNKS["c"] * CHUNKS["z"] * CHUNKS["y"] * CHUNKS["x"]
    pythons = {label: environment(home, pinned) for label, (pinned, _) in COMPETITORS.items()}
    artifact = publish(store, "chunks", chunks())
    folder = store.path_of(artifact)
    assert artifact.n_files == n_files

    def verify() -> None:
        assert store.verify(artifact).is_verified

    def competitor(label: str) -> Callable[[], float]:
        def measure() -> float:
            script = HERE / "competitors" / COMPETITORS[label][1]
            said = answer(pythons[label], script, folder, home=home)
            assert (said["files"], said["bytes"]) == (n_files, artifact.n_bytes)
            return said["seconds"]

        return measure

    work = {"verify": timed(verify)} | {label: competitor(label) for label in COMPETITORS}
    seconds = interleaved(work, REPEATS_CHUNKS)
    layout = {"files": n_files, "bytes_per_file": CHUNK_BYTES, "layout": CHUNKS}
    return layout | load() | compared(seconds, n_files, "files_per_s")


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return measure


def interleaved(work: dict[str, Callable[[], float]], repeats: int) -> Seconds:
    """Seconds of each, turn about, after one turn that warms up."""
    seconds: Seconds = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, measure in work.items():
            took = measure()
            if repeat:
                seconds[name].append(took)
    return seconds


def compared(seconds: Seconds, amount: int, unit: str) -> dict[str, object]:
    """Rates of all, and how many times the rate of each other one verify reached, medians both."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {
        name: {
            "median": round(amount / medians[name]),
            "min": round(amount / max(values)),
            "max": round(amount / min(values)),
        }
        for name, values in seconds.items()
    }
    ratios = {
        f"verify_over_{name}": round(medians[name] / medians["verify"], 2)
        for name in seconds
        if name != "verify"
    }
    return {unit: rates} | ratios


def load() -> dict[str, float]:
    return {"load_1min": round(os.getloadavg()[0], 1)}


def publish(store: Store, partition: str, files: Iterator[tuple[str, bytes]]) -> Artifact:
    """A published artifact of these files; its bytes are in the page cache afterwards."""
    started = time.perf_counter()
    code = CodeIdentity("c" * 64, None, None, "e" * 64, "host")
    with store.write("benchmark", partition) as staged:
        for name, content in files:
            path = staged.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        print(f"{partition}: written in {time.perf_counter() - started:.0f} s, publishing", flush=True)
        run = RunDraft(code, {}, datetime.now(UTC))
        artifact = store.publish(staged, run, [], FormatName("benchmark", "1")).artifact
    print(f"{partition}: published after {time.perf_counter() - started:.0f} s", flush=True)
    return artifact


def random_files(n_bytes: int, n: int) -> Iterator[tuple[str, bytes]]:
    for index in range(n):
        yield f"{index:04}.bin", os.urandom(n_bytes)


def chunks() -> Iterator[tuple[str, bytes]]:
    """Chunk files of an OME-Zarr plate of one well per FOV, no two alike."""
    n = CHUNKS
    for index in range(n["FOVs"] * n["t"] * n["c"] * n["z"] * n["y"] * n["x"]):
        rest, at = index, []
        for axis in ("x", "y", "z", "c", "t"):
            rest, place = divmod(rest, n[axis])
            at.append(str(place))
        yield f"plate.zarr/A/{rest + 1}/000/0/c/{'/'.join(reversed(at))}", os.urandom(CHUNK_BYTES)


if __name__ == "__main__":
    main()
