"""Several machines train as one: here two processes of this machine, each of which starts its own, share a folder.

Networks between machines, NCCL and a shared file system's locks are not in it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.methods import launching, meeting
from cell_assets.methods.contract import Progress
from cell_assets.methods.meeting import NOTICE, Notice, called_meeting, found_meeting
from cell_assets.methods.registry import load_method, load_profile_method
from cell_assets_tests.methods.dynaclr.test_devices import CHANGES, Study, train_saving_every_epoch
from cell_assets_tests.methods.dynaclr.test_training import digests

TWO = {"devices": 2, "num_nodes": 2}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("machines"))


def other_machine(folder: Path, work: Path, changes: dict[str, object], save_each: bool) -> None:
    """What `cell-assets train-beside` does, of tables that are there."""
    if save_each:
        launching._train_as = train_saving_every_epoch
    study = Study(folder)
    method = load_method("dynaclr")
    parameters = method.parameters("quick", CHANGES | TWO | changes)
    method.train_beside(study.tables, study.manifest, parameters, 1, work)


@contextmanager
def joined(
    folder: Path, work: Path, save_each: bool = False, **changes: object
) -> Iterator[multiprocessing.Process]:
    """The other machine, while the block runs; it has ended afterwards."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=other_machine, args=(folder, work, changes, save_each))
    process.start()
    try:
        yield process
        process.join(120)
        assert process.exitcode is not None
    finally:
        process.kill()
        process.join()


def test_two_machines_make_the_bytes_of_one(study: Study, tmp_path: Path) -> None:
    study.train("one", objective="nt-xent")
    work, theirs = tmp_path / "work", tmp_path / "theirs"
    work.mkdir()
    theirs.mkdir()
    with joined(theirs, work, objective="nt-xent") as other:
        study.train("two", work, objective="nt-xent", **TWO)
    assert other.exitcode == 0
    assert study.seen[0].note == "waiting until 2 machines train"
    assert digests(study.folder / "two") == digests(study.folder / "one")
    assert not list(work.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["first", "second"])
def test_a_machine_that_is_lost_ends_the_others_and_the_next_attempt_goes_on(
    study: Study, tmp_path: Path, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = {"max_epochs": 3}
    if not (study.folder / "whole").exists():
        study.train("whole", **longer)
    work = tmp_path / "work"
    for folder in (work, tmp_path / "before", tmp_path / "after"):
        folder.mkdir()
    lost = threading.Event()

    def lose_one(state: Progress) -> None:
        if state.done == 5 and not lost.is_set():
            lost.set()
            ours = [process for process in multiprocessing.active_children() if process.name != other.name]
            os.kill(int((other if killed == "second" else ours[0]).pid or 0), signal.SIGKILL)

    with monkeypatch.context() as changed:
        changed.setattr(launching, "_train_as", train_saving_every_epoch)
        changed.setattr(study, "sink", lose_one)
        before = joined(tmp_path / "before", work, save_each=True, **longer)
        with before as other, pytest.raises(RuntimeError, match="process 0 of 2 that train together"):
            study.train(f"{killed} lost", work, **longer, **TWO)
    assert other.exitcode
    assert not list((study.folder / f"{killed} lost").iterdir())
    assert [path.name for path in work.iterdir()] == ["resume.ckpt"]
    with joined(tmp_path / "after", work, **longer) as again:
        study.train(f"{killed} found", work, **longer, **TWO)
    assert again.exitcode == 0
    assert study.seen[1].done in (4, 7), "it went on after the first or second epoch of 3 steps"
    assert digests(study.folder / f"{killed} found") == digests(study.folder / "whole")


@pytest.mark.slow
def test_machines_that_would_train_otherwise_are_refused(study: Study, tmp_path: Path) -> None:
    work, theirs = tmp_path / "work", tmp_path / "theirs"
    work.mkdir()
    theirs.mkdir()
    said = "the machines that train together have other inputs"
    with joined(theirs, work, seed=1) as other, pytest.raises(BadInputError, match=said):
        study.train("otherwise", work, **TWO)
    assert other.exitcode
    assert not list(work.iterdir())


def test_what_a_killed_attempt_left_is_not_joined(tmp_path: Path) -> None:
    Notice("meeting-old", 7).write(tmp_path)
    with pytest.raises(
        RuntimeError, match=f"no training called for other machines in {tmp_path} within 0 min"
    ):
        found_meeting(tmp_path, patience_s=1)


def test_a_training_that_goes_on_is_found_and_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "RENEWED_EVERY_S", 0.1)
    monkeypatch.setattr(meeting, "GONE_AFTER_S", 1.0)
    Notice("meeting-old", 7).write(tmp_path)
    over = threading.Event()

    def attend() -> None:
        with called_meeting(tmp_path) as called:
            while not over.wait(0.05):
                called.attend()

    thread = threading.Thread(target=attend)
    thread.start()
    try:
        found = found_meeting(tmp_path, patience_s=30)
        assert found.file.name.startswith("meeting-") and found.file.name != "meeting-old"
        until = time.monotonic() + 2
        while time.monotonic() < until:
            found.attend()
    finally:
        over.set()
        thread.join()
    assert not (tmp_path / NOTICE).exists()
    time.sleep(1.1)
    with pytest.raises(RuntimeError, match="the first machine has given no sign for 1 s"):
        found.attend()
    Notice("meeting-next", 1).write(tmp_path)
    with pytest.raises(RuntimeError, match="the first machine has begun a new attempt"):
        found.attend()


@pytest.mark.parametrize("method", ["dynaclr", "cytosummary"])
def test_devices_that_machines_cannot_share_are_refused(method: str) -> None:
    loaded = load_method(method) if method == "dynaclr" else load_profile_method(method)
    with pytest.raises(BadInputError, match="devices=3 are those of all machines, and num_nodes=2 would not"):
        loaded.resolve(loaded.parameters("quick", {"devices": 3, "num_nodes": 2}))
    resolved = loaded.resolve(loaded.parameters("quick", TWO)).parameters
    assert resolved.model_dump()["devices"] == 2
    assert "num_nodes" not in resolved.model_dump(), "it decides no byte"


def test_machines_without_a_number_or_a_folder_are_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no folder is named that the machines share"):
        study.train("nowhere", **TWO)
    method = load_method("dynaclr")
    parameters = method.parameters("quick", CHANGES | TWO)
    with pytest.raises(BadInputError, match=r"node=2 takes no part in a training of num_nodes=2"):
        method.train_beside(study.tables, study.manifest, parameters, 2, tmp_path)
    alone = method.parameters("quick", CHANGES)
    with pytest.raises(BadInputError, match=r"node=1 takes no part in a training of num_nodes=1"):
        method.train_beside(study.tables, study.manifest, alone, 1, tmp_path)
