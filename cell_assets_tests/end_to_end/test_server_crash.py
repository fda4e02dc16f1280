"""The database server is killed with its user: Dagster still shows what the ledger holds, or shows it again."""

from pathlib import Path

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    opened,
    run_until_killed,
    small_run,
)


def test_what_was_committed_outlives_the_server(tmp_path: Path, two_fovs: PlateFolder) -> None:
    """Processes are killed, not the machine: what the operating system still holds unwritten is not shown lost."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    settings = Settings(home=home, database_url=None, workers=1)
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E", "P"))
    at, request = (Boundary.COMMIT, "experiment_manifest"), small_run("E")
    run_until_killed(home, *at, "run", request, with_server=True)
    with opened(settings) as session:
        with session.executor():
            pass  # opening shows what was committed and not shown
        session.store.sweep()
        made = {artifact.asset for artifact in session.ledger.artifacts()}
        assert made >= {"raw_acquisition", *FOV_ASSETS, "experiment_manifest"}
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
