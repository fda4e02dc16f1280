"""A training whose process was killed outright goes on in a new process, to the bytes of an uninterrupted one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cell_assets.methods import resuming
from cell_assets.methods.contract import CellTable, Progress, ProgressSink
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets_tests.methods.cytosummary.synthetic_plates import manifest, write_plate
from cell_assets_tests.methods.cytosummary.test_method import CHANGES, digests

BATCHES_PER_EPOCH = 2
EPOCHS = 5


def train(root: Path, out: Path, work: Path | None, sink: ProgressSink = lambda _: None) -> list[int]:
    """Trains on the tables below `root` as an asset does; gives the batches that it reported."""
    tables = [CellTable(plate, root / plate) for plate in ("P", "Q")]
    batches: list[int] = []

    def progress(state: Progress) -> None:
        if state.unit == "batches":
            batches.append(state.done)
        sink(state)

    out.mkdir()
    parameters = METHOD.parameters("quick", {**CHANGES, "max_epochs": EPOCHS})
    METHOD.train(tables, manifest(["P", "Q"]), parameters, out, progress, work)
    return batches


def die_at(batch: int | None) -> ProgressSink:
    """Kills this process, which has no say in it, after that batch."""

    def progress(state: Progress) -> None:
        if state.unit == "batches" and state.done == batch:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def train_elsewhere(
    root: Path, out: Path, work: Path, die_at_batch: int | None
) -> subprocess.CompletedProcess[str]:
    """`train` in a process of its own that saves after every epoch."""
    code = (
        "from pathlib import Path;"
        "from cell_assets.methods import resuming;"
        "from cell_assets_tests.methods.cytosummary.test_resume_after_kill import die_at, train;"
        "resuming.SECONDS_BETWEEN_SAVES = 0.0;"
        f"print(train(Path({str(root)!r}), Path({str(out)!r}), Path({str(work)!r}), die_at({die_at_batch})))"
    )
    checkout = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, timeout=300
    )


def test_a_killed_training_ends_in_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    for seed, plate in enumerate(("P", "Q")):
        write_plate(tmp_path / plate, plate, seed)
    train(tmp_path, tmp_path / "whole", None)
    (work := tmp_path / "work").mkdir()

    killed = train_elsewhere(tmp_path, tmp_path / "killed", work, die_at_batch=2 * BATCHES_PER_EPOCH + 1)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list((tmp_path / "killed").iterdir()), "nothing was published"
    assert (work / resuming.RESUME_FILE).exists()
    # What a kill in the middle of saving leaves.
    (work / resuming.RESUME_FILE).with_suffix(".pod-7.partial").write_bytes(b"half of a")

    resumed = train_elsewhere(tmp_path, tmp_path / "resumed", work, die_at_batch=None)
    assert resumed.returncode == 0, resumed.stderr
    first = int(resumed.stdout.strip().strip("[]").split(",")[0])
    assert first == 2 * BATCHES_PER_EPOCH + 1, "it went on after the last epoch that was whole"
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")
    assert not list(work.iterdir()), "neither cells nor a state to resume from are left"


def test_another_training_does_not_go_on_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 0.0)
    for seed, plate in enumerate(("P", "Q", "another Q")):
        write_plate(tmp_path / plate, plate.removeprefix("another "), seed)
    (work := tmp_path / "work").mkdir()

    def stop(state: Progress) -> None:
        if state.done > BATCHES_PER_EPOCH and state.unit == "batches":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(tmp_path, tmp_path / "stopped", work, stop)
    assert (work / resuming.RESUME_FILE).exists()
    (tmp_path / "Q").rename(tmp_path / "first Q")
    (tmp_path / "another Q").rename(tmp_path / "Q")
    assert train(tmp_path, tmp_path / "other", work)[0] == 1
