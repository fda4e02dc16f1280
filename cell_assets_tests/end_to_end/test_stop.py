"""A killed FOV worker, Ctrl-C and a polite kill: a clear word, nothing left behind, and a rerun that completes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell_assets.automation.dagster_home import process_environment
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    CHECKOUT,
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    assert_session_ends,
    opened,
    run,
    small_choices,
    small_run,
)

PATIENCE_S = 240


@pytest.fixture(scope="module")
def session(new_lab: Callable[[], Settings]) -> Iterator[Session]:
    with opened(new_lab()) as session:
        yield session


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until, "nothing to interrupt came"
        time.sleep(0.005)


def is_writing(session: Session, asset: str) -> bool:
    """Whether bytes of the asset lie in a staging folder."""
    folders = [session.store.layout.at(i.staging) for i in session.ledger.open_intents() if i.asset == asset]
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def workers() -> list[int]:
    """FOV workers of this process."""
    children = (Path("/proc") / str(os.getpid()) / "task").glob("*/children")
    pids = [int(pid) for listed in children for pid in listed.read_text().split()]
    return [pid for pid in pids if b"spawn_main" in (Path("/proc") / str(pid) / "cmdline").read_bytes()]


def test_a_worker_that_is_killed_in_mid_work(session: Session, two_fovs: PlateFolder) -> None:
    ingest_plate(session, two_fovs.request("killed", "killed"))
    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: is_writing(session, "segmentation"))
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = run(session, small_run("killed"))
    killer.join()
    assert len(killed) == 1
    (sentence,) = outcome.failed
    assert sentence.startswith("a worker process was killed")
    assert "killed|A/1/000" in sentence
    assert workers() == []
    assert_nothing_left(session)
    assert_published_is_whole(session)

    assert run(session, small_run("killed")).failed == ()
    assert_nothing_left(session)
    assert_dagster_agrees(session)


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "segmentation"),
        (signal.SIGTERM, "dynaclr_checkpoint"),
        pytest.param(signal.SIGTERM, "segmentation", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "dynaclr_checkpoint", marks=pytest.mark.slow),
    ],
)
def test_a_command_that_is_stopped(
    session: Session, two_fovs: PlateFolder, tmp_path: Path, number: signal.Signals, stage: str
) -> None:
    name = f"{number.name}-{stage}"
    ingest_plate(session, two_fovs.request(name, name))
    choices = small_choices()
    long: dict[str, object] = {"max_steps": 10**6, "max_epochs": 10**6}
    choices["training"]["dynaclr"]["changes"].update(long)  # type: ignore[index]
    (tmp_path / "choices.json").write_text(json.dumps(choices))
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from cell_assets.cli import main; main()"),
            *("run", "--experiment", name, "--choices", str(tmp_path / "choices.json")),
        ],
        cwd=CHECKOUT,
        env={**os.environ, **process_environment(session.settings, session.addresses)},
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "stderr").open("w"),
        start_new_session=True,
    )
    heard = tmp_path / "stderr"
    wait_for(lambda: process.poll() is not None or is_at_work(session, stage, heard.read_text()))
    if number is signal.SIGINT:
        # As a terminal does: to everybody in the foreground.
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code = process.wait(PATIENCE_S)
    said = heard.read_text()
    assert code == 130, said[-2000:]
    assert_session_ends(process.pid)
    assert said.splitlines()[-1] == "stopped"
    assert "Traceback" not in said
    assert_nothing_left(session)
    assert_published_is_whole(session)

    with session.executor():
        # Shows what was committed and not yet shown, as the next command does.
        pass
    assert_dagster_agrees(session)


def is_at_work(session: Session, stage: str, said: str) -> bool:
    if stage == "segmentation":
        return is_writing(session, stage)
    # The bar of a training that has made its first step.
    return re.search(r"training [^\r\n]*\| [1-9]\d*/", said) is not None
