"""A lab with a report: backed up, wiped, restored elsewhere, and every number of it verified."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.ingesting_tables import ingest_tables
from cell_assets.automation.running import RunRequest
from cell_assets.automation.session import Session
from cell_assets.database.addresses import DatabaseAddresses, drop_database, existing_databases, libpq_url
from cell_assets.database.programs import installed_programs
from cell_assets.settings import Settings
from cell_assets.store.tree import remove
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    cell_assets,
    opened,
    run,
    small_run,
    tiny_plate,
)
from cell_assets_tests.end_to_end.screen import TRAINING, table_requests, write_screen

SECRET = "canary-5d1e"
"""A password, which nothing that is written may hold. The server asks for none."""


def with_secret(settings: Settings) -> Settings:
    assert settings.database_url is not None
    url = settings.database_url.replace("//postgres@", f"//postgres:{SECRET}@")
    assert SECRET in url
    return settings.model_copy(update={"database_url": url})


def databases_as_text(url: str) -> str:
    """All that the three databases hold."""
    program = installed_programs() / "pg_dump"
    texts = [
        subprocess.run(
            [program, "--inserts", libpq_url(one)], capture_output=True, text=True, check=True
        ).stdout
        for one in DatabaseAddresses.of(url).by_name.values()
    ]
    assert all("INSERT INTO" in text for text in texts)
    return "\n".join(texts)


def assert_every_number_is_clean(settings: Settings) -> None:
    with opened(settings) as session:
        numbers = session.ledger.numbers(superseded=True)
    assert len(numbers) > 10
    # Numbers of one report rest on the same artifacts: one of each report reads all bytes.
    of_report = {number.artifact_id: number.id for number in numbers}
    for number in of_report.values():
        verified = cell_assets(settings, "verify", str(number), "--recompute", "--json")
        assert verified.code == 0, verified.out
        assert {one["verdict"] for one in json.loads(verified.out)["artifacts"]} == {"verified"}


def test_every_number_of_a_wiped_and_restored_lab_is_clean(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder, tmp_path: Path
) -> None:
    lab, folder = with_secret(new_lab()), tmp_path / "backup"
    assert lab.database_url is not None
    with opened(lab) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        outcome = run(session, small_run("E1"))
        assert outcome.failed == (), outcome.failed
        artifacts = session.ledger.artifacts()
    numbers = cell_assets(lab, "numbers", "--experiment", "E1", "--json").out
    said = cell_assets(lab, "backup", str(folder), "--json")
    assert said.code == 0, said.err
    taken = json.loads(said.out)
    assert (taken["artifacts"], taken["copied_artifacts"]) == (len(artifacts), len(artifacts))
    assert taken["damaged"] == [] and set(taken["database_bytes"]) == {"dagster", "mlflow", "ledger"}

    written = [path for root in (lab.home, folder, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in databases_as_text(lab.database_url)
    assert SECRET not in said.out + said.err

    remove(lab.home)
    for name in existing_databases(lab.database_url):
        drop_database(lab.database_url, name)

    other = with_secret(new_lab())
    back = cell_assets(other, "restore-backup", str(folder), "--json")
    assert back.code == 0, back.err
    remove(folder)
    assert cell_assets(other, "numbers", "--experiment", "E1", "--json").out == numbers
    everything = cell_assets(other, "verify", "--all")
    assert everything.code == 0 and everything.out.endswith(" numbers are clean\n"), everything.out
    assert_every_number_is_clean(other)
    with opened(other) as session:
        assert session.ledger.artifacts() == artifacts
        assert_nothing_left(session)
        assert_dagster_agrees(session)
        assert session.reconcile(mend=True).left == ()
        # Nothing has to be made again.
        assert run(session, small_run("E1")).dagster_runs == ()


def damaged_by_one_byte(session: Session, asset: str) -> int:
    """Flip one byte of the newest artifact of an asset; its id."""
    artifact = session.ledger.artifacts(asset)[-1]
    file = max(session.store.path_of(artifact).rglob("*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    return artifact.id


@pytest.mark.slow
def test_films_and_a_screen_are_clean_after_a_restore_and_one_byte_is_found(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder, tmp_path: Path
) -> None:
    """Two filmed plates with a checkpoint and its report, and a screen as tables with another; then one byte."""
    lab, folder = new_lab(), tmp_path / "backup"
    assert lab.database_url is not None
    screen = RunRequest(
        experiment="S1",
        method="cytosummary",
        choices={
            "training": {"cytosummary": {"preset": "quick", "changes": TRAINING}},
            "well_split": {"held_out_plates": ["P2"], "val_fraction": 0.2, "test_fraction": 0.2},
            "profile_report": {"study": {"n_resamples": 100}},
        },
    )
    other_plate = tiny_plate(tmp_path / "other", seed=2)
    with opened(lab) as session:
        ingest_plate(session, two_fovs.request("E1", "F1"))
        ingest_plate(session, other_plate.request("E1", "F2"))
        ingest_tables(session, table_requests(write_screen(tmp_path / "screen")))
        for request in (small_run("E1"), screen):
            outcome = run(session, request)
            assert outcome.failed == (), outcome.failed
        artifacts = session.ledger.artifacts()
    assert cell_assets(lab, "backup", str(folder)).code == 0
    numbers = cell_assets(lab, "numbers", "--json").out
    remove(lab.home)
    for name in existing_databases(lab.database_url):
        drop_database(lab.database_url, name)

    other = new_lab()
    assert cell_assets(other, "restore-backup", str(folder)).code == 0
    remove(folder)
    assert cell_assets(other, "numbers", "--json").out == numbers
    found = cell_assets(other, "verify", "--all", "--json")
    assert found.code == 0, found.out[-3000:]
    said = json.loads(found.out)
    stated = {one["id"] for one in json.loads(numbers)}
    assert {one["id"] for one in said["numbers"]} == stated and len(stated) > 20
    assert {one["experiment"] for one in said["numbers"]} == {"E1", "S1"}
    assert all(one["clean"] for one in said["numbers"])
    assert {one["verdict"] for one in said["artifacts"]} == {"verified"}
    assert said["history"]["faults"] == []
    assert len({one["id"] for one in said["artifacts"]}) == len(said["artifacts"])

    with opened(other) as session:
        damaged = damaged_by_one_byte(session, "cytosummary_profiles")
        resting = session.ledger.descendants([damaged]).artifact_ids
        wanted = {one.id for one in session.ledger.numbers() if one.artifact_id in resting}
        assert session.ledger.artifacts() == artifacts
    found = cell_assets(other, "verify", "--all", "--json")
    assert found.code == 1
    unclean = {one["id"]: one["damaged"] for one in json.loads(found.out)["numbers"] if not one["clean"]}
    assert unclean == {number: [damaged] for number in wanted} and 0 < len(wanted) < len(stated)
    text = cell_assets(other, "verify", "--all").out
    assert all(f"number {number} (S1 " in text for number in wanted)
    assert f"{len(stated) - len(wanted)} of {len(stated)} numbers are clean" in text
