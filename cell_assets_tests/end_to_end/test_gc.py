"""`gc` on a store with living numbers, and evicted patch tables made again."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from cell_assets.assets.recipes import RECIPES
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import choose
from cell_assets.automation.session import Session
from cell_assets.ledger.records import ArtifactState, RunDraft
from cell_assets.settings import Settings
from cell_assets.store.store import VerdictState
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

FOV_CHAIN = ["segmentation", "tracks", "patch_table"]


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> Settings:
    """E1 with plate P1, reported twice, its patch tables made anew in between; E2 with P2, tables and no report."""
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        # Larger patches first: superseded, and no number ever rested on them.
        _chain(session, "E1", "P1", side_px=40)
        assert run(session, small_run("E1")).failed == ()
        assert run(session, small_run("E1", report_seed=1)).failed == ()
        ingest_plate(session, two_fovs.request("E2", "P2"))
        _chain(session, "E2", "P2", side_px=32)
    return settings


def _chain(session: Session, experiment: str, plate: str, side_px: int) -> None:
    request = small_run(experiment)
    choices = {**small_choices(), "fovs": {"patches": {"side_px": side_px}}}
    choose(session, request.model_copy(update={"choices": choices}))
    record = session.ledger.plate(plate)
    assert record is not None
    first, *_, last = record.draft.positions
    with session.executor() as executor:
        keys = (f"{plate}|{first}", f"{plate}|{last}")
        assert executor.materialise(FOV_CHAIN, partition_range=keys).succeeded


def assert_every_number_verifies(settings: Settings) -> None:
    with opened(settings) as session:
        ids = [number.id for number in session.ledger.numbers(superseded=True)]
    assert len(ids) > 10
    # Numbers of one report share their closure: one of each report reads all bytes.
    with opened(settings) as session:
        of_report = {session.ledger.number(one).artifact_id: one for one in ids}
    assert len(of_report) == 2
    for one in of_report.values():
        verified = cell_assets(settings, "verify", str(one), "--json")
        assert verified.code == 0, verified.out
        assert {node["verdict"] for node in json.loads(verified.out)["artifacts"]} == {"verified"}


def test_gc_lets_go_of_what_no_number_rests_on_and_of_nothing_else(lab: Settings) -> None:
    with opened(lab) as session:
        tables = session.ledger.artifacts("patch_table")
        superseded = {one.id for one in tables if one.partition.startswith("P1|")} - {
            made.artifact.id
            for made in session.ledger.latest_many("patch_table", [one.partition for one in tables]).values()
        }
        resting = session.ledger.ancestors(
            number.artifact_id for number in session.ledger.numbers(superseded=True)
        ).artifact_ids
    assert len(superseded) == 2

    young = json.loads(cell_assets(lab, "gc", "--dry-run", "--json").out)
    assert (young["evicted"], young["freed_bytes"]) == ([], 0)
    assert "it is out of use for less than 30 days" in {one["why"] for one in young["kept"]}

    with opened(lab) as session:
        left = session.store.root / ".staging" / "0123456789abcdef"
        (left / "half").mkdir(parents=True)
        (left / "half" / "file").write_bytes(b"bytes")
    dry = json.loads(cell_assets(lab, "gc", "--older-than", "0", "--dry-run", "--json").out)
    assert (dry["sweep"]["removed_staging"], dry["sweep"]["freed_bytes"]) == (1, 5)
    assert left.is_dir()
    assert {one["artifact"] for one in dry["evicted"]} == superseded
    assert dry["freed_bytes"] == sum(one.n_bytes for one in tables if one.id in superseded)
    with opened(lab) as session:
        assert session.ledger.evicted() == frozenset()
        assert_published_is_whole(session)

    done = json.loads(cell_assets(lab, "gc", "--older-than", "0", "--json").out)
    assert {one["artifact"] for one in done["evicted"]} == superseded
    assert done["freed_bytes"] == dry["freed_bytes"]
    assert done["sweep"] == dry["sweep"]
    assert not left.exists()
    assert resting <= {one["artifact"] for one in done["kept"]}
    with opened(lab) as session:
        assert session.ledger.evicted() == superseded
        for one in superseded:
            artifact = session.ledger.artifact(one)
            assert not session.store.path_of(artifact).exists()
            assert session.store.verify(artifact).state is VerdictState.UNVERIFIABLE
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
        assert session.reconcile(mend=False).left == ()
    assert_every_number_verifies(lab)

    again = cell_assets(lab, "restore", *map(str, sorted(superseded)))
    assert (again.code, again.out.count("was made again: the same digest")) == (0, 2), again.err
    with opened(lab) as session:
        assert session.ledger.evicted() == frozenset()
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
        latest = session.ledger.latest_many("patch_table", [one.partition for one in tables])
        assert not superseded & {made.artifact.id for made in latest.values()}
    assert cell_assets(lab, "gc", "--older-than", "0").code == 0


def test_tables_of_a_plate_in_no_report_go_by_name_and_come_back(lab: Settings) -> None:
    refused = cell_assets(lab, "gc", "P1", "--asset", "patch_table")
    assert refused.code == 1
    assert refused.out.count("a number rests on it") == 2

    evicted = cell_assets(lab, "gc", "P2", "--asset", "patch_table")
    assert (evicted.code, evicted.out.count("asked for")) == (0, 2), evicted.out
    with opened(lab) as session:
        gone = session.ledger.artifacts("patch_table", ArtifactState.EVICTED)
        mine = {one.id: one.digest for one in gone if one.partition.startswith("P2|")}
        assert len(mine) == 2
        before = len(session.ledger.attempts("patch_table", gone[-1].partition))
    first, second = mine
    assert cell_assets(lab, "restore", str(first)).code == 0
    # The newest version of its partition: an ordinary run makes it again, as a re-creation of the same artifact.
    with opened(lab) as session:
        key = session.ledger.artifact(second).partition
        with session.executor() as executor:
            assert executor.materialise(FOV_CHAIN, partition=key).succeeded
        latest = session.ledger.latest("patch_table", key)
        assert latest is not None
        assert (latest.artifact.id, latest.artifact.digest) == (second, mine[second])
        assert len(session.ledger.attempts("patch_table", key)) == before + 1
        assert session.store.verify(session.ledger.artifact(first)).is_verified
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
    assert_every_number_verifies(lab)


def test_what_never_goes_is_refused_in_a_sentence(lab: Settings) -> None:
    with opened(lab) as session:
        made = {
            asset: session.ledger.artifacts(asset)[0].id
            for asset in ("raw_acquisition", "tracks", "dynaclr_checkpoint", "dynaclr_report")
        }
    for asset, artifact in made.items():
        said = cell_assets(lab, "gc", str(artifact))
        assert said.code == 1
        assert f"{asset} cannot be made again, byte for byte, from the store alone" in said.out
    unknown = cell_assets(lab, "gc", "P9")
    assert (unknown.code, unknown.error_lines[0].startswith("error: P9 has no")) == (1, True)
    present = cell_assets(lab, "restore", str(made["tracks"]))
    assert (present.code, "only evicted bytes are restored" in present.err) == (1, True)


def test_other_bytes_are_not_kept_and_the_reason_is_named(lab: Settings) -> None:
    """A table that other code made, as an older checkout may have: today's makes other bytes of the same inputs."""
    with opened(lab) as session:
        store, ledger = session.store, session.ledger
        made = ledger.latest("patch_table", ledger.plates("E2")[0].draft.name + "|A/1/000")
        assert made is not None
        older = replace(
            made.run.code, code_version="f" * 64, git_commit="c" * 40, environment_digest="e" * 64
        )
        with store.write("patch_table", made.run.partition) as staged:
            (staged.path / "cells.parquet").write_bytes(b"other")
            draft = RunDraft(older, made.run.parameters, made.run.started)
            receipts = [store.receipt(one) for one in made.inputs]
            table = store.publish(staged, draft, receipts, RECIPES["patch_table"].format).artifact
        store.evict(table)
    said = cell_assets(lab, "restore", str(table.id))
    assert said.code == 1
    assert (
        "came out as other bytes, which were not kept: the code was ffffffffffff (commit cccccccccccc)"
        in said.err
    )
    assert "; the environment was eeeeeeeeeeee and is" in said.err
    with opened(lab) as session:
        assert session.ledger.artifact(table.id).state is ArtifactState.EVICTED
        assert_nothing_left(session)
        assert_published_is_whole(session)


def test_an_input_that_is_damaged_is_named(lab: Settings) -> None:
    with opened(lab) as session:
        table = session.ledger.artifacts("patch_table")[0]
        session.store.evict(table)
        raw = next(one for one in session.ledger.provenance(session.ledger.runs(table.id)[-1].id).inputs)
        assert raw.asset == "raw_acquisition"
        chunks = session.store.path_of(raw) / "plate.zarr" / table.partition.split("|")[1] / "0" / "c"
        chunk = next(one for one in chunks.rglob("*") if one.is_file())
        whole = chunk.read_bytes()
        chunk.chmod(0o644)
        chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = cell_assets(lab, "restore", str(table.id))
        assert (said.code, "is not what was ingested: 1 changed" in said.err) == (1, True)
        chunk.write_bytes(whole)
        assert cell_assets(lab, "restore", str(table.id)).code == 0
