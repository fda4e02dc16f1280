"""Ledger, store, Dagster and MLflow made to disagree, one way after the other, and reconciled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from mlflow import MlflowClient

from cell_assets.assets.checks import BYTES_AS_PUBLISHED, LEDGER_AGREES, NOT_WITHDRAWN
from cell_assets.assets.recipes import RECIPES
from cell_assets.audit.agreement import Fault, Reconciliation
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.nightly import compare_displays, scrub_store
from cell_assets.automation.running import plan_experiment
from cell_assets.automation.session import Session
from cell_assets.definitions import build_defs
from cell_assets.resources.mlflow_registry import DIGEST_TAG
from cell_assets.settings import Settings
from cell_assets.store.boundaries import Boundary
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    cell_assets,
    instance_of,
    opened,
    run,
    run_until_killed,
    small_run,
)

CHECKPOINT = "dynaclr_checkpoint"


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> Settings:
    """E1 with plate P1, made up to its report."""
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
    return settings


def _faults(found: Reconciliation) -> tuple[list[tuple[Fault, str]], list[tuple[Fault, str]]]:
    """What was mended and what is left."""
    return [(one.fault, one.asset) for one in found.mended], [(one.fault, one.asset) for one in found.left]


def _red(session: Session, check: str) -> set[str]:
    """Assets whose check's last word is a failure; a check that was planned and not answered is a fault."""
    with instance_of(session) as instance:
        last = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(dg.AssetKey(asset), check) for asset in RECIPES]
        )
    words = {key.asset_key.to_user_string(): record.status.value for key, record in last.items()}
    assert set(words.values()) <= {"SUCCEEDED", "FAILED"}, words
    return {asset for asset, word in words.items() if word == "FAILED"}


def test_a_sound_lab_agrees_and_its_events_name_their_place_in_history(lab: Settings) -> None:
    said = cell_assets(lab, "reconcile", "--json")
    found = json.loads(said.out)
    assert (said.code, found["mended"], found["left"]) == (0, [], [])
    assert found["artifacts"] == found["dagster_events"] == 3 + 3 * 2 + 4
    assert found["mlflow_versions"] == 1
    with opened(lab) as session, instance_of(session) as instance:
        assert _red(session, LEDGER_AGREES) == set()
        for asset in RECIPES:
            for record in instance.fetch_materializations(dg.AssetKey(asset), limit=10).records:
                event = record.asset_materialization
                assert event is not None
                shown = event.metadata["ledger_run"].value
                assert isinstance(shown, int)
                sealed = session.ledger.entries_of_runs([shown])[shown]
                assert event.metadata["ledger_entry"].value == sealed
        (record,) = instance.fetch_materializations(dg.AssetKey(CHECKPOINT), limit=10).records
        assert record.asset_materialization is not None
        assert record.asset_materialization.metadata["mlflow"].value == "E1.dynaclr version 1"


def test_an_event_that_dagster_lost_is_shown_again(lab: Settings) -> None:
    with opened(lab) as session:
        with instance_of(session) as instance:
            instance.wipe_assets([dg.AssetKey("tracks")])
        dry = session.reconcile(mend=False)
        assert _faults(dry) == ([], [(Fault.NOT_SHOWN, "tracks")] * 2)
        assert _red(session, LEDGER_AGREES) == {"tracks"}
        assert _faults(session.reconcile(mend=True)) == ([(Fault.NOT_SHOWN, "tracks")] * 2, [])
        assert _red(session, LEDGER_AGREES) == set()
        assert _faults(session.reconcile(mend=True)) == ([], [])


def test_an_event_of_nothing_is_red_until_the_events_are_wiped(lab: Settings) -> None:
    invented = dg.AssetMaterialization("plate_qc", partition="P1", metadata={"digest": "0" * 64})
    with opened(lab) as session:
        with instance_of(session) as instance:
            instance.report_runless_asset_event(invented)
        found = session.reconcile(mend=True)
        assert _faults(found) == ([], [(Fault.NO_ARTIFACT, "plate_qc")])
        assert found.left[0].partition == "P1"
        assert _red(session, LEDGER_AGREES) == {"plate_qc"}
    said = cell_assets(lab, "reconcile")
    assert said.code == 1
    assert "plate_qc P1: shown by Dagster alone" in said.out
    with opened(lab) as session:
        with instance_of(session) as instance:
            instance.wipe_assets([dg.AssetKey("plate_qc")])
        assert _faults(session.reconcile(mend=True)) == ([(Fault.NOT_SHOWN, "plate_qc")], [])


def test_an_event_of_other_bytes_is_named(lab: Settings) -> None:
    with opened(lab) as session:
        latest = session.ledger.latest("plate_qc", "P1")
        assert latest is not None
        forged = {"ledger_run": latest.run.id, "digest": latest.artifact.digest, "ledger_entry": "0" * 64}
        with instance_of(session) as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization("plate_qc", partition="P1", metadata=forged)
            )
        _, left = _faults(session.reconcile(mend=True))
        assert left == [(Fault.OTHER_ARTIFACT, "plate_qc"), (Fault.SHOWN_TWICE, "plate_qc")]
        with instance_of(session) as instance:
            instance.wipe_assets([dg.AssetKey("plate_qc")])
        session.reconcile(mend=True)


def test_a_registered_model_whose_bytes_changed_is_red(lab: Settings) -> None:
    with opened(lab) as session:
        (checkpoint,) = session.ledger.artifacts(CHECKPOINT)
        weights = next(session.store.path_of(checkpoint).rglob("*.safetensors"))
        sound = weights.read_bytes()
        weights.chmod(0o644)
        weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        found = session.reconcile(mend=True)
        assert _faults(found) == ([], [(Fault.MODEL_CHANGED, CHECKPOINT)])
        assert weights.name in found.left[0].why
        assert _red(session, LEDGER_AGREES) == {CHECKPOINT}
        assert run(session, small_run("E1")).failed == ()
        assert _red(session, LEDGER_AGREES) == {CHECKPOINT}
        weights.write_bytes(sound)
        weights.chmod(0o444)
        assert _faults(session.reconcile(mend=True)) == ([], [])


def test_versions_of_the_registry_are_held_against_the_ledger(lab: Settings) -> None:
    with opened(lab) as session:
        mlflow = MlflowClient(session.addresses.mlflow, session.addresses.mlflow)
        (checkpoint,) = session.ledger.artifacts(CHECKPOINT)
        folder = str(session.store.path_of(checkpoint))
        tags = {DIGEST_TAG: checkpoint.digest}
        mlflow.create_model_version("E1.dynaclr", folder, tags=tags)
        assert _faults(session.reconcile(mend=True)) == ([(Fault.VERSION_NOT_RECORDED, CHECKPOINT)], [])
        assert [one.version for one in session.ledger.model_versions([checkpoint.id])] == ["1", "2"]

        mlflow.create_model_version("E1.dynaclr", folder, tags={DIGEST_TAG: "0" * 64})
        assert _faults(session.reconcile(mend=True)) == ([], [(Fault.OTHER_MODEL, CHECKPOINT)])
        assert _red(session, LEDGER_AGREES) == {CHECKPOINT}
        mlflow.delete_model_version("E1.dynaclr", "3")
        mlflow.delete_model_version("E1.dynaclr", "2")
        assert _faults(session.reconcile(mend=True)) == ([], [])


def test_a_version_that_mlflow_lost_is_registered_again(lab: Settings) -> None:
    with opened(lab) as session:
        mlflow = MlflowClient(session.addresses.mlflow, session.addresses.mlflow)
        (checkpoint,) = session.ledger.artifacts(CHECKPOINT)
        mlflow.delete_registered_model("E1.dynaclr")
        found = session.reconcile(mend=True)
        assert _faults(found) == ([(Fault.NOT_REGISTERED, CHECKPOINT)], [])
        assert "MLflow has no E1.dynaclr version 1" in found.mended[0].why
        (again,) = mlflow.search_model_versions("name = 'E1.dynaclr'")
        assert again.tags[DIGEST_TAG] == checkpoint.digest
        assert session.ledger.model_versions([checkpoint.id])[0].version == str(again.version)


def test_one_that_cannot_be_registered_is_listed(lab: Settings) -> None:
    with opened(lab) as session:
        mlflow = MlflowClient(session.addresses.mlflow, session.addresses.mlflow)
        (checkpoint,) = session.ledger.artifacts(CHECKPOINT)
        history = session.store.path_of(checkpoint) / "history.parquet"
        sound = history.read_bytes()
        history.chmod(0o644)
        history.write_bytes(b"no table")
        mlflow.delete_registered_model("E1.dynaclr")
        assert _faults(session.reconcile(mend=True)) == ([], [(Fault.NOT_REGISTERED, CHECKPOINT)])
        history.write_bytes(sound)
        history.chmod(0o444)
        assert _faults(session.reconcile(mend=True)) == ([(Fault.NOT_REGISTERED, CHECKPOINT)], [])


def test_a_new_lab_agrees(new_lab: Callable[[], Settings]) -> None:
    with opened(new_lab()) as session:
        assert _faults(session.reconcile(mend=True)) == ([], [])
        assert _nightly(session, scrub_store, {}).success


def test_folders_are_held_against_the_ledger(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        (quality,) = session.ledger.artifacts("plate_qc")
        folder = session.store.path_of(quality)
        stray = folder.with_name("0123456789ab")
        shutil.copytree(folder, stray)
        folder.rename(folder.with_name("elsewhere"))
        _, left = _faults(session.reconcile(mend=True))
        assert left == [(Fault.BYTES_MISSING, "plate_qc"), (Fault.NOT_RECORDED, "plate_qc")]
        assert stray.is_dir()
        session.store.sweep()
        folder.with_name("elsewhere").rename(folder)
        assert _faults(session.reconcile(mend=True)) == ([], [])


def test_a_run_that_died_after_it_wrote_is_red_until_it_is_shown(
    new_lab: Callable[[], Settings], home: Path, two_fovs: PlateFolder
) -> None:
    settings = Settings(home=home, database_url=None, workers=1)
    run_until_killed(home, Boundary.COMMIT, "raw_acquisition", "ingest", two_fovs.request("E1", "P1"))
    with opened(settings) as session:
        # The next command marks the run of the dead process as failed; until then it counts as alive.
        assert _faults(session.reconcile(mend=False)) == ([], [])
        with instance_of(session) as instance:
            for alive in instance.get_runs():
                instance.report_run_failed(alive, "its command was killed")
        assert _faults(session.reconcile(mend=False)) == ([], [(Fault.NOT_SHOWN, "raw_acquisition")])
        assert _red(session, LEDGER_AGREES) == {"raw_acquisition"}
        assert _faults(session.reconcile(mend=True)) == ([(Fault.NOT_SHOWN, "raw_acquisition")], [])
        assert_dagster_agrees(session)


def _nightly(session: Session, job: dg.JobDefinition, config: dict[str, object]) -> dg.ExecuteInProcessResult:
    with instance_of(session) as instance:
        return (
            build_defs(session.settings)
            .resolve_job_def(job.name)
            .execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        )


def test_the_nightly_scrub_covers_the_store_share_by_share_and_names_damage(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    share = {"ops": {"re_hash": {"config": {"share": 0.01}}}}
    everything = {"ops": {"re_hash": {"config": {"share": 1.0}}}}
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        raw, quality = (session.ledger.artifacts(asset)[0] for asset in ("raw_acquisition", "plate_qc"))
        assert _nightly(session, scrub_store, share).success
        assert set(session.ledger.verifications([raw.id, quality.id])) == {raw.id}
        assert _nightly(session, scrub_store, share).success
        assert set(session.ledger.verifications([raw.id, quality.id])) == {raw.id, quality.id}
        assert _red(session, BYTES_AS_PUBLISHED) == set()

        damaged = next(path for path in session.store.path_of(quality).rglob("*") if path.is_file())
        damaged.chmod(0o644)
        damaged.write_bytes(damaged.read_bytes()[:-1])
        result = _nightly(session, scrub_store, everything)
        assert not result.success
        assert _red(session, BYTES_AS_PUBLISHED) == {"plate_qc"}
        with instance_of(session) as instance:
            key = dg.AssetCheckKey(dg.AssetKey("plate_qc"), BYTES_AS_PUBLISHED)
            (last,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        said = last.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
        assert said.metadata["bytes_found_whole"].value == 0
        assert said.metadata["never_rehashed"].value == 0
        assert damaged.name in said.metadata["faults"].value[0]


def test_the_nightly_comparison_fails_where_they_disagree(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert _nightly(session, compare_displays, {}).success
        with instance_of(session) as instance:
            instance.wipe_assets([dg.AssetKey("plate_qc")])
        assert not _nightly(session, compare_displays, {}).success
        assert _red(session, LEDGER_AGREES) == {"plate_qc"}


def test_what_is_withdrawn_is_red_in_dagster_until_something_else_stands(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        run(session, small_run("E1"))
    (checkpoint,) = _artifacts(settings, CHECKPOINT)
    assert (
        cell_assets(settings, "impact", f"artifact:{checkpoint}", "--tombstone", "--why", "wrong").code == 0
    )
    with opened(settings) as session:
        assert _red(session, NOT_WITHDRAWN) == {CHECKPOINT, "dynaclr_embeddings", "dynaclr_report"}
        with instance_of(session) as instance:
            (seen,) = instance.fetch_observations(dg.AssetKey(CHECKPOINT), limit=10).records
        assert seen.asset_observation is not None
        assert seen.asset_observation.partition == "E1"
        assert seen.asset_observation.description == "withdrawn: wrong"
        assert _faults(session.reconcile(mend=True)) == ([], [])
        assert run(session, small_run("E1", training_seed=1)).failed == ()
        assert _red(session, NOT_WITHDRAWN) == set()
        assert _faults(session.reconcile(mend=True)) == ([], [])


def test_a_withdrawal_that_dagster_was_not_told_of_is_told(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        (quality,) = session.ledger.artifacts("plate_qc")
        session.ledger.withdraw({quality.id: "out of focus"})
        expected = [(Fault.WITHDRAWAL_NOT_SHOWN, "plate_qc")]
        assert _faults(session.reconcile(mend=False)) == ([], expected)
        assert _faults(session.reconcile(mend=True)) == (expected, [])
        assert _red(session, NOT_WITHDRAWN) == {"plate_qc"}


def test_a_withdrawn_well_is_left_out_from_then_on(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
    said = cell_assets(settings, "impact", "P1|A/2", "--tombstone", "--why", "contaminated")
    assert said.code == 0
    with opened(settings) as session:
        assert [number for number in session.ledger.numbers("E1") if number.withdrawn_because is None] == []
        plan = plan_experiment(session, small_run("E1"))
        assert "all 1 FOVs are current, 1 more were withdrawn" in plan.text()
        run(session, small_run("E1"))
        manifest = session.ledger.latest("experiment_manifest", "E1")
        assert manifest is not None
        assert {one.partition for one in manifest.inputs if one.asset == "patch_table"} == {"P1|A/1/000"}
        with session.executor() as executor:
            refused = executor.materialise(["segmentation", "tracks", "patch_table"], partition="P1|A/2/000")
        assert refused.error == "position A/2/000 of plate P1 was withdrawn: contaminated"


def test_a_check_that_is_executed_alone_says_which_job_answers_it(lab: Settings) -> None:
    with opened(lab) as session, instance_of(session) as instance:
        checks = [dg.AssetCheckKey(dg.AssetKey("plate_qc"), LEDGER_AGREES)]
        job = build_defs(session.settings).resolve_implicit_global_asset_job_def()
        result = job.get_subset(asset_selection=set(), asset_check_selection=set(checks)).execute_in_process(
            instance=instance, raise_on_error=False
        )
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        said = failure.step_failure_data.user_failure_data
        assert said is not None
        assert "launch the job `compare_displays` for ledger_agrees" in (said.description or "")


def _artifacts(settings: Settings, asset: str) -> list[int]:
    with opened(settings) as session:
        return [one.id for one in session.ledger.artifacts(asset)]
