"""A real `cell-assets dev` takes a plate that is copied slowly to its report, and a late one to a second report."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from cell_assets.assets.recipes import RECIPES
from cell_assets.automation.executing import RANGE_TAGS
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.ledger.records import Arrival, RunOutcome
from cell_assets.settings import Settings
from cell_assets_tests.automation.dev_session import wait_until
from cell_assets_tests.end_to_end.dagster_ui import DagsterUi, ShownRun, browsed, served
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_published_is_whole,
    opened,
    small_choices,
    successful_runs,
    tiny_plate,
)
from cell_assets_tests.landing.landed import land, plate_yaml, write_checksums

pytestmark = [pytest.mark.slow, pytest.mark.needs_chromium, pytest.mark.timeout(1500)]

PATIENCE_S = 600
FOVS = ("segmentation", "tracks", "patch_table")
SIDE_FILES = {
    "source": "plate.zarr",
    "plate_map": "plate_map.csv",
    "tracks": "tracks",
    "states": "states.csv",
}


def settled(ui: DagsterUi) -> bool:
    return {run.status for run in ui.runs()} <= {"SUCCESS", "FAILURE", "CANCELED"}


def made(session: Session, after: int) -> dict[str, list[str]]:
    """By Dagster run: what it made, by the ledger's attempts after one; none may have failed."""
    found: dict[str, list[str]] = {}
    for asset in RECIPES:
        for artifact in session.ledger.artifacts(asset):
            for attempt in session.ledger.attempts(asset, artifact.partition):
                assert attempt.outcome is RunOutcome.SUCCEEDED
                if attempt.id > after and attempt.artifact_id == artifact.id:
                    found.setdefault(str(attempt.dagster_run_id), []).append(f"{asset} {attempt.partition}")
    return {run: sorted(said) for run, said in found.items()}


def asked_for(runs: Mapping[str, ShownRun]) -> set[str]:
    """Runs that `follow_through` asked for; none may have failed."""
    asked = {id: run for id, run in runs.items() if run.tags.get("dagster/sensor_name") == "follow_through"}
    assert {run.status for run in asked.values()} == {"SUCCESS"}
    return set(asked)


def fovs(plate: str) -> list[str]:
    return sorted(f"{asset} {plate}|A/{column}/000" for asset in FOVS for column in (1, 2))


def ingested(plate: str) -> list[str]:
    return [f"plate_qc {plate}", f"raw_acquisition {plate}"]


def copy_slowly(plate: PlateFolder, folder: Path, between: Callable[[], None]) -> None:
    """File by file, the larger half of each first; `between` is called ten times on the way."""
    files = sorted(path for path in plate.folder.rglob("*") if path.is_file())
    for n, file in enumerate(files):
        target = folder / file.relative_to(plate.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        target.write_bytes(content[: len(content) // 2 + 1])
        if n % max(1, len(files) // 10) == 0:
            between()
        with target.open("ab") as rest:
            rest.write(content[len(content) // 2 + 1 :])


def test_dev_follows_an_experiment_and_its_late_plate(
    home: Path, two_fovs: PlateFolder, tmp_path: Path
) -> None:
    first_plate, late = two_fovs, tiny_plate(tmp_path / "late", seed=2)
    landing = tmp_path / "landing" / "E1"
    landing.mkdir(parents=True)
    said = {"experiment": "E1", "plates": ["P1"], "choices": small_choices()}
    (landing / "experiment.yaml").write_text(yaml.safe_dump(said))
    model = ["dynaclr_checkpoint E1", "experiment_manifest E1"]
    with (
        served(home, LANDING=str(landing.parent), STILL_S="2") as address,
        browsed(address) as ui,
        opened(Settings(home=home, database_url=None, workers=1)) as session,
    ):
        # Nobody expects anything of E0; its positions are keys that P1 lacks.
        ingest_plate(session, tiny_plate(tmp_path / "more", fovs_per_well=2).request("E0", "P0"))
        good = landing / "good"

        def arrived() -> dict[str, Arrival]:
            return {Path(one.folder).name: one for one in session.ledger.arrivals("E1") if one.plate}

        def nothing_yet() -> None:
            time.sleep(0.5)
            assert arrived() == {}

        copy_slowly(first_plate, good, nothing_yet)
        shutil.copytree(good, landing / "half" / "again")
        shutil.rmtree(landing / "half" / "again" / "tracks")
        nothing_yet()
        plate_yaml(good, "E1", "P1", **SIDE_FILES)
        wait_until(lambda: "good" in arrived(), PATIENCE_S, arrived)
        half = land(late, landing / "half_copied", "E1", "P7")
        (half / "plate_map.csv").unlink()
        corrupt = land(late, landing / "corrupt", "E1", "P8", checksums="checksums.txt")
        write_checksums(corrupt)
        spoilt = next(path for path in sorted((corrupt / "plate.zarr").rglob("c/**/*")) if path.is_file())
        spoilt.write_bytes(spoilt.read_bytes()[:-1])
        land(first_plate, landing / "duplicate", "E1", "P1")

        def reports() -> int:
            return len(successful_runs(session, "dynaclr_report"))

        wait_until(lambda: reports() == 1 and settled(ui), PATIENCE_S, ui.runs)
        runs = {run.run_id: run for run in ui.runs()}
        first = made(session, after=0)
        assert sorted(first.values()) == sorted(
            [
                ingested("P0"),
                ingested("P1"),
                fovs("P1"),
                model,
                ["dynaclr_embeddings E1|P1"],
                ["single_cell_features P1"],
                ["dynaclr_report E1"],
            ]
        )
        # Beside these, the corrupt plate and the duplicate had a run that made nothing.
        assert asked_for(runs) == {id for id, outputs in first.items() if "plate_qc" not in outputs[0]}
        (range_run,) = (run for id, run in runs.items() if first.get(id) == fovs("P1"))
        assert [range_run.tags[tag] for tag in RANGE_TAGS] == ["P1|A/1/000", "P1|A/2/000"]
        numbers = session.ledger.numbers(experiment="E1")
        assert numbers
        wait_until(lambda: len(arrived()) == 4, PATIENCE_S, arrived)
        assert {name: one.state.value for name, one in arrived().items()} == {
            "good": "accepted",
            "half_copied": "quarantined",
            "corrupt": "quarantined",
            "duplicate": "ignored",
        }
        assert "plate_map.csv" in str(arrived()["half_copied"].reason)
        assert spoilt.name in str(arrived()["corrupt"].reason)
        assert {plate.draft.name for plate in session.ledger.plates("E1")} == {"P1"}

        then, last = session.ledger.now(), max(successful_runs(session, "dynaclr_report"))
        land(late, landing / "late", "E1", "P2")
        wait_until(lambda: reports() == 2 and settled(ui), PATIENCE_S, ui.runs)
        second = made(session, after=last)
        both = [["dynaclr_embeddings E1|P1"], ["dynaclr_embeddings E1|P2"]]
        assert sorted(second.values()) == sorted(
            [ingested("P2"), fovs("P2"), model, *both, ["single_cell_features P2"], ["dynaclr_report E1"]]
        )
        runs_later = {run.run_id: run for run in ui.runs() if run.run_id not in runs}
        assert asked_for(runs_later) == {id for id, outputs in second.items() if "plate_qc" not in outputs[0]}
        assert session.ledger.numbers(experiment="E1", as_of=then) == numbers
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
        ui.open("/automation")
        ui.wait_for("Standard sensor")
        ui.screenshot("sensors")
        ui.open("/runs")
        ui.wait_for("follow_through")
        ui.screenshot("runs_of_the_sensors")
