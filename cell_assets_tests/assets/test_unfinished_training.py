"""An interrupted training is gone on with by itself alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from cell_assets.assets import unfinished_training as module
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.unfinished_training import unfinished_training
from cell_assets.ledger.records import ReadReceipt

TABLE = ReadReceipt(artifact_id=4, asset="patches", partition="P1/A/1/000", digest="d" * 64)
OUTPUT = ExperimentOutput("dynaclr_checkpoint", "E1", "E1", {"training": {"seed": 3}}, (TABLE,))


def test_the_same_training_finds_what_it_left(tmp_path: Path) -> None:
    (unfinished_training(tmp_path, OUTPUT) / "resume.ckpt").write_bytes(b"epoch 3")
    # The same bytes published once more are the same input.
    again = replace(OUTPUT, receipts=(replace(TABLE, artifact_id=9),))
    assert (unfinished_training(tmp_path, again) / "resume.ckpt").read_bytes() == b"epoch 3"


@pytest.mark.parametrize(
    "other",
    [
        replace(OUTPUT, receipts=(replace(TABLE, digest="e" * 64),)),
        replace(OUTPUT, receipts=()),
        replace(OUTPUT, parameters={"training": {"seed": 4}}),
    ],
)
def test_another_training_starts_anew_and_leaves_nothing_of_the_first(
    tmp_path: Path, other: ExperimentOutput
) -> None:
    (unfinished_training(tmp_path, OUTPUT) / "resume.ckpt").write_bytes(b"epoch 3")
    elsewhere = unfinished_training(tmp_path, replace(OUTPUT, experiment="E2", partition="E2"))
    (elsewhere / "resume.ckpt").write_bytes(b"of E2")
    folder = unfinished_training(tmp_path, other)
    assert list(folder.iterdir()) == []
    assert [path.read_bytes() for path in tmp_path.rglob("resume.ckpt")] == [b"of E2"]


def test_other_code_or_packages_start_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (unfinished_training(tmp_path, OUTPUT) / "resume.ckpt").write_bytes(b"epoch 3")
    monkeypatch.setattr(module, "environment_text", lambda: "torch==99")
    assert list(unfinished_training(tmp_path, OUTPUT).iterdir()) == []
