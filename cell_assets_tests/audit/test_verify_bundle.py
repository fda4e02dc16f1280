"""Verifying a bundle: what holds is said, each fault is named, and nothing in a hostile one makes it fall."""

import json
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from cell_assets.audit.attestation import PrivateKey, SignatureState
from cell_assets.audit.bundle import make_bundle
from cell_assets.audit.bundle_verification_text import to_json, to_text
from cell_assets.audit.bundle_zip import Container
from cell_assets.audit.verify_bundle import CheckState, VerifiedBundle, verify_bundle
from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import Store
from cell_assets_tests.audit.bundles import (
    DRAFT,
    faults,
    forged,
    key_pair,
    make_history,
    members_of,
    numbers_json,
    rebuilt,
)
from cell_assets_tests.audit.test_verify import edit
from cell_assets_tests.ledger.editing import unguarded
from cell_assets_tests.store.drafts import run_draft

CHECKS = ["container", "members", "signature", "history", "code", "files", "number"]


@pytest.fixture
def bundle(store: Store, tmp_path: Path) -> Path:
    return make_bundle(store, make_history(store), tmp_path / "x.zip").path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle, made once on SQLite; do not change it."""
    folder = tmp_path_factory.mktemp("shared")
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        store = Store(folder / "store", ledger)
        key = PrivateKey.read(key_pair(folder)[0])
        return make_bundle(store, make_history(store), folder / "x.zip", key).path


def edited_extract(bundle: Path, folder: Path, *statements: str) -> bytes:
    """The bundle's ledger extract after some SQL."""
    path = folder / "edited.sqlite"
    path.write_bytes(members_of(bundle)["ledger.sqlite"])
    with unguarded(f"sqlite:///{path}") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return path.read_bytes()


def states(found: VerifiedBundle) -> dict[str, CheckState]:
    return {check.name: check.state for check in found.checks}


def test_an_untouched_bundle_holds(bundle: Path) -> None:
    found = verify_bundle(bundle)
    assert found.holds
    assert [check.name for check in found.checks] == CHECKS
    assert found.signature is SignatureState.NOT_SIGNED
    said = to_text(found)
    assert states(found)["signature"] is CheckState.NOT_SIGNED
    assert "\nnot signed   signature  proves consistency, not origin\n" in said
    assert "1 diff and 1 environment, as the runs recorded; 1 environment without text" in said
    assert said.splitlines()[-1] == f"{bundle}: verified"
    assert json.loads(to_json(found))["verified"] is True
    assert found.number is not None
    assert found.number.draft == DRAFT


def test_data_is_hashed_where_it_is_there(bundle: Path, store: Store, tmp_path: Path) -> None:
    found = verify_bundle(bundle, data=store.root)
    assert (found.holds, len(found.data.verdicts if found.data else ())) == (True, 4)
    copy = tmp_path / "copy"
    shutil.copytree(store.root / "tracks", copy / "tracks")
    found = verify_bundle(bundle, data=copy)
    assert found.holds
    assert found.data is not None
    assert (len(found.data.verdicts), found.data.n_not_there) == (1, 3)
    assert "1 artifact verified, 0.0 MB hashed; 3 not there" in to_text(found)
    (tmp_path / "empty").mkdir()
    found = verify_bundle(bundle, data=tmp_path / "empty")
    assert "nothing behind the number lies under" in faults(found)["data"][0]
    with pytest.raises(NotFoundError, match="is not a folder"):
        verify_bundle(bundle, data=tmp_path / "nothing")


def test_changed_missing_and_extra_data_is_named(bundle: Path, store: Store) -> None:
    (chunk,) = store.root.glob("raw_acquisition/P1/*/plate.zarr/A/1/000/0/c/0")
    (tracks,) = store.root.glob("tracks/*/*/tracks.parquet")
    (frozen,) = store.root.glob("experiment_manifest/*/*/tracks.parquet")
    edit(chunk, b"Pixels" * 1000)
    tracks.unlink()
    (frozen.parent / "more.txt").write_bytes(b"")
    found = verify_bundle(bundle, data=store.root)
    said = " | ".join(faults(found)["data"])
    assert "raw_acquisition P1 (artifact 1): changed: changed plate.zarr/A/1/000/0/c/0" in said
    assert "tracks P1|A/1/000 (artifact 2): missing: missing tracks.parquet" in said
    assert "experiment_manifest E1 (artifact 3): extra: extra more.txt" in said
    by_id = {one["id"]: one for one in json.loads(to_json(found))["data"]["artifacts"]}
    assert by_id[1]["changed"] == ["plate.zarr/A/1/000/0/c/0"]
    assert states(found)["history"] is CheckState.HOLDS


def test_a_link_in_the_place_of_data_is_not_followed(bundle: Path, store: Store, tmp_path: Path) -> None:
    (folder,) = (one for one in store.root.glob("tracks/*/*") if one.is_dir())
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    folder.symlink_to(moved)
    assert "missing tracks.parquet" in faults(verify_bundle(bundle, data=store.root))["data"][0]


def test_signatures_are_said_as_they_are(shared: Path, tmp_path: Path) -> None:
    public = shared.parent / "public.pem"
    found = verify_bundle(shared, key=public)
    assert (found.holds, found.signature) == (True, SignatureState.TRUSTED)
    found = verify_bundle(shared)
    assert (found.holds, found.signature) == (True, SignatureState.UNKNOWN_KEY)
    assert "signed with unknown key" in to_text(found)
    other = key_pair(tmp_path / "other")[1]
    assert "not with the key given" in faults(verify_bundle(shared, key=other))["signature"][0]
    stripped = rebuilt(shared, tmp_path / "stripped.zip", {"statement.dsse.json": None})
    assert "the envelope is gone" in faults(verify_bundle(stripped))["signature"][0]
    unsigned = forged(shared, tmp_path / "unsigned.zip", {"statement.dsse.json": None}, signer=None)
    assert verify_bundle(unsigned).holds
    assert "vouches for nothing" in faults(verify_bundle(unsigned, key=public))["signature"][0]
    resealed = forged(shared, tmp_path / "resealed.zip", {}, made_by="me")
    assert faults(verify_bundle(resealed)) == {
        "signature": ("statement.dsse.json does not hold this statement",)
    }


def test_every_flipped_byte_is_found_and_its_member_named(shared: Path, tmp_path: Path) -> None:
    """A byte in every member's header, content and directory entry, and hundreds anywhere."""
    whole = shared.read_bytes()
    path = tmp_path / "flipped.zip"
    with Container.open(shared) as container:
        places = list(container._places.values())
    chosen = [at for place in places for at in (place.offset + 5, place.content, place.end - 1)]
    chosen += random.Random(7).sample(range(len(whole)), 300)
    for at in [*chosen, *range(len(whole) - 30, len(whole))]:
        flipped = bytearray(whole)
        flipped[at] ^= 0x20
        path.write_bytes(flipped)
        try:
            found = verify_bundle(path)
        except BadInputError as error:
            pytest.fail(f"byte {at}: {error}")
        assert not found.holds, at
        hit = [place.name for place in places if place.offset <= at < place.end]
        said = " ".join(faults(found)["container"])
        assert not hit or hit[0] in said, (at, said)


def test_a_member_changed_taken_or_added_is_named_by_the_statement(shared: Path, tmp_path: Path) -> None:
    changes: dict[str, tuple[bytes | None, str]] = {
        "report/report.html": (b"<html >", "report/report.html is not what the statement says"),
        "report/figures/scores µ.png": (None, "report/figures/scores µ.png is missing"),
        "report/evil.html": (b"", "report/evil.html is not in the statement"),
        "readme.txt": (b"", "readme.txt has no place in a bundle"),
        "ledger.sqlite": (b"", "ledger.sqlite is not what the statement says"),
    }
    for n, (name, (content, said)) in enumerate(changes.items()):
        found = verify_bundle(rebuilt(shared, tmp_path / f"{n}.zip", {name: content}))
        assert said in faults(found)["members"]
        assert states(found)["container"] is CheckState.HOLDS
    assert states(found)["history"] is CheckState.NOT_CHECKED


# What somebody who makes statement and container anew cannot hide.


@pytest.mark.parametrize(
    ("statement", "check", "said"),
    [
        ("UPDATE number SET value = 0.9", "history", "number 1 is not the row that was sealed"),
        ("UPDATE run SET parameters = '{}' WHERE id = 1", "history", "run 1 is not the row that was sealed"),
        ("UPDATE well SET name = 'H/12' WHERE id = 2", "history", "well 2 is not the row that was sealed"),
        (f"UPDATE artifact SET digest = '{7:064d}' WHERE id = 1", "files", "artifact 1"),
        ("UPDATE artifact SET uri = '../../etc' WHERE id = 1", "history", "lies at '../../etc'"),
        ("UPDATE artifact SET asset = '../x' WHERE id = 1", "history", "asset name '../x' must start"),
        ("DELETE FROM input_edge WHERE run_id = 3", "history", "what run 3 read was sealed and is missing"),
        ("DELETE FROM entry", "history", "is sealed by no entry"),
        ("DELETE FROM number", "history", "number 1 is not in the ledger"),
        ("UPDATE blob SET content = x'00'", "history", "is not the row that was sealed"),
        ("UPDATE entry SET items = '{' WHERE id = 1", "history", "it is malformed"),
        (f"UPDATE entry SET items = '{'[' * 100_000}' WHERE id = 1", "history", "it is malformed"),
        ("UPDATE entry SET items = '[[\"nothing\", 1, \"x\"]]' WHERE id = 1", "history", "it is malformed"),
        ("UPDATE run SET started = 'yesterday' WHERE id = 1", "history", "it is malformed"),
        ("UPDATE number SET value = 'much'", "history", "it is malformed"),
        ("UPDATE run SET outcome = x'ff'", "history", "run 6 is not in the ledger"),
        ("INSERT INTO intent (asset, partition, staging, owner, lease_until) VALUES (1, 1, 1, 1, 1)",
         "history", "holds an intent"),
        ("CREATE VIEW evil AS SELECT 1", "history", "does not have a ledger's tables: see evil"),
        ("UPDATE alembic_version SET version_num = '9999'", "history", "schema revision '9999'"),
    ],
)  # fmt: skip
def test_an_edited_extract_is_named(
    shared: Path, tmp_path: Path, statement: str, check: str, said: str
) -> None:
    extract = _without_checks(shared, tmp_path, statement)
    found = verify_bundle(forged(shared, tmp_path / "forged.zip", {"ledger.sqlite": extract}))
    assert states(found)["members"] is CheckState.HOLDS
    assert said in " | ".join(faults(found)[check]), faults(found)
    assert "Traceback" not in to_text(found)


def _without_checks(bundle: Path, folder: Path, statement: str) -> bytes:
    """The extract after SQL that its own constraints would refuse."""
    path = folder / "edited.sqlite"
    path.write_bytes(edited_extract(bundle, folder))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints=ON")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(statement)
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"x" * 10_000])
def test_an_extract_that_is_no_database_is_said_in_a_sentence(
    shared: Path, tmp_path: Path, content: bytes
) -> None:
    found = verify_bundle(forged(shared, tmp_path / "forged.zip", {"ledger.sqlite": content}))
    (said,) = faults(found)["history"]
    assert "ledger extract" in said
    assert states(found)["files"] is CheckState.NOT_CHECKED


def test_flipped_bytes_inside_an_extract_never_make_it_fall(shared: Path, tmp_path: Path) -> None:
    """Each lies in a database that SQLite opens, under a statement that fits it."""
    whole = members_of(shared)["ledger.sqlite"]
    rng = random.Random(11)
    used = [at for at in range(len(whole)) if whole[at]]
    for n in range(60):
        flipped = bytearray(whole)
        for at in rng.sample(used, 1 + n % 5):
            flipped[at] ^= 1 << rng.randrange(8)
        path = forged(shared, tmp_path / f"{n}.zip", {"ledger.sqlite": bytes(flipped)})
        assert isinstance(to_text(verify_bundle(path)), str)
        path.unlink()


def test_edited_numbers_files_and_lists_are_named(shared: Path, tmp_path: Path) -> None:
    members = members_of(shared)
    listed = next(name for name in members if name.startswith("manifests/raw_acquisition"))
    frozen = next(name for name in members if name.endswith("/manifest.json"))
    code = next(name for name in members if name.startswith("code/"))
    better = numbers_json([DRAFT]).replace(b"0.30000000000000004", b"0.9")
    cases: dict[str, tuple[str, bytes | None, str]] = {
        "report/numbers.json": ("number", better, "states 0.9 for dynaclr/infection auc test tracks"),
        "report/report.html": ("files", b"<html >", "report.html is not what artifact 5 was published with"),
        "report/more.html": ("files", b"", "report/more.html belongs to no artifact"),
        "report/figures/scores µ.png": ("files", None, "scores µ.png is missing"),
        frozen: ("files", b"{}", "manifest.json is not what artifact 3 was published with"),
        listed: (
            "files",
            members[listed].replace(b"6000", b"6001"),
            "does not prove the digest of artifact 1",
        ),
        code: ("code", b"+nothing", "is not what the runs recorded"),
        "code/0000.diff": ("code", b"", "code/0000.diff belongs to no run"),
    }
    for n, (name, (check, content, said)) in enumerate(cases.items()):
        found = verify_bundle(forged(shared, tmp_path / f"{n}.zip", {name: content}))
        assert said in " | ".join(faults(found)[check]), (name, faults(found))


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        ({"report_artifact": 2}, "the report's artifact is another"),
        ({"run": 1}, "the run that states the number is another"),
        ({"artifacts": []}, "artifact 1 is another in the statement"),
        ({"chain_head": {"entry": 1, "digest": "0" * 64}}, "does not fit the statement's newest entry"),
        ({"withdrawn": [{"artifact": 1, "plate": None, "reason": "x"}]}, "what was withdrawn is another"),
    ],
)
def test_a_statement_that_says_other_than_the_extract_is_named(
    shared: Path, tmp_path: Path, predicate: dict[str, object], said: str
) -> None:
    found = verify_bundle(forged(shared, tmp_path / "forged.zip", {}, **predicate))
    assert said in " | ".join(faults(found)["history"])


def test_a_better_number_in_the_statement_is_named(shared: Path, tmp_path: Path) -> None:
    said = json.loads(members_of(shared)["statement.intoto.json"])["predicate"]["number"] | {"value": 0.9}
    found = verify_bundle(forged(shared, tmp_path / "forged.zip", {}, number=said))
    assert "the number is another in the statement than in ledger.sqlite" in faults(found)["history"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 10**6,
        b'{"_type": 1}',
        b'{"a": ' * 10**5,
        b'{"predicate": NaN}',
    ],
)
def test_a_malformed_statement_is_one_sentence(shared: Path, tmp_path: Path, content: bytes) -> None:
    found = verify_bundle(rebuilt(shared, tmp_path / "x.zip", {"statement.intoto.json": content}))
    (said,) = faults(found)["members"]
    assert said.startswith("statement.intoto.json is no statement")
    assert "\n" not in said


def test_statements_with_one_odd_value_never_make_it_fall(shared: Path, tmp_path: Path) -> None:
    whole = json.loads(members_of(shared)["statement.intoto.json"])
    odd: list[object] = [None, -1, 2**70, "", "x" * 10_000, [], {}, True, [[]], 1e308]
    rng = random.Random(3)
    for n in range(80):
        said = json.loads(json.dumps(whole))
        node = said if n % 2 else said["predicate"]
        for _ in range(rng.randrange(4)):
            inner = [key for key in node if isinstance(node[key], dict) and node[key]]
            node = node[rng.choice(inner)] if inner else node
        node[rng.choice(list(node))] = rng.choice(odd)
        content = json.dumps(said).encode()
        path = rebuilt(shared, tmp_path / f"{n}.zip", {"statement.intoto.json": content})
        try:
            assert not verify_bundle(path).holds
        except CellAssetsError as error:
            pytest.fail(str(error))
        path.unlink()


def test_what_is_no_bundle_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with pytest.raises(BadInputError, match="cannot be read: No such file"):
        verify_bundle(path)
    with pytest.raises(BadInputError, match="cannot be read: Is a directory"):
        verify_bundle(tmp_path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BadInputError, match="is no evidence bundle"):
        verify_bundle(path)


def test_a_withdrawn_number_verifies_and_is_said_to_be_withdrawn(store: Store, tmp_path: Path) -> None:
    number_id = make_history(store)
    (report,) = store.ledger.artifacts("dynaclr_report")
    store.ledger.withdraw({report.id: "contaminated"})
    found = verify_bundle(make_bundle(store, number_id, tmp_path / "x.zip").path)
    assert found.holds
    assert f"WITHDRAWN: artifact {report.id}, because contaminated" in to_text(found)


def test_nothing_in_a_bundle_writes_to_the_terminal(shared: Path, tmp_path: Path) -> None:
    withdrawn = [{"artifact": 1, "plate": None, "reason": "\x1b[2J\x9b\u202efine\nall checks hold"}]
    found = verify_bundle(forged(shared, tmp_path / "forged.zip", {}, withdrawn=withdrawn))
    assert all(line.isprintable() and line.isascii() for line in to_json(found).splitlines())
    said = to_text(found)
    assert "\\x1b[2J\\x9b\\u202efine\\nall checks hold" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_a_bundle_outlives_what_comes_after_it(bundle: Path, store: Store) -> None:
    store.ledger.record_failure("tracks", "P1|A/1/000", run_draft(), "again no memory")
    store.ledger.withdraw({}, plate="P1", reason="wrong")
    assert verify_bundle(bundle, data=store.root).holds
