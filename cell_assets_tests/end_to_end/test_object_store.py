"""A lab whose plates arrive in a bucket and whose artifacts are kept in one: the whole graph, and another machine."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs
import yaml

from cell_assets.assets.recipes import AssetName
from cell_assets.automation.running import RunOutcome, run_experiment
from cell_assets.automation.session import Session
from cell_assets.ledger.records import ArtifactState
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    cell_assets,
    infected_plate,
    instance_of,
    opened,
    small_run,
)
from cell_assets_tests.end_to_end.test_arriving import GIVEN, Landing
from cell_assets_tests.object_store import SECRET, FlakyProxy
from cell_assets_tests.store.drafts import leftovers


@pytest.fixture
def landing(new_lab: Callable[[], Settings], bucket_url: str, tmp_path: Path) -> Iterator[Landing]:
    """A lab that keeps its artifacts in a bucket."""
    settings = new_lab().model_copy(update={"store": bucket_url})
    with opened(settings) as session, instance_of(session) as instance:
        yield Landing(tmp_path, session, instance)


def upload(plate: PlateFolder, url: str) -> None:
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.put(str(plate.folder), url, recursive=True)
    files.pipe_file(
        f"{url}/plate.yaml", yaml.safe_dump({"experiment": "E1", "plate": "P1", **GIVEN}).encode()
    )


def test_a_plate_arrives_in_a_bucket_and_becomes_an_artifact_in_one(
    landing: Landing, two_fovs: PlateFolder, bucket_url: str, object_store: FlakyProxy
) -> None:
    session, arriving = landing.session, f"{bucket_url.rpartition('/')[0]}/landing"
    upload(two_fovs, f"{arriving}/a")
    # No file that is written anew is answered for: publishing fails, whoever asks.
    object_store.refuse = lambda method, path: method == "PUT" and "raw_acquisition" in path
    landing.tick((arriving,))
    (request,) = landing.tick((arriving,))
    assert not landing.run(request)
    assert session.ledger.latest(AssetName.RAW_ACQUISITION, "P1") is None
    assert session.ledger.open_intents() == ()
    object_store.refuse = lambda method, path: False
    session.store.sweep()
    assert leftovers(session.store) == []

    assert landing.run(request)
    landing.tick((arriving,))
    (plate,) = session.ledger.plates()
    assert plate.draft.source_uri == f"{arriving}/a/plate.zarr"
    made = session.ledger.latest(AssetName.RAW_ACQUISITION, "P1")
    assert made is not None
    shutil.rmtree(session.store.path_of(made.artifact).parent)
    assert session.store.verify(made.artifact).is_verified
    assert (session.store.read(AssetName.RAW_ACQUISITION, "P1").path / "plate.zarr").is_dir()
    assert list((session.settings.home / "fetched").glob("*")) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_graph_with_its_artifacts_in_a_bucket(
    new_lab: Callable[[], Settings], bucket_url: str, tmp_path: Path
) -> None:
    plate = infected_plate(tmp_path / "plate")
    settings = new_lab().model_copy(update={"store": bucket_url})
    with opened(settings) as session:
        assert cell_assets(session.settings, "ingest", *plate.arguments("E1", "P1")).code == 0
        made = run_experiment(session, small_run("E1"))
        assert made.failed == ()
        assert len(made.numbers) > 0
        verify_each(session, made)
        assert leftovers(session.store) == []
        page = Path(str(made.report)).read_bytes()
        shutil.rmtree(session.settings.store_root)

        # Another machine, or this one after its disk was lost.
        verify_each(session, made)
        assert not session.settings.store_root.exists() or no_copies(session)
        again = run_experiment(session, small_run("E1"))
        assert (again.failed, again.dagster_runs) == ((), ())
        assert Path(str(again.report)).read_bytes() == page
        said = cell_assets(session.settings, "reconcile", "--json")
        assert said.code == 0, said
        number = str(made.numbers[0]["id"])
        assert cell_assets(session.settings, "bundle", number, "--output", str(tmp_path / "b.zip")).code == 0
        assert cell_assets(session.settings, "verify", number, "--recompute").code == 0

        backed_up = cell_assets(session.settings, "backup", str(tmp_path / "backup"), "--json")
        assert backed_up.code == 0, backed_up
        assert json.loads(backed_up.out)["bucket"] == bucket_url
        assert not list((tmp_path / "backup").rglob("*.files.json"))
        assert secret_nowhere(session.settings.home, tmp_path / "backup")

    restored = new_lab().model_copy(update={"store": bucket_url})
    shutil.rmtree(restored.home)
    said = cell_assets(restored, "restore-backup", str(tmp_path / "backup"))
    assert said.code == 0, said
    with opened(restored) as session:
        for artifact in session.ledger.artifacts(state=ArtifactState.PRESENT):
            assert session.store.verify(artifact).is_verified


def verify_each(session: Session, made: RunOutcome) -> None:
    """Every number, without reading what they share more than once."""
    for n, number in enumerate(made.numbers):
        resumed = ("--resume-hours", "1") if n else ()
        said = cell_assets(session.settings, "verify", str(number["id"]), *resumed)
        assert said.code == 0, said


def no_copies(session: Session) -> bool:
    """Verifying reads the bucket alone."""
    return not [
        path for path in session.settings.store_root.rglob("*") if path.suffix in (".parquet", ".html")
    ]


def secret_nowhere(*folders: Path) -> bool:
    return not any(
        SECRET.encode() in path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    )
