"""Plates arrive in the real daemon: a good one comes in, and what cannot be taken waits with its reason beside it."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from cell_assets.assets.checks import NOTHING_IN_QUARANTINE
from cell_assets.assets.recipes import AssetName
from cell_assets.automation.session import Session
from cell_assets.automation.settling import ARRIVAL_TAG
from cell_assets.ledger.records import Arrival, ArrivalState
from cell_assets.settings import Settings
from cell_assets_tests.automation.dev_session import wait_until
from cell_assets_tests.end_to_end.dagster_ui import served
from cell_assets_tests.end_to_end.lab import PlateFolder, cell_assets, instance_of, opened
from cell_assets_tests.landing.landed import land, write_checksums

PATIENCE_S = 240.0


def by_name(session: Session) -> dict[str, Arrival]:
    return {Path(one.folder).name: one for one in session.ledger.arrivals()}


def wait_for(session: Session, done: Callable[[dict[str, Arrival]], bool]) -> dict[str, Arrival]:
    wait_until(lambda: done(by_name(session)), PATIENCE_S, lambda: by_name(session))
    return by_name(session)


def is_in(session: Session, plate: str) -> bool:
    return session.ledger.latest(AssetName.PLATE_QC, plate) is not None


@pytest.mark.slow
def test_plates_arrive_by_themselves(home: Path, two_fovs: PlateFolder, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    settings = Settings(home=home, database_url=None, workers=1)
    with served(home, LANDING=str(landing), STILL_S="1"), opened(settings) as session:
        good = land(two_fovs, landing / "a_good", "E1", "P1")
        corrupt = land(two_fovs, landing / "b_corrupt", "E1", "P2", checksums="checksums.txt")
        chunk = next(path for path in sorted(corrupt.rglob("c/**/*")) if path.is_file())
        write_checksums(corrupt / "plate.zarr", "../checksums.txt")
        listed = (corrupt / "checksums.txt").read_text().replace("  ", "  plate.zarr/")
        (corrupt / "checksums.txt").write_text(listed)
        sound = chunk.read_bytes()
        chunk.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        land(two_fovs, landing / "c_duplicate", "E1", "P1")
        half = land(two_fovs, landing / "d_half", "E1", "P3")
        plate_map = (half / "plate_map.csv").read_text()
        (half / "plate_map.csv").unlink()
        growing = land(two_fovs, landing / "e_growing", "E1", "P4") / "still_written.log"

        def settled(found: dict[str, Arrival]) -> bool:
            with growing.open("a") as file:
                file.write("another line\n")
            states = {name: one.state for name, one in found.items()}
            return is_in(session, "P1") and states == {
                "a_good": ArrivalState.ACCEPTED,
                "b_corrupt": ArrivalState.QUARANTINED,
                "c_duplicate": ArrivalState.IGNORED,
                "d_half": ArrivalState.QUARANTINED,
            }

        found = wait_for(session, settled)
        assert f"{chunk.relative_to(corrupt)} has sha256" in (found["b_corrupt"].reason or "")
        assert f"the same bytes came before from {good}" in (found["c_duplicate"].reason or "")
        assert "plate_map.csv is named and is not there" in (found["d_half"].reason or "")
        assert [plate.draft.name for plate in session.ledger.plates()] == ["P1"]

        (half / "plate_map.csv").write_text(plate_map)
        said = cell_assets(session.settings, "retry-quarantined", "P2", "--why", "copied anew", "--by", "Ada")
        assert said.code == 0, said
        chunk.write_bytes(sound)
        found = wait_for(
            session, lambda found: all(is_in(session, plate) for plate in ("P1", "P2", "P3", "P4"))
        )

        said = cell_assets(session.settings, "arrivals", "--json")
        told = {Path(one["folder"]).name: one for one in json.loads(said.out)}
        assert told["b_corrupt"]["state"] == "accepted"
        assert (told["b_corrupt"]["release"]["by"], told["b_corrupt"]["release"]["why"]) == (
            "Ada",
            "copied anew",
        )
        with instance_of(session) as instance:
            key = dg.AssetCheckKey(dg.AssetKey(AssetName.RAW_ACQUISITION.value), NOTHING_IN_QUARANTINE)
            (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
            assert set(instance.get_dynamic_partitions("plate")) == {"P1", "P2", "P3", "P4"}
            assert len(instance.get_dynamic_partitions("position")) == len(
                session.ledger.plates()[0].draft.positions
            )
            runs = instance.get_runs()
            assert all(run.tags.get(ARRIVAL_TAG) for run in runs)
        assert record.event is not None
        assert session.ledger.check_chain().faults == ()
