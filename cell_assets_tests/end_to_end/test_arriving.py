"""The sensor called directly, with runs in this process: what becomes of arrivals, tick by tick."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import fsspec
import pytest
import yaml

from cell_assets.assets.checks import NOTHING_IN_QUARANTINE
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.recipes import AssetName
from cell_assets.automation.arrivals import SensorCursor, arrivals_sensor
from cell_assets.automation.session import Session
from cell_assets.definitions import build_defs
from cell_assets.imaging.ingest import PreparedIngest, prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.ledger.records import Arrival
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, cell_assets, instance_of, opened, tiny_plate
from cell_assets_tests.landing.brittle_files import BrittleFiles, brittle_landing
from cell_assets_tests.landing.landed import land
from cell_assets_tests.ordinary_user import as_an_ordinary_user, closed, open_to_all

GIVEN = {"source": "plate.zarr", "plate_map": "plate_map.csv", "tracks": "tracks", "states": "states.csv"}


@dataclass
class Landing:
    """A lab with a landing folder, its sensor, and a daemon that is told when to tick."""

    root: Path
    session: Session
    instance: dg.DagsterInstance
    cursor: str | None = None
    run_keys: set[str] = field(default_factory=set)
    skipped: str = ""

    @property
    def arrivals(self) -> dict[str, Arrival]:
        return {Path(one.folder).name: one for one in self.session.ledger.arrivals()}

    def tick(self, places: tuple[str, ...] = ()) -> list[dg.RunRequest]:
        """One evaluation by Dagster's own entry; keys and cursor are kept as its daemon keeps them."""
        settings = self.session.settings.model_copy(
            update={"landing": places or (str(self.root),), "still_s": 0.0}
        )
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, definitions=None)
        said = arrivals_sensor(settings)(context, store=self.session.store)
        assert isinstance(said, dg.SensorResult)
        self.cursor = said.cursor
        self.skipped = "" if said.skip_reason is None else said.skip_reason.skip_message or ""
        for keys in said.dynamic_partitions_requests or ():
            assert isinstance(keys, dg.AddDynamicPartitionsRequest)
            self.instance.add_dynamic_partitions(keys.partitions_def_name, list(keys.partition_keys))
        new = [one for one in said.run_requests or () if one.run_key not in self.run_keys]
        self.run_keys |= {str(one.run_key) for one in new}
        return new

    def run(self, request: dg.RunRequest) -> bool:
        """What the daemon launches."""
        job = build_defs(self.session.settings).resolve_job_def("ingest_arrival")
        return job.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=request.run_config,
            tags=dict(request.tags),
            raise_on_error=False,
        ).success

    def arrive(self, places: tuple[str, ...] = ()) -> list[bool]:
        """Until all is still, then the runs, then what became of them."""
        self.tick(places)
        ended = [self.run(one) for one in self.tick(places)]
        self.tick(places)
        return ended

    def check(self) -> tuple[bool, str | None]:
        """What the UI says of the quarantine."""
        key = dg.AssetCheckKey(dg.AssetKey(AssetName.RAW_ACQUISITION.value), NOTHING_IN_QUARANTINE)
        (record,) = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert record.event is not None
        assert record.event.dagster_event is not None
        said = record.event.dagster_event.asset_check_evaluation_data
        return said.passed, said.description

    def cli(self, *arguments: str) -> str:
        said = cell_assets(self.session.settings, *arguments)
        assert said.code == 0, said
        return said.out


@pytest.fixture
def landing(new_lab: Callable[[], Settings], tmp_path: Path) -> Iterator[Landing]:
    with opened(new_lab()) as session, instance_of(session) as instance:
        (tmp_path / "landing").mkdir()
        yield Landing(tmp_path / "landing", session, instance)


def test_a_plate_comes_in_once_with_all_its_keys(landing: Landing, two_fovs: PlateFolder) -> None:
    folder = land(two_fovs, landing.root / "a", "E1", "P1")
    assert landing.tick() == []
    (request,) = landing.tick()
    assert request.partition_key == "P1"
    assert landing.instance.get_dynamic_partitions("position") == []
    assert landing.run(request)
    assert landing.tick() == []
    (plate,) = landing.session.ledger.plates("E1")
    assert plate.draft.source_uri == str(folder / "plate.zarr")
    assert landing.instance.get_dynamic_partitions("position") == list(plate.draft.positions)
    assert landing.instance.get_dynamic_partitions("experiment") == ["E1"]
    assert landing.session.ledger.latest(AssetName.PLATE_QC, "P1") is not None
    assert landing.check() == (True, None)
    cursor = SensorCursor.read(landing.cursor)
    assert (cursor.scan.pending, cursor.settled_through) == ({}, landing.arrivals["a"].id)
    landing.cursor = "edited by somebody"
    assert landing.tick() == landing.tick() == []


def test_a_tick_that_was_lost_after_it_recorded_is_made_good_under_the_same_key(
    landing: Landing, two_fovs: PlateFolder
) -> None:
    land(two_fovs, landing.root / "a", "E1", "P1")
    landing.tick()
    before = landing.cursor
    (lost,) = landing.tick()
    landing.cursor, landing.run_keys = before, set()
    again = landing.tick() or landing.tick()
    assert [one.run_key for one in again] == [lost.run_key]
    assert len(landing.session.ledger.arrivals()) == 1


def test_of_two_folders_with_one_plate_the_second_waits_and_is_judged_by_its_bytes(
    landing: Landing, two_fovs: PlateFolder, tmp_path: Path
) -> None:
    other = tiny_plate(tmp_path / "other", seed=2)
    land(other, landing.root / "c_other_bytes", "E1", "P1")
    land(two_fovs, landing.root / "b_same", "E1", "P1", on_duplicate="quarantine")
    first = land(two_fovs, landing.root / "a", "E1", "P1")
    landing.tick()
    for folder, ends_well in (("a", True), ("b_same", False), ("c_other_bytes", False)):
        (request,) = landing.tick()
        assert [name for name, one in landing.arrivals.items() if one.state == "accepted"][-1] == folder
        assert landing.tick() == []
        assert landing.run(request) is ends_well
    landing.tick()
    found = landing.arrivals
    assert (found["a"].state, found["b_same"].state, found["c_other_bytes"].state) == (
        "accepted", "quarantined", "quarantined",
    )  # fmt: skip
    assert f"came before with the same bytes from {first}" in (found["b_same"].reason or "")
    assert "was ingested before from other bytes" in (found["c_other_bytes"].reason or "")


def test_quarantine_is_shown_released_and_tried_again(landing: Landing, two_fovs: PlateFolder) -> None:
    folder = land(two_fovs, landing.root / "a", "E1", "P1")
    (folder / "plate.zarr" / "zarr.json").write_text("{}")
    assert landing.arrive() == [False]
    held = landing.arrivals["a"]
    assert held.state == "quarantined"
    passed, said = landing.check()
    assert not passed
    assert str(folder) in (said or "")
    assert landing.tick() == []
    assert str(folder) in landing.cli("arrivals")
    assert "released" in landing.cli("retry-quarantined", str(folder), "--why", "look again", "--by", "Ada")
    (request,) = landing.tick()
    assert not landing.run(request)
    landing.tick()
    (told,) = json.loads(landing.cli("arrivals", "--json"))
    assert (told["state"], told["reason"]) == ("quarantined", held.reason)
    assert (told["release"]["by"], told["release"]["why"]) == ("Ada", "look again")
    assert not told["release"]["waits_to_be_tried"]
    shutil.copy(two_fovs.folder / "plate.zarr" / "zarr.json", folder / "plate.zarr" / "zarr.json")
    assert landing.arrive() == [True]
    assert landing.check() == (True, None)
    assert json.loads(landing.cli("arrivals", "--json"))[0]["state"] == "accepted"
    assert landing.session.ledger.check_chain().faults == ()


def test_an_experiment_says_what_it_expects_and_chooses(landing: Landing) -> None:
    folder = landing.root / "e"
    folder.mkdir()
    file = folder / "experiment.yaml"
    file.write_text(
        yaml.safe_dump({"experiment": "E1", "plates": ["P1"], "choices": {"report": {"seed": -1.5}}})
    )
    landing.arrive()
    assert "choices: report.seed is -1.5" in (landing.arrivals["e"].reason or "")
    assert landing.session.ledger.expected_plates("E1") is None
    values = {
        "experiment": "E1",
        "plates": ["P1", "P2"],
        "methods": ["dynaclr"],
        "choices": {"report": {"seed": 7}},
    }
    file.write_text(yaml.safe_dump(values))
    landing.arrive()
    expected = landing.session.ledger.expected_plates("E1")
    assert expected is not None
    assert (expected.plates, expected.closed) == (("P1", "P2"), False)
    chosen = ExperimentChoices.of(landing.session.ledger, "E1")
    assert (chosen.report.seed, list(chosen.training)) == (7, ["dynaclr"])
    assert landing.arrivals["e"].state == "accepted"
    file.write_text(yaml.safe_dump({"experiment": "E1", "plates": ["P1"], "closed": True}))
    landing.arrive()
    closed = landing.session.ledger.expected_plates("E1")
    assert closed is not None
    assert closed.closed
    assert ExperimentChoices.of(landing.session.ledger, "E1") == chosen


def test_a_plate_behind_a_url_is_fetched_and_leaves_nothing_beside_its_artifact(
    landing: Landing, two_fovs: PlateFolder
) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(two_fovs.folder), "/arriving/a", recursive=True)
    files.pipe(
        "/arriving/a/plate.yaml", yaml.safe_dump({"experiment": "E1", "plate": "P1", **GIVEN}).encode()
    )
    try:
        assert landing.arrive(("memory://arriving",)) == [True]
        (plate,) = landing.session.ledger.plates()
        assert plate.draft.source_uri == "memory:///arriving/a/plate.zarr"
        assert list((landing.session.settings.home / "fetched").glob("*")) == []
        with landing.session.executor() as executor:
            again = executor.materialise([AssetName.RAW_ACQUISITION], partition="P1")
        assert again.succeeded, again
        files.rm("/arriving", recursive=True)
        with landing.session.executor() as executor:
            gone = executor.materialise([AssetName.RAW_ACQUISITION], partition="P1")
        assert "memory:///arriving/a: holds no file" in (gone.error or "")
    finally:
        if files.exists("/arriving"):
            files.rm("/arriving", recursive=True)


def test_a_remote_that_fails_in_its_own_way_hinders_no_other_landing_folder(
    landing: Landing, two_fovs: PlateFolder
) -> None:
    land(two_fovs, landing.root / "local", "E9", "P9")
    with brittle_landing() as url:
        places = ("nothing://x", url, str(landing.root))
        BrittleFiles.broken = {"ls": "/"}
        assert landing.tick(places) == []
        assert f"landing folder {url} cannot be listed (ThrottledError: slow down: ls was" in landing.skipped
        assert "landing folder nothing://x cannot be opened (ValueError" in landing.skipped
        assert [one.partition_key for one in landing.tick(places)] == ["P9"]
        BrittleFiles.broken = {"find": "/brittle_landing/a"}
        landing.tick(places)
        assert [one.partition_key for one in landing.tick(places)] == ["P2"]
        assert landing.arrivals["a"].state == "quarantined"
        assert "a cannot be read (ThrottledError: slow down" in (landing.arrivals["a"].reason or "")
        BrittleFiles.broken = {}
        landing.tick(places)
        assert [one.partition_key for one in landing.tick(places)] == ["P1"]


def test_a_file_that_may_not_be_read_waits_in_quarantine_until_it_may(
    landing: Landing, two_fovs: PlateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is read as an ordinary user; the store is written as whoever runs the tests."""

    def prepared(path: Path, options: IngestOptions) -> PreparedIngest:
        with as_an_ordinary_user():
            return prepare_ingest(path, options)

    monkeypatch.setattr("cell_assets.imaging.ingest.prepare_ingest", prepared)
    with open_to_all() as root:
        folder = land(two_fovs, root / "a", "E1", "P1")
        for part in (folder, *folder.rglob("*")):
            part.chmod(0o755 if part.is_dir() else 0o644)
        with closed(folder / "tracks" / "A_1_000.csv") as tracks:
            assert landing.arrive((str(root),)) == [False]
            held = landing.arrivals["a"]
            assert held.state == "quarantined"
            assert str(tracks) in (held.reason or "")
            assert "Permission denied" in (held.reason or "")
            assert landing.tick((str(root),)) == landing.tick((str(root),)) == []
        assert landing.arrive((str(root),)) == [True]
        assert landing.check() == (True, None)
