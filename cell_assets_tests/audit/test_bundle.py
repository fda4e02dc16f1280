"""What goes into a bundle, that it is true when made, and that it is described for people and programs."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from rocrate.rocrate import ROCrate

from cell_assets.audit.attestation import PrivateKey
from cell_assets.audit.bundle import MadeBundle, make_bundle
from cell_assets.audit.bundle_text import to_json, to_text
from cell_assets.audit.explain import explain
from cell_assets.audit.explain import to_json as explanation_json
from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError, NotFoundError
from cell_assets.ledger import schema
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact
from cell_assets.store.digest import DIGEST_TYPE
from cell_assets.store.manifest import manifest_path, read_manifest
from cell_assets.store.store import Store
from cell_assets_tests.audit.bundles import (
    DIFF,
    DRAFT,
    MANIFEST_FILES,
    PACKAGES,
    key_pair,
    make_history,
    members_of,
    numbers_json,
    report_files,
)
from cell_assets_tests.audit.test_verify import edit
from cell_assets_tests.ledger.editing import unguarded


def make(store: Store, target: Path, key: PrivateKey | None = None) -> MadeBundle:
    (number,) = store.ledger.numbers("E1")
    return make_bundle(store, number.id, target, key)


def one(store: Store, asset: str) -> Artifact:
    return store.ledger.artifacts(asset)[0]


def test_a_bundle_holds_what_was_promised(store: Store, tmp_path: Path) -> None:
    number_id = make_history(store)
    made = make(store, tmp_path / "x.zip")
    members = members_of(made.path)
    assert {name: members.pop(f"report/{name}") for name in report_files()} == report_files()
    frozen = one(store, "experiment_manifest")
    place = f"inputs/experiment_manifest/E1/{frozen.digest[:12]}"
    assert {name: members.pop(f"{place}/{name}") for name in MANIFEST_FILES} == MANIFEST_FILES
    closure = [node.artifact for node in explain(store.ledger, number_id).artifacts]
    assert {artifact.asset for artifact in closure} == {
        "dynaclr_report",
        "experiment_manifest",
        "tracks",
        "raw_acquisition",
    }
    for artifact in closure:
        listed = members.pop(f"manifests/{artifact.uri}.files.json")
        path = tmp_path / "listed.json"
        path.write_bytes(listed)
        assert read_manifest(path, artifact.digest) is not None
    digests = store.ledger.attempts("tracks", "P1|A/1/000")[-1].code
    assert members.pop(f"code/{digests.dirty_diff_digest}.diff") == DIFF
    assert members.pop(f"environment/{digests.environment_digest}.txt") == PACKAGES
    assert sorted(members) == ["ledger.sqlite", "ro-crate-metadata.json", "statement.intoto.json"]
    assert made.environments_without_text == ("e" * 64,)
    assert "environment eeeeeeeeeeee has no text" in to_text(made)
    assert json.loads(to_json(made))["environments_without_text"] == ["e" * 64]
    extract = tmp_path / "ledger.sqlite"
    extract.write_bytes(members["ledger.sqlite"])
    with Ledger.open(f"sqlite:///{extract}") as ledger:
        told, whole = (explanation_json(explain(one, number_id)) for one in (ledger, store.ledger))
        assert told == whole
        assert [run["error"] for node in json.loads(told)["artifacts"] for run in node["failures"]] == [
            "no memory"
        ]
        assert ledger.choices("E1") == {"preset": "quick"}
        assert [plate.draft.name for plate in ledger.plates()] == ["P1"]


def test_the_statement_is_about_every_member_and_everything_behind_the_number(
    store: Store, tmp_path: Path
) -> None:
    number_id = make_history(store)
    secret, _ = key_pair(tmp_path / "key")
    key = PrivateKey.read(secret)
    members = members_of(make(store, tmp_path / "x.zip", key).path)
    said = json.loads(members["statement.intoto.json"])
    assert (said["_type"], said["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "urn:cell-assets:evidence-bundle:1",
    )
    assert {one["name"]: one["digest"] for one in said["subject"]} == {
        name: {"sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if not name.startswith("statement.")
    }
    predicate = said["predicate"]
    assert predicate["number"] | {"recorded": ""} == {
        "id": number_id,
        "experiment": "E1",
        "report": "dynaclr/infection",
        "name": "auc",
        "split": "test tracks",
        "value": 0.1 + 0.2,
        "ci_low": 0.1,
        "ci_high": 1 / 3,
        "n": 3,
        "unit": "tracks",
        "why_missing": None,
        "withdrawn_because": None,
        "recorded": "",
    }
    assert {(one["asset"], one["digest"], one["digest_type"]) for one in predicate["artifacts"]} == {
        (node.artifact.asset, node.artifact.digest, DIGEST_TYPE)
        for node in explain(store.ledger, number_id).artifacts
    }
    head = store.ledger.check_chain()
    assert predicate["chain_head"]["digest"] == head.head
    assert predicate["signer"]["keyid"] == key.public.keyid
    hidden = secret.read_bytes().splitlines()[1]
    assert not any(hidden in content for content in members.values())


def test_the_same_history_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    make_history(store)
    key = PrivateKey.read(key_pair(tmp_path / "key")[0])
    first, second = (make(store, tmp_path / name, key).path.read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    store.ledger.record_choices("E1", {"preset": "paper"})
    assert make(store, tmp_path / "c.zip", key).path.read_bytes() != first


def test_the_crate_says_the_facts(store: Store, tmp_path: Path) -> None:
    number_id = make_history(store)
    path = make(store, tmp_path / "x.zip").path
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "crate")
    crate = ROCrate(tmp_path / "crate")
    number = store.ledger.number(number_id)
    assert crate.metadata["conformsTo"] == "https://w3id.org/ro/crate/1.2"
    assert crate.name == f"Evidence for number {number_id}: dynaclr/infection auc, test tracks"
    assert crate.root_dataset["datePublished"] == number.recorded.isoformat()
    assert crate.license is None
    main = crate.mainEntity
    assert (main.type, main["value"]) == ("PropertyValue", DRAFT.value)
    beside = {one["name"]: one for one in main["valueReference"]}
    assert (beside["n, independent units"]["value"], beside["n, independent units"]["unitText"]) == (
        3,
        "tracks",
    )
    interval = beside["95 % interval"]
    assert (interval["minValue"], interval["maxValue"]) == (DRAFT.ci_low, DRAFT.ci_high)
    files = {file.id: file for file in crate.get_by_type("File")}
    assert {Path(tmp_path / "crate" / unquote(one)).is_file() for one in files} == {True}
    assert len(files) == len(members_of(path)) - 1  # the metadata does not list itself
    for name, file in files.items():
        if file.get("contentSize") is not None:
            assert int(file["contentSize"]) == (tmp_path / "crate" / unquote(name)).stat().st_size
    actions = {action.id: action for action in crate.get_by_type("CreateAction")}
    told = explain(store.ledger, number_id)
    assert {f"#run-{run.run.id}" for node in told.artifacts for run in node.runs} == set(actions)
    for node in told.artifacts:
        for run in node.runs:
            action = actions[f"#run-{run.run.id}"]
            assert action["result"]["identifier"] == f"{DIGEST_TYPE}:{node.artifact.digest}"
            read = {one["name"] for one in action.get("object", []) if one.type == "Dataset"}
            assert len(read) == len(run.input_ids)
            assert {one["name"] for one in action["object"] if one.type == "PropertyValue"} == {"seed"}
            assert action["instrument"]["identifier"] == run.run.code.code_version
            assert action["startTime"] == run.run.started.isoformat()
    assert actions[f"#run-{number.run_id}"]["result"].id == "report/"
    assert {one.id for one in crate.root_dataset["mentions"]} == set(actions)


def test_a_withdrawn_number_is_bundled_and_said_to_be(store: Store, tmp_path: Path) -> None:
    number_id = make_history(store)
    store.ledger.withdraw({one(store, "raw_acquisition").id: "contaminated"})
    store.ledger.withdraw({one(store, "dynaclr_report").id: "rests on P1"})
    store.ledger.withdraw({}, plate="P1", reason="contaminated too")
    made = make_bundle(store, number_id, tmp_path / "x.zip")
    assert to_text(made).count("WITHDRAWN") == 4  # the number's own line, two artifacts, the plate
    said = json.loads(members_of(made.path)["statement.intoto.json"])["predicate"]
    assert said["number"]["withdrawn_because"] == "rests on P1"
    assert {one["reason"] for one in said["withdrawn"]} == {"contaminated", "rests on P1", "contaminated too"}
    assert b"has been withdrawn" in members_of(made.path)["ro-crate-metadata.json"]


@pytest.mark.parametrize("asset", ["raw_acquisition", "tracks", "experiment_manifest", "dynaclr_report"])
def test_a_changed_or_missing_list_of_files_is_refused(store: Store, tmp_path: Path, asset: str) -> None:
    make_history(store)
    path = manifest_path(store.path_of(one(store, asset)))
    whole = path.read_bytes()
    for broken in (whole.replace(b'"digest":"', b'"digest": "').replace(b"[[", b"[[[", 1), whole[:-9]):
        edit(path, broken)
        with pytest.raises(ChangedBytesError, match=f"which lists the files of {asset}"):
            make(store, tmp_path / "x.zip")
    edit(path, whole.replace(b'"partition":"', b'"partition":"other '))
    with pytest.raises(ChangedBytesError, match="was changed"):
        make(store, tmp_path / "x.zip")
    path.unlink()
    with pytest.raises(NotFoundError, match="is gone"):
        make(store, tmp_path / "x.zip")
    assert not list(tmp_path.glob("*zip*"))


def test_a_list_of_files_that_cannot_be_read_is_one_sentence(store: Store, tmp_path: Path) -> None:
    make_history(store)
    path = manifest_path(store.path_of(one(store, "tracks")))
    path.unlink()
    path.mkdir()
    with pytest.raises(
        CellAssetsError, match=r"which lists the files of tracks .*cannot be read: Is a dir"
    ) as said:
        make(store, tmp_path / "x.zip")
    assert "\n" not in str(said.value)
    assert not list(tmp_path.glob("*zip*"))


@pytest.mark.parametrize("file", ["report.html", "predictions/infection.parquet"])
def test_a_changed_missing_or_extra_file_of_the_report_is_refused(
    store: Store, tmp_path: Path, file: str
) -> None:
    make_history(store)
    path = store.path_of(one(store, "dynaclr_report")) / file
    whole = path.read_bytes()
    edit(path, whole + b"x")
    with pytest.raises(ChangedBytesError, match=f"1 changed .first: {file}"):
        make(store, tmp_path / "x.zip")
    path.unlink()
    with pytest.raises(NotFoundError, match=f"1 missing .first: {file}"):
        make(store, tmp_path / "x.zip")
    path.write_bytes(whole)
    (path.parent / "more").write_bytes(b"")
    with pytest.raises(ChangedBytesError, match="1 extra"):
        make(store, tmp_path / "x.zip")
    assert not list(tmp_path.glob("*zip*"))


def test_raw_data_need_not_be_there(store: Store, tmp_path: Path) -> None:
    make_history(store)
    shutil.rmtree(store.path_of(one(store, "raw_acquisition")))
    members = members_of(make(store, tmp_path / "x.zip").path)
    stated = json.loads(members["statement.intoto.json"])["predicate"]["artifacts"]
    assert "raw_acquisition" in {one["asset"] for one in stated}


def test_a_report_that_does_not_state_the_number_is_refused(store: Store, tmp_path: Path) -> None:
    make_history(store, report={"report.html": b"<html>"})
    with pytest.raises(NotFoundError, match=r"holds no numbers\.json"):
        make(store, tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "cannot be read"),
        (b"{" * 10**5, "cannot be read"),
        (numbers_json([]), "states no dynaclr/infection auc test tracks"),
        (numbers_json([DRAFT]).replace(b"0.30000000000000004", b"0.3"), "states 0.3 for"),
    ],
)
def test_a_report_that_states_another_number_is_refused(
    store: Store, tmp_path: Path, content: bytes, said: str
) -> None:
    make_history(store, report={**report_files(), "numbers.json": content})
    with pytest.raises(BadInputError, match=said):
        make(store, tmp_path / "x.zip")


def test_an_existing_file_an_unknown_number_and_edited_history_are_refused(
    store: Store, ledger_url: str, tmp_path: Path
) -> None:
    number_id = make_history(store)
    taken = tmp_path / "taken.zip"
    taken.write_bytes(b"mine")
    with pytest.raises(BadInputError, match="is not overwritten"):
        make(store, taken)
    assert taken.read_bytes() == b"mine"
    with pytest.raises(NotFoundError, match="number 99 is not in the ledger"):
        make_bundle(store, 99, tmp_path / "x.zip")
    with unguarded(ledger_url) as connection:
        connection.execute(sa.update(schema.well).values(name="H/12").where(schema.well.c.id == 1))
    with pytest.raises(CellAssetsError, match=f"number {number_id} cannot be bundled: well 1 is not the row"):
        make(store, tmp_path / "x.zip")
    assert sorted(path.name for path in tmp_path.glob("*zip*")) == ["taken.zip"]


def test_steps_are_told(store: Store, tmp_path: Path) -> None:
    make_history(store)
    steps: list[tuple[int, int, str]] = []
    (number,) = store.ledger.numbers("E1")
    make_bundle(store, number.id, tmp_path / "x.zip", step=lambda *said: steps.append(said))
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)
    assert steps[-1][0] == steps[-1][1]
