"""A training whose process was killed outright goes on in a new process, to the bytes of an uninterrupted one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd

from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.methods import resuming
from cell_assets.methods.contract import Progress, TrainingTable
from cell_assets.methods.registry import load_method
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table
from cell_assets_tests.methods.dynaclr.test_training import digests

CHANGES = {
    "patch_side_px": 32,
    "widths": (8, 8, 16, 24),
    "blocks": (1, 1, 1, 1),
    "batch_size": 6,
    "max_steps": None,
    "max_epochs": 4,
    "stochastic_depth": 0.2,
    "stem": "channel-adaptive",
}
STEPS_PER_EPOCH = 4  # 20 anchors: of two FOVs 5 training tracks each, over 2 of 3 frames


def train(root: Path, out: Path, work: Path | None, die_at_step: int | None = None) -> list[int]:
    """Trains on the tables below `root` as an asset does; gives the steps that it reported."""
    tables = [TrainingTable("P1", fov, root / fov / "table") for fov in ("A", "B")]
    rows = [("P1", fov, k, k, "val" if k == 3 else "train") for fov in ("A", "B") for k in range(1, 7)]
    columns = ["plate", "fov_name", "track_id", "lineage_root", "split"]
    steps: list[int] = []

    def progress(state: Progress) -> None:
        steps.append(state.done)
        if state.done == die_at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    out.mkdir()
    method = load_method("dynaclr")
    manifest = FrozenCells(pd.DataFrame(rows, columns=columns))
    method.train(tables, manifest, method.parameters("quick", CHANGES), out, progress, work)
    return steps


def train_elsewhere(
    root: Path, out: Path, work: Path, die_at_step: int | None
) -> subprocess.CompletedProcess[str]:
    """`train` in a process of its own that saves after every epoch."""
    code = (
        "import sys; from pathlib import Path;"
        "from cell_assets.methods import resuming;"
        "from cell_assets_tests.methods.dynaclr.test_resume_after_kill import train;"
        "resuming.SECONDS_BETWEEN_SAVES = 0.0;"
        f"print(train(Path({str(root)!r}), Path({str(out)!r}), Path({str(work)!r}), {die_at_step}))"
    )
    checkout = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, timeout=300
    )


def test_a_killed_training_ends_in_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    for seed, fov in enumerate(("A", "B")):
        write_table(tmp_path / fov, fov, seed=seed)
    train(tmp_path, tmp_path / "whole", None)
    (work := tmp_path / "work").mkdir()

    killed = train_elsewhere(tmp_path, tmp_path / "killed", work, die_at_step=6)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not list((tmp_path / "killed").iterdir()), "nothing was published"
    assert (work / resuming.RESUME_FILE).exists()
    # What a kill in the middle of saving leaves.
    (work / resuming.RESUME_FILE).with_suffix(".pod-7.partial").write_bytes(b"half of a")

    resumed = train_elsewhere(tmp_path, tmp_path / "resumed", work, die_at_step=None)
    assert resumed.returncode == 0, resumed.stderr
    first = int(resumed.stdout.strip().strip("[]").split(",")[0])
    assert first == STEPS_PER_EPOCH + 1, "it went on after the last epoch that was whole"
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")
    assert not list(work.iterdir()), "no state to resume from is left"
