"""A plate with one corrupt FOV of twelve: eleven land, one is named and red, a rerun after repair makes that one."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from cell_assets.assets.partitions import fov_key, fovs
from cell_assets.automation.session import Session
from cell_assets.imaging.fov_chain import Stage
from cell_assets.ledger.records import RunOutcome
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    damage,
    instance_of,
    opened,
    small_choices,
    successful_runs,
    tiny_plate,
)

N_FOVS = 12
CORRUPT = "A/2/003"


def shown(session: Session, stage: Stage) -> dict[str, str]:
    """Colour of every FOV's partition as the UI computes it."""
    plate = session.ledger.plate("P1")
    assert plate is not None
    keys = [fov_key("P1", position) for position in plate.draft.positions]
    with instance_of(session) as instance:
        statuses = instance.get_status_by_partition(dg.AssetKey(stage.value), keys, fovs)
    assert statuses is not None
    return {
        key: AssetPartitionStatus(status).value if status else "MISSING" for key, status in statuses.items()
    }


def partitions_made(session: Session, stage: Stage, after: set[int]) -> list[str]:
    runs = successful_runs(session, stage.value)
    return sorted(run.partition for id, run in runs.items() if id not in after)


def events(session: Session, stage: Stage) -> dict[int, str]:
    """Storage id to partition of every materialisation."""
    with instance_of(session) as instance:
        records = instance.fetch_materializations(dg.AssetKey(stage.value), limit=1000).records
    return {record.storage_id: str(record.partition_key) for record in records}


def test_one_corrupt_fov_of_twelve(new_lab: Callable[[], Settings], tmp_path: Path) -> None:
    settings = new_lab()
    plate = tiny_plate(tmp_path / "plate", fovs_per_well=N_FOVS // 2)
    choices = tmp_path / "choices.json"
    choices.write_text(json.dumps(small_choices()))
    command = ("run", "--experiment", "E1", "--choices", str(choices))
    ingest = ("ingest", *plate.arguments("E1", "P1"))
    assert cell_assets(settings, *ingest).code == 0

    with opened(settings) as session:
        chunk = damage(session, CORRUPT)
        failed = cell_assets(settings, *command)
        assert failed.code == 1
        red = fov_key("P1", CORRUPT)
        assert f"1 FOV failed: {red}: segmentation: " in failed.out + failed.err
        assert chunk.name in failed.out + failed.err
        assert "Traceback" not in failed.out + failed.err

        for stage in Stage:
            statuses = shown(session, stage)
            assert len(statuses) == N_FOVS
            assert {key for key, status in statuses.items() if status == "FAILED"} == {red}
            assert list(statuses.values()).count("MATERIALIZED") == N_FOVS - 1
            assert len(partitions_made(session, stage, after=set())) == N_FOVS - 1
        (attempt,) = session.ledger.attempts("segmentation", red)
        assert attempt.outcome is RunOutcome.FAILED
        assert CORRUPT in str(attempt.error)
        assert session.ledger.latest("experiment_manifest", "E1") is None
        assert_nothing_left(session)
        assert_dagster_agrees(session)

        before = {stage: set(successful_runs(session, stage.value)) for stage in Stage}
        shown_before = {stage: set(events(session, stage)) for stage in Stage}
        repaired = cell_assets(settings, *ingest)
        assert repaired.code == 0, repaired.err
        assert_published_is_whole(session)
        assert len(session.ledger.artifacts("raw_acquisition")) == 1

        again = cell_assets(settings, *command)
        assert again.code == 0, again.err
        for stage in Stage:
            assert partitions_made(session, stage, after=before[stage]) == [red]
            new = {id: key for id, key in events(session, stage).items() if id not in shown_before[stage]}
            assert list(new.values()) == [red]
            assert set(shown(session, stage).values()) == {"MATERIALIZED"}
        assert session.ledger.latest("dynaclr_report", "E1") is not None
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)


@pytest.mark.parametrize("spoil", [lambda chunk: chunk.unlink(), lambda chunk: chunk.write_bytes(b"")])
def test_ingesting_again_puts_lost_bytes_back(
    new_lab: Callable[[], Settings], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    settings = new_lab()
    ingest = ("ingest", *tiny_plate(tmp_path / "plate").arguments("E1", "P1"))
    assert cell_assets(settings, *ingest).code == 0
    with opened(settings) as session:
        chunk = damage(session, "A/1/000")
        chunk.parent.chmod(0o755)
        chunk.chmod(0o644)
        spoil(chunk)
        runs = len(successful_runs(session, "raw_acquisition"))
        assert cell_assets(settings, *ingest).code == 0
        assert_published_is_whole(session)
        assert len(successful_runs(session, "raw_acquisition")) == runs + 1
        # Sound bytes are left as they are.
        assert cell_assets(settings, *ingest).code == 0
        assert len(successful_runs(session, "raw_acquisition")) == runs + 1
        assert_nothing_left(session)
        assert_dagster_agrees(session)
