"""Two real processes learn what one does: the same sets, gradients, losses and kept epoch."""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.methods import launching, resuming
from cell_assets.methods.contract import CellTable, Progress, ProgressSink, TrainingResult
from cell_assets.methods.cytosummary.checkpoint import load_config
from cell_assets.methods.cytosummary.lightning_module import CytoSummaryModule
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.sets import SetParameters, WellCells, draw_sets
from cell_assets.methods.cytosummary.table_training import train
from cell_assets.methods.distributed import rank
from cell_assets_tests.methods.cytosummary.synthetic_plates import manifest, write_plate
from cell_assets_tests.methods.cytosummary.test_method import CHANGES, digests
from cell_assets_tests.methods.dynaclr.test_devices import train_saving_every_epoch
from cell_assets_tests.methods.witness import account, assert_same_gradients, together

CASES: dict[str, dict[str, object]] = {
    "within plates": {"max_epochs": 3},
    "controls": {"conditioning": "learned from controls", "positives": "across-plates", "max_epochs": 2},
}


def into(
    tables: list[CellTable],
    wells: pd.DataFrame,
    parameters: TrainingParameters,
    out: Path,
    progress: ProgressSink | None,
) -> TrainingResult:
    return train(tables, wells, parameters, out, progress)


def sets(batch: Any, number: int) -> list[int]:
    """A number for each set over whose cells this process has counts."""
    mine = batch.places[rank()].tolist()
    assert batch.counts.of_set.unique().tolist() == list(range(len(mine)))
    return [1000 * number + 10 * int(batch.compound[place]) + place % 4 for place in mine]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each case below `1` by one process, and below `2` by two."""
    root = tmp_path_factory.mktemp("against_one")
    tables = [write_plate(root / plate, plate, seed) for seed, plate in enumerate(("P", "Q"))]
    for devices in (1, 2):
        (root / str(devices)).mkdir()
        cases = [
            (
                METHOD.parameters("quick", {**CHANGES, **changes, "devices": devices}),
                root / str(devices) / name,
            )
            for name, changes in CASES.items()
        ]
        together(partial(into, tables, manifest(["P", "Q"])), CytoSummaryModule, sets, cases, devices)
    return root


@pytest.mark.parametrize(("case", "batches"), [("within plates", 2), ("controls", 1)])
def test_two_processes_share_the_sets_of_one(trained: Path, case: str, batches: int) -> None:
    alone = account(trained / "1" / case, 0)
    first, second = (account(trained / "2" / case, number) for number in (0, 1))
    assert len(alone.seen) > 1
    for whole, one, other in zip(alone.seen, first.seen, second.seen, strict=True):
        # 4 compounds teach, by 4 sets each.
        assert len(whole) == len(set(whole)) == batches * 4 * 4
        assert one and other and not set(one) & set(other)
        assert sorted(one + other) == sorted(whole)


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_losses_are_those_of_one_process(trained: Path, case: str) -> None:
    alone = account(trained / "1" / case, 0)
    for number in (0, 1):
        found = account(trained / "2" / case, number)
        # Weights drift apart by rounding, so that the first steps alone are compared so closely.
        n = len(alone.gradients) // len(alone.history)
        assert_same_gradients(alone.first_steps(n), found.first_steps(n))
        for expected, own in zip(alone.history, found.history, strict=True):
            assert own == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_all_processes_keep_the_same_epoch_and_the_first_one_writes(trained: Path, case: str) -> None:
    first, second = (account(trained / "2" / case, number) for number in (0, 1))
    assert first.history == second.history
    assert [one["validation_map"] is not None for one in first.history] == [True] * len(first.history)
    out = trained / "2" / case
    assert sorted(digests(out)) == ["config.json", "features.json", "history.parquet", "model.safetensors"]
    config, alone = load_config(out), load_config(trained / "1" / case)
    assert config.kept_epoch == alone.kept_epoch
    assert config.parameters.devices == 2
    # A training of one device says nothing of it, so that its bytes are those of trainings that know of no other.
    assert '"devices"' not in (trained / "1" / case / "config.json").read_text()


def test_a_draw_is_shared_without_loss() -> None:
    wells = WellCells.of(np.array([0, 30, 70, 90, 140]), np.array([2, 0, 2, 5]))
    draw = draw_sets(wells, SetParameters(mean_cells=20, sd_cells=4, min_cells=10), np.random.default_rng(3))
    n = len(draw.compound)
    dense = _dense(draw, n)
    places = [np.flatnonzero(np.arange(n) % 3 == k) for k in range(3)]
    for place in places:
        part = draw.among(place)
        assert part.compound.tolist() == draw.compound[place].tolist()
        assert (np.diff(part.starts) > 0).all(), "no cell that no set holds"
        expected = {cell: row for cell, row in zip(draw.cells, dense[place].T, strict=True) if row.any()}
        assert part.cells.tolist() == list(expected)
        np.testing.assert_array_equal(_dense(part, len(place)), np.stack(list(expected.values()), 1))


def _dense(draw: Any, n: int) -> np.ndarray:
    held = np.zeros((n, len(draw.cells)))
    held[draw.of_set, np.repeat(np.arange(len(draw.cells)), np.diff(draw.starts))] = draw.times
    return held


def test_a_batch_of_fewer_compounds_than_devices_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_plate(tmp_path / "P", "P", 0)
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr("cell_assets.methods.cytosummary.training.world_size", lambda: 3)
    parameters = METHOD.parameters("quick", {**CHANGES, "devices": 3, "compounds_per_batch": 2})
    monkeypatch.setattr("cell_assets.methods.cytosummary.table_training.supported", lambda given: (given, ()))
    with pytest.raises(
        BadInputError, match="a batch holds 2 compounds, too few for devices=3 to have one each"
    ):
        train([table], manifest(["P"]), parameters, out)
    monkeypatch.undo()
    with pytest.raises(BadInputError, match="devices=2 was asked for and 1 of them train"):
        train([table], manifest(["P"]), METHOD.parameters("quick", {**CHANGES, "devices": 2}), out)
    assert not list(out.iterdir())


@pytest.mark.slow
def test_a_training_of_which_one_process_was_killed_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [write_plate(tmp_path / plate, plate, seed) for seed, plate in enumerate(("P", "Q"))]
    (work := tmp_path / "work").mkdir()
    seen: list[int] = []

    def train_into(name: str, sink: ProgressSink, work: Path | None) -> None:
        (tmp_path / name).mkdir()
        parameters = METHOD.parameters("quick", {**CHANGES, "devices": 2, "max_epochs": 5})
        METHOD.train(tables, manifest(["P", "Q"]), parameters, tmp_path / name, sink, work)

    def kill_second(state: Progress) -> None:
        if state.unit == "batches" and state.done == 5:
            os.kill(max(process.pid or 0 for process in multiprocessing.active_children()), signal.SIGKILL)

    def note(state: Progress) -> None:
        if state.unit == "batches":
            seen.append(state.done)

    train_into("whole", note, None)
    with monkeypatch.context() as changed:
        changed.setattr(launching, "_train_as", train_saving_every_epoch)
        with pytest.raises(RuntimeError, match="process 1 of 2 that train together ended with -9"):
            train_into("killed", kill_second, work)
    assert not list((tmp_path / "killed").iterdir())
    assert (work / resuming.RESUME_FILE).exists()
    seen.clear()
    train_into("resumed", note, work)
    assert seen[0] > 1, "it went on"
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")
    assert not list(work.iterdir()), "neither cells nor a state to resume from are left"
