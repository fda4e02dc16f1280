"""Sizes said before work against real runs, refusals, and whole experiments whose tables store no patches."""

import json
from collections.abc import Callable

import pandas as pd
import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose, plan_experiment
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    opened,
    run,
    small_choices,
    small_run,
)

FULL = {"keep_free_bytes": 10**17}


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings]) -> Settings:
    return new_lab()


def full(settings: Settings) -> Settings:
    """The same lab on a disk without room."""
    return settings.model_copy(update=FULL)


def said(settings: Settings, *arguments: str, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A command on the full disk."""
    with monkeypatch.context() as patched:
        patched.setenv("CELL_ASSETS_KEEP_FREE_BYTES", str(FULL["keep_free_bytes"]))
        return cell_assets(settings, *arguments)


def test_a_plate_weighs_what_was_said_and_is_refused_where_it_does_not_fit(
    lab: Settings, two_fovs: PlateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = two_fovs.arguments("E1", "P1")
    planned = cell_assets(lab, "ingest", *arguments, "--plan", "--json")
    at_most = json.loads(planned.out)["bytes_at_most"]
    assert "time not known yet, GPU hours 0 (cpu)" in planned.err
    with opened(lab) as session:
        assert session.ledger.artifacts() == ()
    refused = said(lab, "ingest", *arguments, monkeypatch=monkeypatch)
    assert refused.code == 1
    assert "plate P1 will write up to" in refused.error_lines[-1]
    assert refused.error_lines[-1].endswith("move the store to a larger disk")
    with opened(lab) as session:
        assert session.ledger.artifacts() == ()
        assert session.ledger.plates() == ()
        assert_nothing_left(session)
    assert cell_assets(lab, "ingest", *arguments).code == 0
    with opened(lab) as session:
        (raw,) = session.ledger.artifacts("raw_acquisition")
        # 64 by 64 pixels: metadata is much of it. Of real plates the pixels are nearly all.
        assert raw.n_bytes <= at_most <= 2 * raw.n_bytes + 2**18
    again = cell_assets(lab, "ingest", *arguments, "--plan")
    assert "about" in again.err


def test_fovs_weigh_what_was_said_and_are_refused_where_they_do_not_fit(
    lab: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    choices = tmp_path_factory.mktemp("choices") / "none.json"
    choices.write_text(json.dumps(small_choices()))
    arguments = ["run", "--experiment", "E1", "--choices", str(choices)]
    plan = json.loads(cell_assets(lab, *arguments, "--plan", "--json").out)
    fovs, training, *_ = plan["costs"]
    assert fovs["bytes_from"] == "cells counted in the given tracks"
    assert (training["gpu_hours"], training["device"], training["bytes_at_most"]) == (0.0, "cpu", None)
    refused = said(lab, *arguments, monkeypatch=monkeypatch)
    assert refused.code == 1
    assert "fovs.patches.policy none" in refused.error_lines[-1]
    # The body refuses as well: a backfill in the UI asks no command.
    with opened(full(lab)) as session, session.executor() as executor:
        outcome = executor.materialise(["segmentation", "tracks", "patch_table"], partition="P1|A/1/000")
        assert not outcome.succeeded
        assert outcome.error is not None
        assert "plate P1 will write up to" in outcome.error
    with opened(lab) as session:
        assert session.ledger.artifacts("segmentation") == ()
        assert_nothing_left(session)
        assert run(session, small_run("E1")).failed == ()
        written = sum(
            artifact.n_bytes
            for asset in ("segmentation", "tracks", "patch_table")
            for artifact in session.ledger.artifacts(asset)
        )
    assert written <= fovs["bytes_at_most"] <= 3 * written
    after = json.loads(cell_assets(lab, *arguments, "--plan", "--json").out)["costs"]
    assert [cost["what"].split(",")[0] for cost in after] == ["training", "embedding", "features", "report"]
    assert all(cost["bytes_at_most"] > 0 and cost["seconds"] > 0 for cost in after)


def test_an_experiment_without_stored_patches_states_the_same_numbers(
    lab: Settings, two_fovs: PlateFolder
) -> None:
    """The raw acquisition is then an input of all that looks at patches."""
    with opened(lab) as session:
        stored = {
            (n.draft.report, n.draft.name, n.draft.split): n.draft for n in session.ledger.numbers("E1")
        }
        with_patches = session.ledger.latest("dynaclr_checkpoint", "E1")
        ingest_plate(session, two_fovs.request("E2", "P2"))
        choices = small_choices()
        choices["fovs"] = {"patches": {"side_px": 32, "policy": "none"}}
        outcome = run(session, small_run("E2").model_copy(update={"choices": choices}))
        assert outcome.failed == ()
        tables = [one for one in session.ledger.artifacts("patch_table") if one.partition.startswith("P2|")]
        assert len(tables) == 2
        for table in tables:
            names = {one.name for one in session.store.path_of(table).iterdir()}
            assert names == {"cells.parquet", "patch_table.json"}
        (raw,) = (one for one in session.ledger.artifacts("raw_acquisition") if one.partition == "P2")
        for asset, partition in (
            ("dynaclr_checkpoint", "E2"),
            ("dynaclr_embeddings", "E2|P2"),
            ("dynaclr_report", "E2"),
        ):
            made = session.ledger.latest(asset, partition)
            assert made is not None
            assert raw.id in {one.id for one in made.inputs}, asset
        without = session.ledger.latest("dynaclr_checkpoint", "E2")
        assert with_patches is not None
        assert without is not None
        weights = [
            (session.store.path_of(one.artifact) / "model.safetensors").read_bytes()
            for one in (with_patches, without)
        ]
        assert weights[0] == weights[1]
        cut = {(n.draft.report, n.draft.name, n.draft.split): n.draft for n in session.ledger.numbers("E2")}
        assert {key: draft.value for key, draft in cut.items()} == {
            key: draft.value for key, draft in stored.items()
        }
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
        report = session.ledger.latest("dynaclr_report", "E2")
        assert report is not None
        files = (session.store.path_of(report.artifact) / "predictions").glob("*.parquet")
        task = max(files, key=lambda file: len(pd.read_parquet(file))).stem
        number = next(n.id for n in session.ledger.numbers("E2") if n.draft.report == f"dynaclr/{task}")
    cell = cell_assets(lab, "explain", str(number), "--cell", "0", "--json")
    assert cell.code == 0, cell.err
    assert json.loads(cell.out)["chunks_give_patch"] is True


def keeping(experiment: str) -> RunRequest:
    """Choices under which the manifest decides which patches are stored."""
    choices = {**small_choices(), "fovs": {"patches": {"side_px": 32, "policy": "manifest"}}}
    return small_run(experiment).model_copy(update={"choices": choices})


def test_patches_that_the_manifest_keeps_state_the_same_numbers(lab: Settings, two_fovs: PlateFolder) -> None:
    """Manifest, kept patches and checkpoint are then a run each."""
    with opened(lab) as session:
        ingest_plate(session, two_fovs.request("E3", "P3"))
        request = keeping("E3")
        (said,) = (one for one in plan_experiment(session, request).costs if one.what.startswith("kept"))
        assert (said.what, said.bytes_from) == ("kept patches of 2 FOVs", "all of their cells")
        outcome = run(session, request)
        assert (outcome.failed, len(outcome.dagster_runs)) == ((), 7)
        made = session.ledger.latest("manifest_patches", "E3|P3")
        assert made is not None
        assert sorted(one.asset for one in made.inputs) == [
            "experiment_manifest",
            "patch_table",
            "patch_table",
            "raw_acquisition",
        ]
        folder = session.store.path_of(made.artifact)
        assert (
            sum(one.stat().st_size for one in folder.rglob("c/**/*") if one.is_file()) == said.bytes_at_most
        )
        for asset, partition in (("dynaclr_checkpoint", "E3"), ("dynaclr_embeddings", "E3|P3")):
            later = session.ledger.latest(asset, partition)
            assert later is not None
            assert made.artifact.id in {one.id for one in later.inputs}, asset
            assert "raw_acquisition" not in {one.asset for one in later.inputs}, asset
        stored, kept = (
            {
                (n.draft.report, n.draft.name, n.draft.split): n.draft.value
                for n in session.ledger.numbers(name)
            }
            for name in ("E1", "E3")
        )
        assert stored == kept
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
        assert not any(one.what.startswith("kept") for one in plan_experiment(session, request).costs)
        number = session.ledger.numbers("E3")[0].id
        with session.executor() as executor:
            other = executor.materialise(["manifest_patches"], partition="E1|P1")
        assert other.error is not None
        assert "no patch table of P1 was made by fovs.patches.policy manifest" in other.error
    refused = cell_assets(lab, "gc", "P3", "--asset", "manifest_patches")
    assert (refused.code, "a number rests on it" in refused.out) == (1, True)
    assert cell_assets(lab, "verify", str(number)).code == 0


@pytest.mark.slow
def test_kept_patches_are_asked_for_again_and_come_back_when_evicted(
    lab: Settings, two_fovs: PlateFolder
) -> None:
    with opened(lab) as session:
        ingest_plate(session, two_fovs.request("E4", "P4"))
        choose(session, keeping("E4"))
        record = session.ledger.plate("P4")
        assert record is not None
        positions = record.draft.positions
        with session.executor() as executor:
            keys = (f"P4|{positions[0]}", f"P4|{positions[-1]}")
            fovs = ["segmentation", "tracks", "patch_table"]
            assert executor.materialise(fovs, partition_range=keys).succeeded
            assert executor.materialise(["experiment_manifest"], partition="E4").succeeded
            early = executor.materialise(["dynaclr_checkpoint"], partition="E4")
            assert early.error is not None and "manifest_patches" in early.error
            assert executor.materialise(["manifest_patches"], partition="E4|P4").succeeded
        made = session.ledger.latest("manifest_patches", "E4|P4")
        assert made is not None
        folder = session.store.path_of(made.artifact)
    assert cell_assets(lab, "gc", "P4", "--asset", "manifest_patches").code == 0
    assert not folder.exists()
    again = cell_assets(lab, "restore", str(made.artifact.id))
    assert (again.code, f"the same digest {made.artifact.digest[:12]}" in again.out) == (0, True), again.err
    with opened(lab) as session:
        assert session.store.verify(made.artifact).is_verified
        # Another split is another manifest: patches kept by the one before would not do.
        request = keeping("E4")
        assert request.choices is not None
        request = request.model_copy(update={"choices": {**request.choices, "split": {"seed": 5}}})
        choose(session, request)
        with session.executor() as executor:
            assert executor.materialise(["experiment_manifest"], partition="E4").succeeded
            stale = executor.materialise(["dynaclr_checkpoint"], partition="E4")
            assert stale.error is not None
            assert "manifest_patches E4|P4 were made of an earlier manifest" in stale.error
        assert run(session, request).failed == ()
        attempts = session.ledger.attempts("manifest_patches", "E4|P4")
        assert [one.artifact_id for one in attempts] == [made.artifact.id, made.artifact.id]
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
