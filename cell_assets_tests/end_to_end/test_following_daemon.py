"""A real `cell-assets dev` follows an experiment to its report, and a late plate to a second one, by itself."""

from collections import Counter
from pathlib import Path

import pytest

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.automation.executing import RANGE_TAGS
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.ledger.records import RunOutcome
from cell_assets.settings import Settings
from cell_assets_tests.automation.dev_session import wait_until
from cell_assets_tests.end_to_end.dagster_ui import DagsterUi, browsed, served
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    opened,
    small_choices,
    successful_runs,
    tiny_plate,
)

pytestmark = [pytest.mark.slow, pytest.mark.needs_chromium, pytest.mark.timeout(1500)]

PATIENCE_S = 600
FOVS = ("segmentation", "tracks", "patch_table")


def settled(ui: DagsterUi) -> bool:
    return {run.status for run in ui.runs()} <= {"SUCCESS", "FAILURE", "CANCELED"}


def made(session: Session, after: int) -> dict[str, list[str]]:
    """By Dagster run: what it made of E1 and its plates, every attempt of the ledger after one; none may fail."""
    found: dict[str, list[str]] = {}
    for asset in (*FOVS, "experiment_manifest", "dynaclr_checkpoint", "dynaclr_embeddings", "dynaclr_report"):
        for artifact in session.ledger.artifacts(asset):
            for attempt in session.ledger.attempts(asset, artifact.partition):
                assert attempt.outcome is RunOutcome.SUCCEEDED
                if attempt.id > after and attempt.artifact_id == artifact.id:
                    found.setdefault(str(attempt.dagster_run_id), []).append(f"{asset} {attempt.partition}")
    return {run: sorted(said) for run, said in found.items()}


def fovs(plate: str) -> list[str]:
    return sorted(f"{asset} {plate}|A/{column}/000" for asset in FOVS for column in (1, 2))


def test_dev_follows_an_experiment_and_its_late_plate(
    home: Path, two_fovs: PlateFolder, tmp_path: Path
) -> None:
    late = tiny_plate(tmp_path / "late", seed=2)
    model = ["dynaclr_checkpoint E1", "experiment_manifest E1"]
    with (
        served(home) as address,
        browsed(address) as ui,
        opened(Settings(home=home, database_url=None, workers=1)) as session,
    ):
        # Nobody expects anything of E0; its positions are keys that P1 lacks.
        ingest_plate(session, tiny_plate(tmp_path / "more", fovs_per_well=2).request("E0", "P0"))
        session.ledger.record_expected_plates("E1", ["P1"], False, "0" * 64)
        ExperimentChoices.checked(small_choices(), "test").record(session.ledger, "E1")
        ingest_plate(session, two_fovs.request("E1", "P1"))

        def reports() -> int:
            return len(successful_runs(session, "dynaclr_report"))

        wait_until(lambda: reports() == 1 and settled(ui), PATIENCE_S, ui.runs)
        runs = {run.run_id: run for run in ui.runs()}
        first = made(session, after=0)
        assert sorted(first.values()) == sorted(
            [fovs("P1"), model, ["dynaclr_embeddings E1|P1"], ["dynaclr_report E1"]]
        )
        assert Counter(run.status for run in runs.values()) == {"SUCCESS": 2 + 4}
        (range_run,) = (run for id, run in runs.items() if first.get(id) == fovs("P1"))
        assert [range_run.tags[tag] for tag in RANGE_TAGS] == ["P1|A/1/000", "P1|A/2/000"]
        numbers = session.ledger.numbers(experiment="E1")
        assert numbers
        then, last = session.ledger.now(), max(successful_runs(session, "dynaclr_report"))

        ingest_plate(session, late.request("E1", "P2"))
        wait_until(lambda: reports() == 2 and settled(ui), PATIENCE_S, ui.runs)
        assert sorted(made(session, after=last).values()) == sorted(
            [
                fovs("P2"),
                model,
                ["dynaclr_embeddings E1|P1"],
                ["dynaclr_embeddings E1|P2"],
                ["dynaclr_report E1"],
            ]
        )
        assert Counter(run.status for run in ui.runs()) == {"SUCCESS": 6 + 1 + 5}
        assert session.ledger.numbers(experiment="E1", as_of=then) == numbers
        ui.open("/automation")
        ui.wait_for("follow_through")
        ui.screenshot("sensors")
        ui.open("/runs")
        ui.wait_for("sensor")
        ui.screenshot("runs_of_the_sensor")
        assert_dagster_agrees(session)
