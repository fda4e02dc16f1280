"""Several processes train as one: every triplet falls to one of them, and all report together."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.methods import launching, resuming
from cell_assets.methods.contract import Progress, ProgressSink, TrainingResult, TrainingTable
from cell_assets.methods.dynaclr.loading import EpochBatches, Schedule
from cell_assets.methods.dynaclr.objective import BatchLoss
from cell_assets.methods.dynaclr.patches import PatchSource
from cell_assets.methods.dynaclr.sampling import SamplingStrategy, TripletSampler
from cell_assets.methods.dynaclr.sampling_record import SamplingReport
from cell_assets.methods.dynaclr.training import train_on
from cell_assets.methods.registry import load_method
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table
from cell_assets_tests.methods.dynaclr.synthetic_cells import manifest_of, open_table
from cell_assets_tests.methods.dynaclr.test_training import FILES, digests, small

CHANGES = {
    "patch_side_px": 32,
    "widths": (8, 8, 16, 24),
    "blocks": (1, 1, 1, 1),
    "batch_size": 6,
    "max_steps": None,
    "max_epochs": 2,
    "devices": 2,
}


@settings(max_examples=300)
@given(triplets=st.integers(1, 3000), batch_size=st.integers(2, 300), devices=st.integers(1, 8))
def test_shares_are_disjoint_complete_and_of_one_size(triplets: int, batch_size: int, devices: int) -> None:
    schedule = Schedule.of(triplets, batch_size, devices)
    if triplets >= devices and batch_size >= 2 * devices:
        assert schedule[:3] == Schedule.of(triplets, batch_size)[:3], "batches are those of one device"
    shares = [schedule.share(rank) for rank in range(devices)]
    assert sorted(np.concatenate(shares)) == list(range(schedule.size))
    # No device waits for another: their loads differ by one triplet at most.
    assert 0 < min(map(len, shares)) >= max(map(len, shares)) - 1
    seen = []
    for step in range(schedule.steps):
        counted = [
            of_rank[of_rank < triplets] for of_rank in (schedule.places(step)[share] for share in shares)
        ]
        seen += np.concatenate(counted).tolist()
    assert sorted(seen) == list(range(triplets))


@settings(max_examples=30)
@given(
    devices=st.integers(1, 5),
    batch_size=st.integers(10, 40),
    epoch=st.integers(0, 100),
    strategy=st.sampled_from(list(SamplingStrategy)),
)
def test_devices_together_see_every_anchor_once(
    devices: int, batch_size: int, epoch: int, strategy: SamplingStrategy
) -> None:
    source = PatchSource([open_table("P1", side=32), open_table("P2", side=32, seed=1)])
    sampler = TripletSampler(source.index(manifest_of(source)), "train", strategy, seed=0)
    draws = sampler.draw(epoch)
    triplets = set()
    of_step: dict[int, int] = {}
    for rank in range(devices):
        batches = EpochBatches(source, sampler, epoch, batch_size, rank, devices)
        for step in range(len(batches)):
            batch = batches[step]
            mine = set(map(tuple, batch.cells.view(3, -1)[:, batch.counted].T.tolist()))
            assert not mine & triplets
            triplets |= mine
            of_step[step] = of_step.get(step, 0) + len(mine)
            if rank == devices - 1:
                assert batch.counted_in_step.sum() == of_step[step]
            assert torch.equal(batch.counted, batch.counted_in_step[batch.places[rank]])
            kin = batch.kin.view(3, -1)[:, batch.places[rank]].reshape(-1)
            assert torch.equal(kin, torch.from_numpy(sampler.kin)[batch.cells])
    assert triplets == set(
        zip(draws.anchor.tolist(), draws.positive.tolist(), draws.negative.tolist(), strict=True)
    )


class Study:
    """Two patch tables, their manifest, and trainings on them through the registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink: ProgressSink | None = None
        self.tables = [
            TrainingTable("P1", fov, write_table(folder / fov, fov, seed=seed))
            for seed, fov in enumerate(("A", "B"))
        ]
        rows = [("P1", fov, k, k, "val" if k > 4 else "train") for fov in ("A", "B") for k in range(1, 7)]
        columns = ["plate", "fov_name", "track_id", "lineage_root", "split"]
        self.manifest = FrozenCells(pd.DataFrame(rows, columns=columns))

    def train(self, name: str, work: Path | None = None, **changes: object) -> TrainingResult:
        (out := self.folder / name).mkdir()
        method = load_method("dynaclr")
        self.seen: list[Progress] = []
        sink = self.sink or self.seen.append
        parameters = method.parameters("quick", CHANGES | changes)
        return method.train(self.tables, self.manifest, parameters, out, sink, work)

    def report(self, name: str) -> SamplingReport:
        return SamplingReport.model_validate_json((self.folder / name / "sampling.json").read_bytes())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("devices"))


@pytest.mark.parametrize("changes", [{}, pytest.param({"objective": "nt-xent"}, marks=pytest.mark.slow)])
def test_two_processes_of_gloo_share_every_epoch(study: Study, changes: dict[str, object]) -> None:
    name = str(changes)
    result = study.train(name, **changes)
    # 2 FOVs x 4 training tracks x 2 of 3 frames: 16 anchors in 3 steps of 3 triplets for each of two processes.
    assert [state.done for state in study.seen] == [1, 2, 3, 4, 5, 6]
    made = study.report(name)
    assert made.share_of_anchors_seen == 1
    for epoch in made.epochs:
        # As many draws as anchors seen: no anchor was seen twice, and none by nobody.
        assert epoch.anchors_seen == 16
        assert [(bar.lag_min, bar.draws) for bar in epoch.positive_lags] == [(30.0, 16)]
    history = pd.read_parquet(study.folder / name / "history.parquet")
    assert history["steps"].tolist() == [3, 3]
    assert np.isfinite(history[["train_loss", "val_loss"]]).all(axis=None)
    assert result.metrics["train_loss"] == history["train_loss"].iloc[-1]


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_again(study: Study) -> None:
    for name in ("first", "second"):
        study.train(name, stem="channel-adaptive", early_stopping_patience=1)
    assert digests(study.folder / "first") == digests(study.folder / "second")
    assert set(digests(study.folder / "first")) == FILES


@pytest.mark.slow
def test_what_cannot_be_trained_is_said_as_of_one_process(study: Study) -> None:
    with pytest.raises(BadInputError, match=r"no image at t\+τ \(tau_min=300\)"):
        study.train("too late", tau_min=300.0)
    assert not list((study.folder / "too late").iterdir())


@pytest.mark.slow
def test_a_process_that_dies_ends_the_training(study: Study) -> None:
    def kill_one(state: Progress) -> None:
        victim = max(process.pid or 0 for process in multiprocessing.active_children())
        os.kill(victim, signal.SIGKILL)

    study.sink = kill_one
    try:
        with pytest.raises(RuntimeError, match="process 1 of 2 that train together ended with -9"):
            study.train("one dies", max_epochs=1000)
    finally:
        study.sink = None
    assert not multiprocessing.active_children()
    assert not list((study.folder / "one dies").iterdir())


def train_saving_every_epoch(own: Any, train: Any, said: Any) -> None:
    """What a process runs in place of `launching._train_as`, which it finds unchanged."""
    resuming.SECONDS_BETWEEN_SAVES = 0.0
    launching._train_as(own, train, said)


@pytest.fixture(scope="module")
def whole(study: Study) -> Path:
    """A training that nobody killed."""
    study.train("whole", max_epochs=3)
    return study.folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "killed"),
    [("first", slice(1)), ("second", slice(1, 2)), ("both", slice(2))],
    ids=["first", "second", "both"],
)
def test_killed_processes_resume_to_the_bytes_of_uninterrupted_ones(
    study: Study, whole: Path, name: str, killed: slice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sink(state: Progress) -> None:
        if state.done == 5:
            for pid in sorted(process.pid or 0 for process in multiprocessing.active_children())[killed]:
                os.kill(pid, signal.SIGKILL)

    with monkeypatch.context() as changed:
        changed.setattr(launching, "_train_as", train_saving_every_epoch)
        changed.setattr(study, "sink", sink)
        with pytest.raises(RuntimeError, match="that train together ended with -9"):
            study.train(f"killed {name}", work=tmp_path, max_epochs=3)
    assert not list((study.folder / f"killed {name}").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == [resuming.RESUME_FILE]
    study.train(f"resumed {name}", work=tmp_path, max_epochs=3)
    assert study.seen[0].done == 4, "it went on after the first epoch's 3 steps"
    assert digests(study.folder / f"resumed {name}") == digests(whole)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    code = (
        "import multiprocessing; from pathlib import Path;"
        "from cell_assets_tests.methods.dynaclr.test_devices import Study;"
        f"study = Study(Path({str(tmp_path)!r}));"
        "study.sink = lambda state: print(*(p.pid for p in multiprocessing.active_children()), flush=True);"
        "study.train('orphans', max_epochs=100000)"
    )
    checkout = Path(__file__).resolve().parents[3]
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=checkout, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    assert all(map(runs, children))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while any(map(runs, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(runs, children))


def runs(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@settings(max_examples=50)
@given(triplets=st.integers(1, 60), batch_size=st.integers(6, 30), devices=st.integers(1, 3))
def test_averaged_gradients_are_those_of_the_whole_step(triplets: int, batch_size: int, devices: int) -> None:
    schedule = Schedule.of(triplets, batch_size, devices)
    values = torch.arange(triplets, dtype=torch.float64) ** 2
    for step in range(schedule.steps):
        places = schedule.places(step)
        counted = places[places < triplets]
        parts = []
        for rank in range(devices):
            share = places[schedule.share(rank)]
            terms = values[share[share < triplets]]
            parts.append(BatchLoss(terms, terms > 0).share_of_mean(len(counted), devices))
        torch.testing.assert_close(torch.stack(parts).mean(), values[counted].mean())


def test_a_number_of_devices_that_do_not_train_is_refused(tmp_path: Path) -> None:
    source = PatchSource([open_table()])
    with pytest.raises(BadInputError, match="devices=2 was asked for and 1 of them train"):
        train_on(source, manifest_of(source), small(devices=2), tmp_path)
    with pytest.raises(ValueError, match="batch_size=12 is less than two triplets on each of 7 devices"):
        small(devices=7)


def test_more_devices_than_there_are_start_nothing(study: Study) -> None:
    there = len(os.sched_getaffinity(0))
    asked = (
        f"devices={there + 1} was asked for and there are {there} processor cores here; use as many at most"
    )
    with pytest.raises(BadInputError, match=asked):
        study.train("too many", devices=there + 1, batch_size=4 * there)
    assert not multiprocessing.active_children()
    assert not list((study.folder / "too many").iterdir())
