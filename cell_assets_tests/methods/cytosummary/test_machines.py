"""CytoSummaryNet on two machines, which are two processes of this one that share a folder: the bytes of one machine."""

import multiprocessing
from pathlib import Path

import pytest

from cell_assets.methods.contract import CellTable
from cell_assets.methods.cytosummary.method import METHOD
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets_tests.methods.cytosummary.synthetic_plates import manifest, write_plate
from cell_assets_tests.methods.cytosummary.test_method import CHANGES, digests

PLATES = ["P", "Q"]


def parameters(**changes: object) -> TrainingParameters:
    made = METHOD.parameters("quick", {**CHANGES, "max_epochs": 2, "devices": 2, **changes})
    assert isinstance(made, TrainingParameters)
    return made


def tables_below(root: Path) -> list[CellTable]:
    return [write_plate(root / plate, plate, seed) for seed, plate in enumerate(PLATES)]


def other_machine(root: Path, work: Path) -> None:
    METHOD.train_beside(tables_below(root), manifest(PLATES), parameters(num_nodes=2), 1, work)


@pytest.mark.slow
def test_two_machines_make_the_bytes_of_one(tmp_path: Path) -> None:
    tables = tables_below(tmp_path / "ours")
    one, two, work = (tmp_path / name for name in ("one", "two", "work"))
    for folder in (one, two, work):
        folder.mkdir()
    METHOD.train(tables, manifest(PLATES), parameters(), one)
    other = multiprocessing.get_context("spawn").Process(
        target=other_machine, args=(tmp_path / "theirs", work)
    )
    other.start()
    try:
        METHOD.train(tables, manifest(PLATES), parameters(num_nodes=2), two, work=work)
        other.join(120)
        assert other.exitcode == 0
    finally:
        other.kill()
        other.join()
    assert digests(two) == digests(one)
