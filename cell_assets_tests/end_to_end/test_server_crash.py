"""The database server is killed with its user: Dagster still shows what the ledger holds, or shows it again."""

import signal
import subprocess
import sys
from pathlib import Path

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import FOV_ASSETS
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.end_to_end.lab import (
    CHECKOUT,
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    assert_session_ends,
    opened,
    small_run,
)


def test_what_was_committed_outlives_the_server(tmp_path: Path, two_fovs: PlateFolder) -> None:
    """Processes are killed, not the machine: what the operating system still holds unwritten is not shown lost."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    settings = Settings(home=home, database_url=None, workers=1)
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E", "P"))
    module, request = "cell_assets_tests.end_to_end.crash_runner", small_run("E").model_dump_json()
    at = (Boundary.COMMIT, "experiment_manifest")
    log = home / "killed.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(home), *at, "run", request, "server"],
            cwd=CHECKOUT,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        assert process.wait(300) == -signal.SIGKILL, log.read_text()[-2000:]
    assert_session_ends(process.pid)
    with opened(settings) as session:
        with session.executor():
            pass  # opening shows what was committed and not shown
        session.store.sweep()
        made = {artifact.asset for artifact in session.ledger.artifacts()}
        assert made >= {"raw_acquisition", *FOV_ASSETS, "experiment_manifest"}
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
