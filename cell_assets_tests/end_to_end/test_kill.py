"""`kill -9` at every write boundary: nothing published is hurt, nothing is left, and the rerun completes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    opened,
    run,
    run_until_killed,
    small_run,
)

ASSETS = ("raw_acquisition", "tracks", "dynaclr_checkpoint", "dynaclr_report")


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[Session]:
    """A lab on an embedded PostgreSQL of its own, as on a fresh machine."""
    with opened(Settings(home=home, database_url=None, workers=1)) as session:
        yield session


def kill_at(session: Session, boundary: Boundary, asset: str, command: str, request: BaseModel) -> None:
    """Run a command that dies there, and see what must hold before anybody runs again."""
    committed = {artifact.id for artifact in session.ledger.artifacts(asset)}
    run_until_killed(session.settings.home, boundary, asset, command, request)
    assert_published_is_whole(session)
    is_visible = boundary in (Boundary.COMMIT, Boundary.EVENT)
    made = {artifact.id for artifact in session.ledger.artifacts(asset)} - committed
    assert bool(made) == is_visible
    if boundary is Boundary.COMMIT:
        assert asset in {run.asset for run in session.ledger.unannounced()}
    swept = session.store.sweep()
    if not is_visible:
        assert any(title.startswith(f"{asset} ") for title in swept.closed_intents)
    if asset == "tracks":
        # Several FOVs are under way at once, each at a boundary of its own.
        assert len(swept.removed_orphans) >= (boundary is Boundary.RENAME)
    else:
        assert len(swept.removed_orphans) == (boundary is Boundary.RENAME)
    assert_nothing_left(session)
    assert_published_is_whole(session)


def rerun(session: Session, request: BaseModel) -> None:
    outcome = run(session, request)  # type: ignore[arg-type]
    assert outcome.failed == ()
    assert outcome.report is not None
    assert_published_is_whole(session)
    assert_nothing_left(session)
    assert_dagster_agrees(session)


def test_killed_at_each_boundary_on_the_way_from_plate_to_report(
    session: Session, two_fovs: PlateFolder
) -> None:
    """One kill after the other in one lab: that each next kill is reached shows that the one before was mended."""
    plate, request = two_fovs.request("E1", "P1"), small_run("E1")
    kill_at(session, Boundary.RENAME, "raw_acquisition", "ingest", plate)
    assert session.ledger.plates() == ()
    ingest_plate(session, plate)
    assert_dagster_agrees(session)
    kill_at(session, Boundary.INTENT, "tracks", "run", request)
    kill_at(session, Boundary.COMMIT, "tracks", "run", request)
    kill_at(session, Boundary.STAGING, "dynaclr_checkpoint", "run", request)
    kill_at(session, Boundary.EVENT, "dynaclr_report", "run", request)
    rerun(session, request)


@pytest.fixture(scope="module")
def finished(session: Session, two_fovs: PlateFolder) -> Session:
    """The lab with one whole experiment."""
    ingest_plate(session, two_fovs.request("whole", "whole"))
    rerun(session, small_run("whole"))
    return session


@pytest.mark.slow
@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("asset", ASSETS)
def test_killed_at_every_boundary_of_every_kind(
    finished: Session, two_fovs: PlateFolder, asset: str, boundary: Boundary
) -> None:
    fresh = f"{asset}-{boundary}"
    ingest = two_fovs.request(fresh, fresh)
    if asset == "raw_acquisition":
        kill_at(finished, boundary, asset, "ingest", ingest)
        ingest_plate(finished, ingest)
        assert_dagster_agrees(finished)
        return
    # Another seed makes checkpoint or report stale, and nothing before them.
    seed = 1 + list(Boundary).index(boundary)
    request = small_run("whole", training_seed=5 * (asset == "dynaclr_report") + seed, report_seed=seed)
    if asset == "tracks":
        ingest_plate(finished, ingest)
        request = small_run(fresh)
    kill_at(finished, boundary, asset, "run", request)
    rerun(finished, request)
