"""The store's disk fills up in mid-run: one sentence, nothing half-visible, and a rerun when there is room."""

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunOutcome
from cell_assets.automation.session import open_session
from cell_assets.definitions import build_defs
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_nothing_left,
    assert_published_is_whole,
    run,
    small_run,
)
from cell_assets_tests.faults.faulty_lab import FaultyLab

_DISK_BYTES = 64 * 2**20


@pytest.fixture
def small_disk(new_lab: Callable[[], FaultyLab]) -> Iterator[FaultyLab]:
    """A lab whose store has a real file system of 64 MiB to itself."""
    lab = new_lab()
    store = lab.settings.store_root
    store.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(store)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield FaultyLab(lab.settings.model_copy(update={"keep_free_bytes": 0}), lab.server)
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


@pytest.mark.slow
def test_each_kind_of_output_stops_with_a_sentence_and_is_made_when_there_is_room(
    small_disk: FaultyLab, two_fovs: PlateFolder
) -> None:
    with small_disk.opened() as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
    # What is written by a pool's worker; what is moved into place; what is recorded of a report with numbers.
    for boundary, asset in (
        (Boundary.INTENT, "tracks"),
        (Boundary.STAGING, "dynaclr_checkpoint"),
        (Boundary.INTENT, "dynaclr_report"),
    ):
        outcome = _run_until_full(small_disk, boundary, asset)
        (said,) = outcome.failed
        assert "is full" in said
        assert "left nothing behind" in said
        assert "free space and run again" in said
        assert "\n" not in said
        with small_disk.opened() as session:
            assert session.ledger.artifacts(asset) == ()
            assert session.ledger.numbers(experiment="E1") == ()
            assert_published_is_whole(session)
            assert_nothing_left(session)
    with small_disk.opened() as session:
        assert run(session, small_run("E1")).failed == ()
    small_disk.assert_sound("E1")


def _run_until_full(lab: FaultyLab, boundary: Boundary, asset: str) -> RunOutcome:
    """A run during which the disk fills up at a boundary of an asset, and is as before afterwards."""
    ballast = lab.settings.store_root / "ballast"

    def fill(at: Boundary, of: str, partition: str) -> None:
        if (at, of) == (boundary, asset):
            _fill_up(ballast)

    try:
        with open_session(lab.settings, build_defs, fill) as session:
            return run(session, small_run("E1"))
    finally:
        ballast.unlink()


def _fill_up(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
