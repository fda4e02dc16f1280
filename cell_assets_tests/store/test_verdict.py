"""Verifying: every kind of damage is named, with the files."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cell_assets.errors import NotFoundError
from cell_assets.store.digest import digest_folder
from cell_assets.store.store import Store, VerdictState
from cell_assets_tests.store.drafts import publish

FILES = {
    "acquisition.json": b"{}",
    "plate.zarr/A/1/000/0/c/0": b"left",
    "plate.zarr/A/1/000/0/c/1": b"right",
    "plate.zarr/A/2/000/0/c/0": b"other",
}
LEFT, RIGHT = "plate.zarr/A/1/000/0/c/0", "plate.zarr/A/1/000/0/c/1"


def edit(folder: Path) -> None:
    (folder / LEFT).write_bytes(b"LEFT")


def truncate(folder: Path) -> None:
    os.truncate(folder / LEFT, 2)


def swap(folder: Path) -> None:
    (folder / LEFT).rename(folder / "x")
    (folder / RIGHT).rename(folder / LEFT)
    (folder / "x").rename(folder / RIGHT)


def drop(folder: Path) -> None:
    (folder / LEFT).unlink()


def drop_fov(folder: Path) -> None:
    shutil.rmtree(folder / "plate.zarr/A/1/000")


def add(folder: Path) -> None:
    (folder / "plate.zarr/A/1/000/0/c/2").write_bytes(b"")


def add_folder(folder: Path) -> None:
    (folder / "plate.zarr/B/1").mkdir(parents=True)


def add_link(folder: Path) -> None:
    (folder / "plate.zarr/again").symlink_to("A")


def rename(folder: Path) -> None:
    (folder / LEFT).rename(folder / "plate.zarr/A/1/000/0/c/7")


def replace_by_link(folder: Path) -> None:
    (folder / LEFT).rename(folder.parents[3] / "moved")
    (folder / LEFT).symlink_to(folder.parents[3] / "moved")


Named = tuple[str, ...]


@pytest.mark.parametrize(
    ("damage", "state", "changed", "missing", "extra"),
    [
        (edit, "changed", (LEFT,), (), ()),
        (truncate, "changed", (LEFT,), (), ()),
        (swap, "changed", (LEFT, RIGHT), (), ()),
        (drop, "missing", (), (LEFT,), ()),
        (drop_fov, "missing", (), (LEFT, RIGHT), ()),
        (add, "extra", (), (), ("plate.zarr/A/1/000/0/c/2",)),
        (add_folder, "extra", (), (), ("plate.zarr/B/1",)),
        (add_link, "extra", (), (), ("plate.zarr/again",)),
        (rename, "changed", (), (LEFT,), ("plate.zarr/A/1/000/0/c/7",)),
        (replace_by_link, "changed", (LEFT,), (), ()),
    ],
)
def test_damage_is_named(
    sqlite_store: Store,
    damage: Callable[[Path], None],
    state: str,
    changed: Named,
    missing: Named,
    extra: Named,
) -> None:
    artifact = publish(sqlite_store, "P1", FILES, asset="raw_acquisition").artifact
    folder = sqlite_store.path_of(artifact)
    assert sqlite_store.verify(artifact).is_verified
    _unlock(folder)
    damage(folder)
    verdict = sqlite_store.verify(artifact)
    assert (verdict.state, verdict.changed, verdict.missing, verdict.extra) == (
        state,
        changed,
        missing,
        extra,
    )
    assert (*changed, *missing, *extra)[0] in verdict.why


def _unlock(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)


def test_one_fov_is_verified_alone(sqlite_store: Store) -> None:
    artifact = publish(sqlite_store, "P1", FILES).artifact
    folder = sqlite_store.path_of(artifact)
    _unlock(folder)
    edit(folder)
    assert sqlite_store.verify(artifact, within="plate.zarr/A/2/000").is_verified
    damaged = sqlite_store.verify(artifact, within="plate.zarr/A/1/000")
    assert (damaged.state, damaged.changed) == (VerdictState.CHANGED, ("0/c/0",))
    with pytest.raises(NotFoundError, match="H/12"):
        sqlite_store.verify(artifact, within="plate.zarr/H/12")


def test_files_are_proven_against_the_ledger(sqlite_store: Store) -> None:
    artifact = publish(sqlite_store, "P1", FILES).artifact
    files = sqlite_store.file_digests(artifact)
    assert files is not None
    assert files == digest_folder(sqlite_store.path_of(artifact))
    assert files.root == artifact.digest


def test_an_altered_manifest_convinces_nobody(sqlite_store: Store) -> None:
    artifact = publish(sqlite_store, "P1", FILES).artifact
    folder = sqlite_store.path_of(artifact)
    manifest = folder.with_name(f"{folder.name}.files.json")
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text().replace(LEFT, RIGHT.replace("1", "9")))
    assert sqlite_store.verify(artifact).is_verified
    assert sqlite_store.file_digests(artifact) is None
    assert sqlite_store.verify(artifact, within="plate.zarr").state is VerdictState.UNVERIFIABLE
    _unlock(folder)
    edit(folder)
    verdict = sqlite_store.verify(artifact)
    assert verdict.state is VerdictState.CHANGED
    assert "missing or altered" in verdict.why


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}', '{"files": [["a", 1, "zz"]]}', "\udcff"])
def test_a_manifest_of_nonsense_is_no_manifest(sqlite_store: Store, content: str) -> None:
    artifact = publish(sqlite_store, "P1", FILES).artifact
    folder = sqlite_store.path_of(artifact)
    manifest = folder.with_name(f"{folder.name}.files.json")
    manifest.chmod(0o644)
    manifest.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert sqlite_store.file_digests(artifact) is None
    assert sqlite_store.verify(artifact).is_verified


def test_gone_bytes_are_missing(sqlite_store: Store) -> None:
    artifact = publish(sqlite_store, "P1", FILES).artifact
    folder = sqlite_store.path_of(artifact)
    folder.chmod(0o755)
    folder.rename(sqlite_store.root.parent / "taken")
    verdict = sqlite_store.verify(artifact)
    assert verdict.state is VerdictState.MISSING
    assert set(verdict.missing) == set(FILES)
    assert str(folder) in verdict.why
