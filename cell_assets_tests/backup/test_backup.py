"""Backups of labs on a real PostgreSQL, taken, spoiled and restored."""

import json
import multiprocessing
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from cell_assets.backup import manifest as layout
from cell_assets.backup.taking import take_backup
from cell_assets.database.addresses import create_databases, existing_databases
from cell_assets.database.dumps import is_empty
from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import REVISIONS, current_revision, upgrade
from cell_assets.ledger.records import ArtifactState
from cell_assets.store.store import Store
from cell_assets_tests.backup.conftest import Lab
from cell_assets_tests.store.drafts import contents, leftovers, publish

_SPAWN = multiprocessing.get_context("spawn")
NewLab = Callable[[], Lab]


def everything(folder: Path) -> dict[str, int]:
    """Every path below a folder with the size of its file, or -1."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size if path.is_file() else -1
        for path in folder.rglob("*")
    }


def assert_holds_nothing(lab: Lab) -> None:
    """A refused restore left neither home nor databases."""
    assert not lab.settings.home.exists()
    assert lab.settings.database_url is not None
    assert existing_databases(lab.settings.database_url) == {}


def test_what_is_restored_is_what_was_backed_up(new_home: NewLab, tmp_path: Path) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        raw = publish(store, "P1", {"a/0": b"x" * 300_000, "b": b"", "deep/er/c": b"yes"}, asset="raw")
        publish(store, "P1", receipts=[store.receipt(raw.artifact)])
        publish(store, "P2|A/1", {"empty": b""})
        publish(store, "P2|A/1", {"gone": b"evicted"})
        store.evict(store.ledger.latest("tracks", "P2|A/1").artifact)  # type: ignore[union-attr]
        before = store.ledger.artifacts()
    taken = lab.back_up(folder)
    assert (taken.n_copied, taken.manifest.damaged) == (3, ())
    restored = other.restore(folder)
    assert (restored.n_artifacts, restored.n_bytes) == (3, taken.n_bytes_copied)
    assert contents(other.settings.store_root) == contents(lab.settings.store_root)
    with other.opened() as store:
        assert store.ledger.artifacts() == before
        assert store.ledger.check_chain().faults == ()
        assert leftovers(store) == []
        present = [one for one in before if one.state is ArtifactState.PRESENT]
        assert all(store.verify(one).is_verified for one in present)
        # The sequences go on where they were.
        assert publish(store, "P3").artifact.id > max(one.id for one in before)


def test_a_later_backup_copies_only_what_is_new(new_home: NewLab, tmp_path: Path) -> None:
    lab, folder = new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    lab.back_up(folder)
    kept = {path: path.stat().st_ino for path in (folder / "store").rglob("*") if path.is_file()}
    with lab.opened() as store:
        new = publish(store, "P2", {"new": b"bytes"}).artifact
    taken = lab.back_up(folder)
    assert (taken.n_copied, taken.n_bytes_copied) == (1, new.n_bytes)
    assert {path: path.stat().st_ino for path in kept} == kept
    assert len(list((folder / "databases").iterdir())) == 1
    other = new_home()
    assert other.restore(folder).n_artifacts == 2


def test_bytes_that_a_backup_lost_are_copied_again(new_home: NewLab, tmp_path: Path) -> None:
    lab, folder = new_home(), tmp_path / "backup"
    with lab.opened() as store:
        artifact = publish(store, "P1").artifact
    lab.back_up(folder)
    file = folder / "store" / artifact.uri / "tracks.parquet"
    file.chmod(0o600)
    file.write_bytes(b"row")
    assert lab.back_up(folder).n_copied == 1
    assert file.read_bytes() == b"rows"


def test_a_damaged_artifact_is_said_and_the_others_are_kept(new_home: NewLab, tmp_path: Path) -> None:
    lab, folder = new_home(), tmp_path / "backup"
    with lab.opened() as store:
        bad, good = publish(store, "P1").artifact, publish(store, "P2").artifact
        file = store.path_of(bad) / "tracks.parquet"
        file.chmod(0o600)
        file.write_bytes(b"rosw")
    taken = lab.back_up(folder)
    (said,) = taken.manifest.damaged
    assert said.startswith(f"tracks P1 (artifact {bad.id}): ") and "tracks.parquet has other bytes" in said
    assert [one.uri for one in taken.manifest.artifacts] == [good.uri]
    assert not (folder / "store" / bad.uri).exists()


def _publish_for_ever(url: str, root: str, started: "multiprocessing.synchronize.Event") -> None:
    with Ledger.open(url) as ledger:
        store, n = Store(Path(root), ledger), 0
        previous = publish(store, "P0", asset="raw").artifact
        while True:
            n += 1
            receipts = [store.receipt(previous)]
            previous = publish(store, f"P{n}", {"rows": b"%d" % n}, receipts).artifact
            if n == 3:
                started.set()


def test_a_backup_while_a_writer_publishes_holds_all_that_its_ledger_names(
    new_home: NewLab, tmp_path: Path
) -> None:
    lab, folder = new_home(), tmp_path / "backup"
    with lab.opened():
        pass
    started = _SPAWN.Event()
    arguments = (lab.addresses().ledger, str(lab.settings.store_root), started)
    writer = _SPAWN.Process(target=_publish_for_ever, args=arguments)
    writer.start()
    try:
        assert started.wait(60)
        first = lab.back_up(folder)
        assert writer.is_alive()
        second = lab.back_up(folder)
    finally:
        writer.kill()
        writer.join()
    assert len(second.manifest.artifacts) > len(first.manifest.artifacts) >= 4
    other = new_home()
    other.restore(folder)
    with other.opened() as store:
        artifacts = store.ledger.artifacts()
        assert {one.uri for one in artifacts} == {one.uri for one in second.manifest.artifacts}
        assert [one for one in artifacts if not store.verify(one).is_verified] == []
        assert store.ledger.check_chain().faults == ()


def test_what_is_evicted_meanwhile_is_evicted_in_the_backup(new_home: NewLab, tmp_path: Path) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
        second = publish(store, "P2").artifact

        def evict(done: int, total: int, what: str) -> None:
            if second.id not in store.ledger.evicted():
                store.evict(second)

        taken = take_backup(store, lab.addresses(), folder, lab.settings.home, evict)
    assert taken.manifest.damaged == ()
    assert len(list((folder / "databases").iterdir())) == 1
    other.restore(folder)
    with other.opened() as store:
        assert store.ledger.evicted() == {second.id}
        assert not store.path_of(second).exists()
        assert store.file_digests(second) is not None


def _spoil_dump(folder: Path) -> str:
    (file,) = (folder / "databases").rglob("ledger.dump")
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1])
    return rf"the backup is damaged: {re.escape(str(file))} was cut short or altered"


def _cut_artifact(folder: Path) -> str:
    (file,) = (folder / "store").rglob("tracks.parquet")
    file.chmod(0o600)
    file.write_bytes(b"row")
    return rf"the backup is damaged: {re.escape(str(file))} has 3 bytes instead of 4"


def _alter_artifact(folder: Path) -> str:
    (file,) = (folder / "store").rglob("tracks.parquet")
    file.chmod(0o600)
    file.write_bytes(b"rosw")
    return r"the backup is damaged: .* is not what was published: tracks.parquet has other bytes"


def _alter_list(folder: Path) -> str:
    (file,) = (folder / "store").rglob("*.files.json")
    file.chmod(0o600)
    file.write_text(file.read_text().replace("tracks.parquet", "tracks.parking"))
    return rf"the backup is damaged: {re.escape(str(file))} is missing or altered"


def _cut_manifest(folder: Path) -> str:
    file = folder / "backup.json"
    file.write_bytes(file.read_bytes()[:-9])
    return rf"{re.escape(str(file))} was cut short or altered"


def _edit_manifest(folder: Path) -> str:
    file = folder / "backup.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "made_by": "somebody"}))
    return rf"{re.escape(str(file))} was cut short or altered"


def _remove_manifest(folder: Path) -> str:
    (folder / "backup.json").unlink()
    return "was begun and not finished, as it has no backup.json: run `cell-assets backup` there again"


@pytest.mark.parametrize(
    "spoil",
    [
        _spoil_dump,
        _cut_artifact,
        _alter_artifact,
        _alter_list,
        _cut_manifest,
        _edit_manifest,
        _remove_manifest,
    ],
)
def test_a_spoiled_backup_is_refused_by_name(
    spoil: Callable[[Path], str], new_home: NewLab, tmp_path: Path
) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    lab.back_up(folder)
    said = spoil(folder)
    before = everything(folder)
    with pytest.raises((BadInputError, ChangedBytesError), match=said):
        other.restore(folder)
    assert_holds_nothing(other)
    assert everything(folder) == before


def test_a_dump_that_does_not_load_leaves_nothing(
    new_home: NewLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is loaded last: the others were filled already."""
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    (file,) = [folder / one.file for one in lab.back_up(folder).manifest.databases if one.name == "ledger"]
    monkeypatch.setattr("cell_assets.backup.restoring._refuse_damaged", lambda *_: None)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(
        CellAssetsError, match=r"the database cannot be made from .*ledger\.dump: pg_restore: error"
    ):
        other.restore(folder)
    assert_holds_nothing(other)


# Of the first revision, which knows no evictions, this version writes no backup; that it migrates, its own tests say.
@pytest.mark.parametrize("older", REVISIONS[1:-1])
def test_a_backup_that_an_older_version_took_is_brought_up_to_date(
    older: str, new_home: NewLab, tmp_path: Path
) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    assert lab.settings.database_url is not None
    addresses = create_databases(lab.settings.database_url)
    engine = LedgerEngine(addresses.ledger)
    upgrade(engine, older)
    with Ledger(engine) as ledger:
        store = Store(lab.settings.store_root, ledger)
        artifact = publish(store, "P1").artifact
        take_backup(store, addresses, folder, lab.settings.home, lambda *_: None)
    assert revision_of(addresses.ledger) == older
    other.restore(folder)
    assert revision_of(other.addresses().ledger) == REVISIONS[-1]
    with other.opened() as store:
        assert store.ledger.artifacts() == (artifact,)
        assert store.verify(artifact).is_verified
        assert store.ledger.check_chain().faults == ()


def test_a_backup_that_a_newer_version_took_is_refused(new_home: NewLab, tmp_path: Path) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
        engine = LedgerEngine(lab.addresses().ledger)
        with engine.write() as transaction:
            transaction.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        engine.close()
        take_backup(store, lab.addresses(), folder, lab.settings.home, lambda *_: None)
    with pytest.raises(BadInputError, match=r"schema revision '9999', newer than .*install the version"):
        other.restore(folder)
    assert_holds_nothing(other)


def revision_of(url: str) -> str | None:
    engine = LedgerEngine(url)
    with engine.read() as connection:
        found = current_revision(connection)
    engine.close()
    return found


@pytest.mark.parametrize("leads_out", ["../../outside", "/etc", "tracks/../../outside", "tracks//P1"])
@pytest.mark.parametrize("what", ["artifacts", "databases"])
def test_a_forged_list_that_leads_out_of_the_folder_is_refused(
    what: str, leads_out: str, new_home: NewLab, tmp_path: Path
) -> None:
    """Whoever can write into a backup can also make its digest fit."""
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    manifest = lab.back_up(folder).manifest
    forged = (
        replace(manifest, artifacts=(replace(manifest.artifacts[0], uri=leads_out),))
        if what == "artifacts"
        else replace(manifest, databases=(replace(manifest.databases[0], file=leads_out),))
    )
    layout.write_manifest(folder, forged)
    with pytest.raises(BadInputError, match=r"backup\.json was cut short or altered"):
        other.restore(folder)
    assert_holds_nothing(other)


def test_links_in_a_backup_are_not_followed(new_home: NewLab, tmp_path: Path) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        artifact = publish(store, "P1").artifact
    lab.back_up(folder)
    file = folder / "store" / artifact.uri / "tracks.parquet"
    (tmp_path / "elsewhere").write_bytes(file.read_bytes())
    file.parent.chmod(0o755)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ChangedBytesError, match=r"the backup is damaged: .*tracks\.parquet"):
        other.restore(folder)
    assert_holds_nothing(other)


def test_a_filled_home_or_database_is_not_restored_into(new_home: NewLab, tmp_path: Path) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    lab.back_up(folder)
    before = everything(lab.settings.home)
    with pytest.raises(BadInputError, match="is not empty, it holds store"):
        lab.restore(folder)
    assert everything(lab.settings.home) == before
    elsewhere = Lab(other.settings.model_copy(update={"database_url": lab.settings.database_url}))
    with pytest.raises(BadInputError, match=r"the database kept_\d+_ledger is not empty"):
        elsewhere.restore(folder)
    assert not elsewhere.settings.home.exists()


def test_databases_that_were_made_for_it_are_used_and_left_empty_when_it_fails(
    new_home: NewLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, other, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    lab.back_up(folder)
    assert other.settings.database_url is not None
    addresses = create_databases(other.settings.database_url)

    def refuse(*_: object) -> None:
        raise CellAssetsError("no")

    with monkeypatch.context() as patched:
        patched.setattr("cell_assets.backup.restoring._check_history", refuse)
        with pytest.raises(CellAssetsError, match="no"):
            other.restore(folder)
    assert all(is_empty(url) for url in addresses.by_name.values())
    assert len(existing_databases(other.settings.database_url)) == 3
    other.restore(folder)
    with other.opened() as store:
        assert len(store.ledger.artifacts()) == 1


def test_a_backup_of_another_lab_is_not_written_over(new_home: NewLab, tmp_path: Path) -> None:
    """As an emptied lab would do every night to the only backup of itself."""
    lab, emptied, folder = new_home(), new_home(), tmp_path / "backup"
    with lab.opened() as store:
        publish(store, "P1")
    lab.back_up(folder)
    before = everything(folder)
    with pytest.raises(BadInputError, match="holds the backup of another lab"):
        emptied.back_up(folder)
    assert everything(folder) == before


def test_a_folder_that_is_no_place_for_a_backup_is_refused(new_home: NewLab, tmp_path: Path) -> None:
    lab = new_home()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(BadInputError, match=r"holds cat\.png, which is not of a backup"):
        lab.back_up(tmp_path / "photos")
    with pytest.raises(BadInputError, match="lie within one another"):
        lab.back_up(lab.settings.home / "backup")
    assert not (lab.settings.home / "backup").exists()
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(BadInputError, match=r"the backup will write up to .*give a folder on another disk"):
        lab.back_up(tmp_path / "backup", keep_free=free)
    assert not (tmp_path / "backup").exists()
    with pytest.raises(BadInputError, match=r"holds no backup, as it has no backup\.json"):
        lab.restore(tmp_path / "photos")
