"""Writing, publishing and reading: what is visible, what is not, and what stays behind."""

import json
import os
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest

from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError, NotFoundError
from cell_assets.ledger.records import Artifact, ArtifactState, ReadReceipt
from cell_assets.store.boundaries import Boundary
from cell_assets.store.digest import digest_folder
from cell_assets.store.store import Store, VerdictState
from cell_assets.store.verdict import Verdict, verify_folder
from cell_assets_tests.store.drafts import FILES, FORMAT, contents, fill, leftovers, publish, run_draft

KEY = "P1|A/1/000"


def test_published_bytes_are_where_the_ledger_says(store: Store) -> None:
    commit = publish(store, KEY)
    artifact = commit.artifact
    assert not commit.recreated
    assert artifact.uri == f"tracks/P1%7CA%2F1%2F000/{artifact.digest[:12]}"
    assert (artifact.n_files, artifact.n_bytes) == (3, 4 + 2 + 64)
    assert (artifact.format_name, artifact.format_version) == ("cell_assets.test", "1")
    assert digest_folder(store.path_of(artifact)).root == artifact.digest
    path, receipt = store.read("tracks", KEY)
    assert contents(path) == FILES
    assert receipt == ReadReceipt(artifact.id, "tracks", KEY, artifact.digest) == store.receipt(artifact)
    assert leftovers(store) == []
    assert store.ledger.open_intents() == ()


def test_published_bytes_are_read_only(store: Store) -> None:
    folder = store.path_of(publish(store, KEY).artifact)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o555 if path.is_dir() else 0o444), path
    assert stat.S_IMODE(folder.with_name(folder.name + ".files.json").stat().st_mode) == 0o444


def test_inputs_are_recorded_per_output(store: Store) -> None:
    first = store.receipt(publish(store, KEY, asset="segmentation").artifact)
    second = publish(store, KEY, receipts=[first])
    provenance = store.ledger.latest("tracks", KEY)
    assert provenance is not None
    assert [artifact.id for artifact in provenance.inputs] == [first.artifact_id]
    assert provenance.run.id == second.run_id


def test_newer_version_is_read_and_the_older_one_stays(store: Store) -> None:
    old = publish(store, KEY, {"a": b"1"}).artifact
    new = publish(store, KEY, {"a": b"2"}).artifact
    assert contents(store.read("tracks", KEY).path) == {"a": b"2"}
    assert contents(store.read_artifact(old.id).path) == {"a": b"1"}
    assert store.read_artifact(new.id) == store.read("tracks", KEY)


def test_reading_many_takes_a_constant_number_of_queries(store: Store) -> None:
    keys = [f"P1|A/1/{n:03}" for n in range(5)]
    for key in keys:
        publish(store, key, {"name": key.encode()})
    found = store.read_many("tracks", keys)
    assert {key: contents(one.path)["name"].decode() for key, one in found.items()} == {k: k for k in keys}
    with pytest.raises(NotFoundError, match=r"tracks P1\|H/12/8 has not been made"):
        store.read_many("tracks", [*keys, "P1|H/12/8"])


def test_staged_bytes_are_invisible_and_abandoned_ones_gone(store: Store) -> None:
    with pytest.raises(RuntimeError, match="cell 7"), store.write("tracks", KEY) as staged:
        fill(staged.path)
        assert [intent.partition for intent in store.ledger.open_intents()] == [KEY]
        with pytest.raises(NotFoundError, match=r"tracks P1\|A/1/000 has not been made"):
            store.read("tracks", KEY)
        raise RuntimeError("cell 7")
    assert leftovers(store) == []
    assert store.ledger.open_intents() == ()
    assert store.ledger.artifacts() == ()


def test_leaving_the_block_unpublished_abandons(store: Store) -> None:
    with store.write("tracks", KEY) as staged:
        fill(staged.path)
    assert leftovers(store) == []
    assert store.ledger.open_intents() == ()
    with pytest.raises(CellAssetsError, match="published or abandoned before"):
        store.publish(staged, run_draft(), [], FORMAT)


def test_many_outputs_are_open_at_once_and_published_in_any_order(store: Store) -> None:
    opened = [store.write("tracks", f"P1|A/1/{n:03}") for n in range(6)]
    for staged in opened:
        fill(staged.path, {"who": staged.partition.encode()})
    commits = [store.publish(staged, run_draft(), [], FORMAT) for staged in reversed(opened)]
    assert all(store.verify(commit.artifact).is_verified for commit in commits)
    assert leftovers(store) == []


def test_same_bytes_again_are_recorded_and_stored_once(store: Store) -> None:
    first = publish(store, KEY)
    inode = store.path_of(first.artifact).stat().st_ino
    again = publish(store, KEY)
    assert again.recreated
    assert again.artifact == first.artifact
    assert again.run_id != first.run_id
    assert store.path_of(first.artifact).stat().st_ino == inode
    assert len(store.ledger.runs(first.artifact.id)) == 2
    assert leftovers(store) == []


def test_equal_bytes_of_other_partitions_are_artifacts_of_their_own(store: Store) -> None:
    one, other = publish(store, "P1"), publish(store, "P2")
    assert one.artifact.digest == other.artifact.digest
    assert not other.recreated
    assert one.artifact.uri != other.artifact.uri


@pytest.mark.parametrize("damage", ["edited", "file gone", "folder gone", "manifest gone", "extra link"])
def test_making_the_same_bytes_again_repairs_damage(store: Store, damage: str) -> None:
    artifact = publish(store, KEY).artifact
    folder = store.path_of(artifact)
    _damage(folder, damage)
    again = publish(store, KEY)
    assert again.recreated
    assert again.artifact.id == artifact.id
    assert contents(folder) == FILES
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    assert store.verify(artifact).is_verified
    assert store.file_digests(artifact) == digest_folder(folder)
    assert leftovers(store) == []


def _damage(folder: Path, damage: str) -> None:
    if damage != "manifest gone":
        folder.chmod(0o755)
    match damage:
        case "edited":
            (folder / "tracks.parquet").chmod(0o644)
            (folder / "tracks.parquet").write_bytes(b"swor")
        case "file gone":
            (folder / "tracks.parquet").unlink()
        case "folder gone":
            folder.rename(folder.parents[2].parent / "taken")
        case "manifest gone":
            folder.with_name(folder.name + ".files.json").unlink()
        case "extra link":
            (folder / "link").symlink_to("/etc")


def test_making_evicted_bytes_again_brings_them_back(store: Store) -> None:
    artifact = publish(store, KEY).artifact
    folder = store.path_of(artifact)
    _damage(folder, "folder gone")
    store.ledger.record_eviction(artifact.id)
    with pytest.raises(NotFoundError, match=r"tracks P1\|A/1/000 \(artifact \d+\) were evicted"):
        store.read("tracks", KEY)
    assert store.verify(store.ledger.artifact(artifact.id)).state is VerdictState.UNVERIFIABLE
    again = publish(store, KEY)
    assert again.recreated
    assert again.artifact.state is ArtifactState.PRESENT
    assert contents(store.read("tracks", KEY).path) == FILES


def test_equal_first_digits_get_a_longer_name(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two folders whose digests share 12 digits cannot be made; 1 digit is shared by some of 40.
    monkeypatch.setattr("cell_assets.store.placing.DIGEST_LENGTHS", (1, 2, 3, 64))
    made = [publish(sqlite_store, "P1", {"a": bytes([n])}).artifact for n in range(40)]
    assert len({artifact.uri for artifact in made}) == 40
    assert {len(artifact.uri.rpartition("/")[2]) for artifact in made} >= {1, 2}
    assert all(sqlite_store.verify(artifact).is_verified for artifact in made)


def test_an_evicted_artifact_keeps_its_name(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cell_assets.store.placing.DIGEST_LENGTHS", (1, 64))
    by_digit: dict[str, Artifact] = {}
    for n in range(40):
        artifact = publish(sqlite_store, f"P{n}", {"a": bytes([n])}).artifact
        twin = by_digit.setdefault(artifact.digest[0], artifact)
        if twin is not artifact:
            break
    evicted = publish(sqlite_store, "both", {"a": bytes([int(twin.partition[1:])])}).artifact
    assert len(evicted.uri.rpartition("/")[2]) == 1
    _damage(sqlite_store.path_of(evicted), "folder gone")
    sqlite_store.ledger.record_eviction(evicted.id)
    other = publish(sqlite_store, "both", {"a": bytes([n])}).artifact
    assert other.digest[0] == evicted.digest[0]
    assert len(other.uri.rpartition("/")[2]) == 64


def test_withdrawn_and_missing_bytes_are_not_read(store: Store) -> None:
    missing = publish(store, "P1").artifact
    _damage(store.path_of(missing), "folder gone")
    with pytest.raises(
        NotFoundError, match=r"the bytes of tracks P1 \(artifact \d+\) are missing at .*tracks/P1"
    ):
        store.read("tracks", "P1")
    withdrawn = publish(store, "P2").artifact
    store.ledger.withdraw({withdrawn.id: "wrong virus"})
    with pytest.raises(NotFoundError, match=r"tracks P2 \(artifact \d+\) has been withdrawn"):
        store.read("tracks", "P2")


def test_a_refused_commit_leaves_nothing(store: Store) -> None:
    stranger = ReadReceipt(4711, "tracks", "P9", "0" * 64)
    with pytest.raises(BadInputError, match="artifact 4711"):
        publish(store, KEY, receipts=[stranger])
    assert leftovers(store) == []
    assert store.ledger.artifacts() == ()
    assert store.ledger.open_intents() == ()


def test_a_refused_recreation_leaves_the_artifact(store: Store) -> None:
    artifact = publish(store, KEY).artifact
    with pytest.raises(BadInputError, match="artifact 4711"):
        publish(store, KEY, receipts=[ReadReceipt(4711, "tracks", "P9", "0" * 64)])
    assert store.verify(artifact).is_verified
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nothing", "has no files"),
        ("symlink", "sub/link is a symlink"),
        ("taken", "lost its staging folder"),
    ],
)
def test_unusable_staged_bytes_leave_nothing(sqlite_store: Store, fault: str, message: str) -> None:
    staged = sqlite_store.write("tracks", KEY)
    match fault:
        case "symlink":
            fill(staged.path, {"sub/a": b"1"})
            (staged.path / "sub" / "link").symlink_to("a")
        case "taken":
            staged.path.rmdir()
    with pytest.raises(CellAssetsError, match=message):
        sqlite_store.publish(staged, run_draft(), [], FORMAT)
    assert leftovers(sqlite_store) == []
    assert sqlite_store.ledger.open_intents() == ()


@pytest.mark.parametrize(("asset", "partition"), [("../x", "P1"), ("tracks", ""), ("tracks", "a\nb")])
def test_unusable_names_are_refused_before_anything_is_written(
    sqlite_store: Store, asset: str, partition: str
) -> None:
    with pytest.raises(BadInputError):
        sqlite_store.write(asset, partition)
    assert not sqlite_store.root.exists()
    assert sqlite_store.ledger.open_intents() == ()


def test_opening_a_store_and_reading_write_nothing(sqlite_store: Store) -> None:
    with pytest.raises(NotFoundError):
        sqlite_store.read("tracks", "P1")
    sqlite_store.sweep()
    assert not sqlite_store.root.exists()


def test_verify_on_read_names_artifact_and_file(store: Store) -> None:
    artifact = publish(store, KEY).artifact
    careful = Store(store.root, store.ledger, verify_on_read=True)
    assert contents(careful.read("tracks", KEY).path) == FILES
    _damage(store.path_of(artifact), "edited")
    with pytest.raises(
        ChangedBytesError, match=rf"artifact {artifact.id}\).*1 changed \(first: tracks.parquet\)"
    ):
        careful.read("tracks", KEY)
    assert contents(store.read("tracks", KEY).path)["tracks.parquet"] == b"swor"


def test_verify_on_read_hashes_again_after_any_change_of_the_inode(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cell_assets.store.stat_memory._SETTLED_S", 0.01)
    artifact = publish(sqlite_store, KEY).artifact
    file = sqlite_store.path_of(artifact) / "tracks.parquet"
    careful = Store(sqlite_store.root, sqlite_store.ledger, verify_on_read=True)
    time.sleep(0.05)
    hashed = _count_hashings(monkeypatch)
    careful.read("tracks", KEY)
    careful.read("tracks", KEY)
    assert len(hashed) == 1
    before = file.stat()
    file.chmod(0o644)
    file.write_bytes(b"swor")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    file.chmod(0o444)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    time.sleep(0.05)
    # Size, inode and mtime are as before; ctime cannot be put back.
    with pytest.raises(ChangedBytesError):
        careful.read("tracks", KEY)


def _count_hashings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    hashed: list[Path] = []

    def counted(folder: Path, artifact: Artifact) -> Verdict:
        hashed.append(folder)
        return verify_folder(folder, artifact)

    monkeypatch.setattr("cell_assets.store.store.verify_folder", counted)
    return hashed


def test_the_manifest_states_no_time_and_no_place(store: Store, tmp_path: Path) -> None:
    folder = store.path_of(publish(store, KEY).artifact)
    text = folder.with_name(folder.name + ".files.json").read_text()
    assert str(tmp_path) not in text
    assert set(json.loads(text)) == {
        "format",
        "version",
        "asset",
        "partition",
        "artifact_format",
        "artifact_format_version",
        "digest_type",
        "digest",
        "empty_folders",
        "files",
    }


def test_boundaries_come_in_order(store: Store) -> None:
    seen: list[tuple[Boundary, bool, int]] = []

    def look(boundary: Boundary, asset: str, partition: str) -> None:
        assert (asset, partition) == ("tracks", KEY)
        named = any(store.root.glob("tracks/*/*/tracks.parquet"))
        seen.append((boundary, named, len(store.ledger.artifacts())))

    store.observer = look
    publish(store, KEY)
    assert seen == [
        (Boundary.INTENT, False, 0),
        (Boundary.STAGING, False, 0),
        (Boundary.RENAME, True, 0),
        (Boundary.COMMIT, True, 1),
    ]


def test_leases_are_renewed_while_the_writer_lives(store: Store) -> None:
    lease = timedelta(seconds=0.6)
    patience = time.monotonic() + 30
    with store.write("tracks", KEY, lease=lease) as staged:
        (intent,) = store.ledger.open_intents()
        while intent.lease_until < staged.intent.lease_until + lease:
            assert time.monotonic() < patience, "the lease was not renewed twice"
            time.sleep(0.05)
            (intent,) = store.ledger.open_intents()
    assert store.ledger.open_intents() == ()
