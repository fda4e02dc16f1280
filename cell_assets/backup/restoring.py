"""A lab from a backup: everything is looked at first, and what fails half-way leaves nothing behind."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cell_assets.backup import manifest as layout
from cell_assets.backup.copying import copy_artifact, looks_whole
from cell_assets.backup.manifest import BackupManifest, KeptArtifact, read_manifest
from cell_assets.backup.moved_models import point_models_at
from cell_assets.backup.taking import Step
from cell_assets.database.addresses import (
    DatabaseAddresses,
    drop_database,
    existing_databases,
)
from cell_assets.database.dumps import clear, is_empty, load
from cell_assets.database.embedded import open_database
from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError
from cell_assets.ledger.ledger import Ledger
from cell_assets.settings import Settings
from cell_assets.store.faults import disk_faults
from cell_assets.store.file_digest import digest_file
from cell_assets.store.manifest import manifest_path, write_manifest
from cell_assets.store.manifest import read_manifest as read_file_manifest
from cell_assets.store.room import require_room
from cell_assets.store.store import Store
from cell_assets.store.tree import flush_folder, make_folders, remove

_OF_A_FILE_SYSTEM = frozenset({"lost+found"})
"""What an empty disk holds where it is mounted."""


@dataclass(frozen=True)
class RestoredLab:
    """What a restore did."""

    home: Path
    manifest: BackupManifest
    n_artifacts: int
    n_bytes: int
    missing: tuple[str, ...]
    """URLs of artifacts that the bucket no longer keeps, as what was evicted since the backup."""


def restore_backup(folder: Path, settings: Settings, step: Step) -> RestoredLab:
    """Make the lab that a backup holds in an empty home, and in databases that are empty or not there yet.

    Every byte is held against the digest that it was published under. The home and the server may be others than
    those of the lab that was backed up.

    Raises:
        BadInputError: the folder is no whole backup, the home or a database is not empty, or there is no room.
        ChangedBytesError: a file of the backup is missing, cut short or altered.
        CellAssetsError: the database cannot be reached or filled, or the disk fails.
    """
    folder, home = folder.absolute(), settings.home.expanduser().absolute()
    manifest = read_manifest(folder)
    _refuse_other_kind_of_store(manifest, settings.store)
    _refuse_filled_home(home)
    if settings.database_url is not None:
        _refuse_filled_databases(settings.database_url)
    _refuse_damaged(folder, manifest)
    missing: tuple[str, ...] = ()
    dumps = sum(one.database_bytes for one in manifest.databases) if settings.database_url is None else 0
    require_room(
        home,
        manifest.n_bytes + dumps,
        settings.keep_free_bytes,
        "the restore",
        "set CELL_ASSETS_HOME to a folder on another disk",
    )
    store_root = settings.store_root.expanduser().absolute()
    with disk_faults(home, "the restore"), _emptied_again(home):
        partial = home / f"{store_root.name}.partial"
        if manifest.bucket is None:
            _copy_store(folder, partial, manifest, step)
        else:
            partial.mkdir()
        with _empty_databases(settings) as addresses:
            for database in manifest.databases:
                load(_address(addresses, database.name), folder / database.file)
            _check_history(addresses, manifest)
            if settings.store is not None:
                missing = _missing_in_bucket(settings.store, addresses, store_root, manifest)
            point_models_at(addresses.mlflow, manifest.store_root, str(store_root))
            partial.rename(store_root)
            flush_folder(home)
    kept = [one for one in manifest.artifacts if not one.is_evicted]
    return RestoredLab(home, manifest, len(kept), manifest.n_bytes, missing)


def _refuse_other_kind_of_store(manifest: BackupManifest, bucket: str | None) -> None:
    if manifest.bucket is not None and bucket is None:
        raise BadInputError(
            f"the artifacts of this backup are kept in {manifest.bucket}: set CELL_ASSETS_STORE to it, or to where its "
            "objects were copied"
        )
    if manifest.bucket is None and bucket is not None:
        raise BadInputError(
            "this backup holds artifacts, which are restored into a folder: unset CELL_ASSETS_STORE, restore, then "
            "copy CELL_ASSETS_HOME/store into the bucket"
        )


def _missing_in_bucket(
    url: str, addresses: DatabaseAddresses, store_root: Path, manifest: BackupManifest
) -> tuple[str, ...]:
    with Ledger.open(addresses.ledger) as ledger:
        store = Store(store_root, ledger, bucket=url)
        store.backend.belong()
        there = store.backend.with_bytes([one.uri for one in manifest.artifacts])
        return tuple(store.title(one.uri) for one in manifest.artifacts if one.uri not in there)


def _refuse_filled_home(home: Path) -> None:
    if not home.exists():
        return
    found = (
        sorted({path.name for path in home.iterdir()} - _OF_A_FILE_SYSTEM) if home.is_dir() else [home.name]
    )
    if found:
        raise BadInputError(
            f"CELL_ASSETS_HOME {home} is not empty, it holds {found[0]}: set it to a new folder, or move "
            "what is there away"
        )


def _refuse_filled_databases(base_url: str) -> None:
    for name, url in existing_databases(base_url).items():
        if not is_empty(url):
            raise BadInputError(
                f"the database {name} is not empty: let CELL_ASSETS_DATABASE_URL end in another name, or drop it"
            )


def _refuse_damaged(folder: Path, manifest: BackupManifest) -> None:
    """Look at every file before anything is written: at the dumps whole, at the artifacts by name and size."""
    for database in manifest.databases:
        file = folder / database.file
        if not file.is_file():
            raise _damaged(f"{file} is missing")
        if file.stat().st_size != database.n_bytes or digest_file(file) != database.digest:
            raise _damaged(f"{file} was cut short or altered")
    for artifact in manifest.artifacts if manifest.bucket is None else ():
        path = folder / layout.STORE / artifact.uri
        if artifact.is_evicted:
            listed = read_file_manifest(manifest_path(path), artifact.digest)
            why = None if listed is not None else f"{manifest_path(path)} is missing or altered"
        else:
            why = looks_whole(path, artifact.digest)
        if why is not None:
            raise _damaged(why)


def _damaged(what: str) -> ChangedBytesError:
    return ChangedBytesError(
        f"the backup is damaged: {what}; bring the file back, or restore from another backup"
    )


@contextlib.contextmanager
def _emptied_again(home: Path) -> Iterator[None]:
    """Remove what a block that fails left in a home that was empty."""
    was_there = home.exists()
    home.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in home.iterdir():
            if path.name not in _OF_A_FILE_SYSTEM:
                remove(path)
        if not was_there:
            home.rmdir()
        raise


def _copy_store(folder: Path, target: Path, manifest: BackupManifest, step: Step) -> None:
    target.mkdir()
    n_bytes = 0
    for artifact in manifest.artifacts:

        def copied(n_more: int, uri: str = artifact.uri) -> None:
            nonlocal n_bytes
            n_bytes += n_more
            step(n_bytes, manifest.n_bytes, uri.rpartition("/")[0])

        _copy_one(folder, target, artifact, copied)


def _copy_one(folder: Path, target: Path, artifact: KeptArtifact, copied: Callable[[int], None]) -> None:
    source, goal = folder / layout.STORE / artifact.uri, target / artifact.uri
    listed = read_file_manifest(manifest_path(source), artifact.digest)
    if listed is None:
        raise _damaged(f"{manifest_path(source)} is missing or altered")
    if artifact.is_evicted:
        make_folders(goal.parent, target)
        write_manifest(listed, manifest_path(goal), goal.with_name(f"{goal.name}.json.partial"))
        return
    try:
        copy_artifact(source, goal, target, listed, copied)
    except CellAssetsError as error:
        raise _damaged(str(error)) from None


@contextlib.contextmanager
def _empty_databases(settings: Settings) -> Iterator[DatabaseAddresses]:
    """Three empty databases, filled by the block; as they were before when it fails."""
    before = {} if settings.database_url is None else existing_databases(settings.database_url)
    with open_database(settings) as addresses:
        # Asked again: somebody may have used them while the store was copied, and an embedded server's data may lie
        # outside of the home, and outlive it.
        _refuse_filled_databases(addresses.base)
        try:
            yield addresses
        except BaseException:
            for name, url in existing_databases(addresses.base).items():
                clear(url) if name in before else drop_database(addresses.base, name)
            raise


def _check_history(addresses: DatabaseAddresses, manifest: BackupManifest) -> None:
    with Ledger.open(addresses.ledger) as ledger:
        if not ledger.holds_entry(manifest.head):
            raise CellAssetsError(
                f"the restored ledger lacks entry {manifest.head.entry}, the newest of the backup: its dump is of "
                "another lab; restore from another backup"
            )


def _address(addresses: DatabaseAddresses, name: str) -> str:
    return {"dagster": addresses.dagster, "mlflow": addresses.mlflow, "ledger": addresses.ledger}[name]
