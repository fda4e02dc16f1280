"""Two real processes learn what one does: the same triplets, gradients, normalisation, losses and last epoch.

Nothing is drawn at random here but triplets, since each process draws augmentations for its own share.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.manifest import FrozenCells
from cell_assets.methods.contract import ProgressSink, TrainingResult, TrainingTable
from cell_assets.methods.dynaclr.lightning_module import DynaclrModule
from cell_assets.methods.dynaclr.parameters import AugmentationParameters, TrainingParameters
from cell_assets.methods.dynaclr.training import train
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table
from cell_assets_tests.methods.dynaclr.test_devices import CHANGES
from cell_assets_tests.methods.witness import account, assert_same_gradients, together

STILL = AugmentationParameters(
    affine_probability=0,
    contrast_probability=0,
    intensity_probability_phase=0,
    intensity_probability_fluorescence=0,
    smooth_probability=0,
    noise_probability=0,
)
HARDLY_MOVING = 1e-9
"""A learning rate with which the network of every step is the first one's, to rounding."""
TRAIN_ANCHORS = 18
"""Of 5 tracks in one FOV and 4 in the other, at 2 of 3 frames: 4 steps of 5, and so unequal shares and two fill-ups."""
CASES: dict[str, dict[str, object]] = {
    "triplet": {"learning_rate": HARDLY_MOVING, "margin": 100.0},
    "nt-xent": {"learning_rate": HARDLY_MOVING, "objective": "nt-xent", "concentration": 0.5},
    "stops early": {"learning_rate": 0.02, "max_epochs": 30, "early_stopping_patience": 1},
}


def into(
    tables: list[TrainingTable],
    manifest: FrozenCells,
    parameters: TrainingParameters,
    out: Path,
    progress: ProgressSink | None,
) -> TrainingResult:
    return train(tables, manifest, parameters, out, progress)


def triplets(batch: Any, _: int) -> list[int]:
    """A number for each counted one."""
    anchor, positive, negative = batch.cells.view(3, -1)[:, batch.counted].tolist()
    return [a * 10**6 + p * 10**3 + n for a, p, n in zip(anchor, positive, negative, strict=True)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each case below `1` by one process, and below `2` by two."""
    root = tmp_path_factory.mktemp("against_one")
    tables = [
        TrainingTable("P1", fov, write_table(root / fov, fov, seed=seed))
        for seed, fov in enumerate(("A", "B"))
    ]
    rows = [
        ("P1", fov, k, k, "val" if k > last else "train")
        for fov, last in (("A", 5), ("B", 4))
        for k in range(1, 7)
    ]
    columns = ["plate", "fov_name", "track_id", "lineage_root", "split"]
    manifest = FrozenCells(pd.DataFrame(rows, columns=columns))
    for devices in (1, 2):
        (root / str(devices)).mkdir()
        values = TrainingParameters.quick().model_dump() | CHANGES | {"batch_size": 5, "augmentation": STILL}
        cases = [
            (
                TrainingParameters.model_validate(values | changes | {"devices": devices}),
                root / str(devices) / name,
            )
            for name, changes in CASES.items()
        ]
        together(partial(into, tables, manifest), DynaclrModule, triplets, cases, devices)
    return root


@pytest.mark.parametrize("case", CASES)
def test_two_processes_share_what_one_sees(trained: Path, case: str) -> None:
    alone = account(trained / "1" / case, 0)
    first, second = (account(trained / "2" / case, rank) for rank in (0, 1))
    # A training that stops early may do so elsewhere, once rounding has told on the weights.
    epochs = min(len(alone.seen), len(first.seen)) if case == "stops early" else len(alone.seen)
    assert epochs > 1
    for whole, one, other in zip(*(one.seen[:epochs] for one in (alone, first, second)), strict=True):
        assert len(whole) == len(set(whole)) == TRAIN_ANCHORS
        assert not set(one) & set(other)
        assert sorted(one + other) == sorted(whole)
    assert alone.seen[0] != alone.seen[1], "epochs are drawn anew"


@pytest.mark.parametrize("case", ["triplet", "nt-xent"])
def test_gradients_are_those_of_one_process(trained: Path, case: str) -> None:
    alone = account(trained / "1" / case, 0)
    for rank in (0, 1):
        assert_same_gradients(alone, account(trained / "2" / case, rank))


@pytest.mark.parametrize("case", ["triplet", "nt-xent"])
def test_batches_are_normalised_as_one_process_does(trained: Path, case: str) -> None:
    alone = account(trained / "1" / case, 0).numbers
    running = [name for name in alone if "running" in name]
    assert len(running) == 4
    for rank in (0, 1):
        found = account(trained / "2" / case, rank).numbers
        assert found.keys() == alone.keys()
        np.testing.assert_allclose(
            [found[name] for name in alone], [alone[name] for name in alone], rtol=1e-5
        )


@pytest.mark.parametrize("case", ["triplet", "nt-xent"])
def test_losses_are_those_of_one_process(trained: Path, case: str) -> None:
    alone = account(trained / "1" / case, 0).history
    for rank in (0, 1):
        for expected, found in zip(alone, account(trained / "2" / case, rank).history, strict=True):
            assert found == pytest.approx(expected, rel=1e-5)


def test_all_processes_stop_after_the_same_epoch(trained: Path) -> None:
    first, second = (account(trained / "2" / "stops early", rank).history for rank in (0, 1))
    assert first == second
    losses = [epoch["val_loss"] for epoch in first]
    assert len(losses) < 30 and losses[-1] >= min(losses[:-1])


def test_only_the_first_process_writes(trained: Path) -> None:
    for case in CASES:
        names = sorted(file.name for file in (trained / "2" / case).iterdir())
        assert names == ["config.json", "history.parquet", "model.safetensors", "sampling.json"]
        alone = pd.read_parquet(trained / "1" / case / "history.parquet")
        shared = pd.read_parquet(trained / "2" / case / "history.parquet")
        assert list(shared.columns) == list(alone.columns)
