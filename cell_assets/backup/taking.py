"""Taking a backup: the databases first, then every artifact that they name.

Bytes are published before the ledger's row of them and a row is never removed, so whatever the copied ledger names lies
in the store when it is copied afterwards; the other way about, what was published in between would be named and not
there. What is evicted in between is the one exception, and makes the databases be taken once more.

Of the databases the ledger's moment is the last, a few milliseconds after the others': what it holds and Dagster or
MLflow do not yet show is shown when the restored lab is next used, whereas an event of a run that the ledger lacks
could not be explained.
"""

import contextlib
import fcntl
import importlib.metadata
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from cell_assets.backup import manifest as layout
from cell_assets.backup.copying import copy_artifact, looks_whole
from cell_assets.backup.manifest import BackupManifest, DumpedDatabase, KeptArtifact
from cell_assets.database.addresses import DatabaseAddresses
from cell_assets.database.dumps import database_bytes, dump, exported_snapshot
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger.extract import ChainHead
from cell_assets.ledger.records import Artifact
from cell_assets.store.digest import DIGEST_TYPE, FolderDigest, digest_folder
from cell_assets.store.faults import disk_faults
from cell_assets.store.file_digest import digest_file
from cell_assets.store.manifest import FileManifest, manifest_path, read_manifest, write_manifest
from cell_assets.store.room import require_room
from cell_assets.store.store import Store
from cell_assets.store.tree import flush_folder, make_folders, remove
from cell_assets.store.verdict import verify_folder

Step = Callable[[int, int, str], None]
"""Takes bytes done, bytes in all, and what was copied last."""

_ATTEMPTS = 5
"""Evictions happen once a night: that this many backups in a row meet one is no coincidence."""


@dataclass(frozen=True)
class TakenBackup:
    """What one backup did."""

    folder: Path
    manifest: BackupManifest
    n_copied: int
    """Artifacts; the others were in the folder already."""
    n_bytes_copied: int


def take_backup(
    store: Store, addresses: DatabaseAddresses, folder: Path, home: Path, step: Step, keep_free: int = 0
) -> TakenBackup:
    """Bring a backup folder up to the lab as it is now; the lab may be in use meanwhile.

    Artifacts that a bucket keeps stay there, and are named. One that is not whole in the store is left out and said in
    the manifest. Until the new manifest is
    written, a backup that was in the folder before stays whole.

    Args:
        home: the lab's folder, which the backup must not lie in.
        keep_free: bytes of the backup's disk that stay free.

    Raises:
        BadInputError: the folder is of something else, of another lab, in use by another backup, or has no room.
        CellAssetsError: a database cannot be dumped, or the disk fails.
    """
    folder, home = folder.absolute(), home.expanduser().absolute()
    if folder.resolve().is_relative_to(home.resolve()) or home.resolve().is_relative_to(folder.resolve()):
        raise BadInputError(
            f"the backup {folder} and CELL_ASSETS_HOME {home} lie within one another: give a folder elsewhere, best on "
            "another disk"
        )
    _refuse_another(folder, store)
    _require_room(folder, store, addresses, keep_free)
    with disk_faults(folder, "the backup"):
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            return _take(store, addresses, folder, step)


def _refuse_another(folder: Path, store: Store) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder: give the folder that the backup goes to")
    ours = {layout.NAME, f"{layout.NAME}.partial", layout.DATABASES, layout.STORE, layout.LOCK}
    foreign = sorted({path.name for path in folder.iterdir()} - ours)
    if foreign:
        raise BadInputError(
            f"{folder} holds {foreign[0]}, which is not of a backup: give an empty folder, or one that "
            "`cell-assets backup` made"
        )
    if (folder / layout.NAME).exists() and not store.ledger.holds_entry(layout.read_manifest(folder).head):
        # Such as that of a lab that was lost, whose only backup this is.
        raise BadInputError(
            f"{folder} holds the backup of another lab, or of a later state of this one: give another folder"
        )


def _require_room(folder: Path, store: Store, addresses: DatabaseAddresses, keep_free: int) -> None:
    evicted = store.ledger.evicted()
    missing = [
        artifact.n_bytes
        for artifact in (store.ledger.artifacts() if store.bucket is None else ())
        if artifact.id not in evicted and not _path(folder, artifact).exists()
    ]
    dumps = sum(map(database_bytes, (addresses.dagster, addresses.mlflow, addresses.ledger)))
    require_room(folder, sum(missing) + dumps, keep_free, "the backup", "give a folder on another disk")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / layout.LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(f"another backup to {folder} is under way: wait until it is done") from None
        yield


def _take(store: Store, addresses: DatabaseAddresses, folder: Path, step: Step) -> TakenBackup:
    n_copied = n_bytes_copied = 0
    for _ in range(_ATTEMPTS):
        evicted = store.ledger.evicted()
        dumped = _dump_databases(store, addresses, folder)
        known = [one for one in store.ledger.artifacts() if one.id in dumped.artifact_ids]
        present = [one for one in known if one.id not in evicted]
        copied = (
            _copy_artifacts(store, present, folder, step)
            if store.bucket is None
            else _named_in_bucket(store, present)
        )
        n_copied, n_bytes_copied = n_copied + copied.n_copied, n_bytes_copied + copied.n_bytes
        if store.ledger.evicted().isdisjoint(dumped.artifact_ids - evicted):
            break
        # Bytes that the dumped ledger holds to be there may be gone.
        remove(dumped.folder)
    else:
        raise CellAssetsError(
            f"the backup to {folder} met evictions {_ATTEMPTS} times: take it when `gc` is done"
        )
    listed = [
        _list_evicted(store, one, folder) for one in known if one.id in evicted and store.bucket is None
    ]
    manifest = BackupManifest(
        made=dumped.at,
        made_by=importlib.metadata.version("cell-assets"),
        store_root=str(store.root),
        head=dumped.head,
        databases=dumped.databases,
        artifacts=(*copied.kept, *(one for one in listed if one is not None)),
        damaged=copied.damaged,
        bucket=store.bucket,
    )
    layout.write_manifest(folder, manifest)
    flush_folder(folder)
    for other in (folder / layout.DATABASES).iterdir():
        if other != dumped.folder:
            remove(other)
    return TakenBackup(folder, manifest, n_copied, n_bytes_copied)


@dataclass(frozen=True)
class _Dumped:
    """The three databases, and what the ledger held."""

    folder: Path
    databases: tuple[DumpedDatabase, ...]
    artifact_ids: frozenset[int]
    head: ChainHead
    at: str


def _dump_databases(store: Store, addresses: DatabaseAddresses, folder: Path) -> _Dumped:
    own = folder / layout.DATABASES / secrets.token_hex(8)
    make_folders(own, folder)
    try:
        with (
            exported_snapshot(addresses.dagster) as dagster,
            exported_snapshot(addresses.mlflow) as mlflow,
            store.ledger.exported_moment() as moment,
        ):
            wanted = (
                ("dagster", addresses.dagster, dagster),
                ("mlflow", addresses.mlflow, mlflow),
                ("ledger", addresses.ledger, moment.snapshot),
            )
            databases = tuple(_dump(folder, own / f"{name}.dump", url, of) for name, url, of in wanted)
    except BaseException:
        remove(own)
        raise
    flush_folder(own)
    return _Dumped(own, databases, moment.artifact_ids, moment.head, moment.at.astimezone(UTC).isoformat())


def _dump(folder: Path, file: Path, url: str, snapshot: str) -> DumpedDatabase:
    dump(url, snapshot, file)
    # It holds everything that the lab's databases hold.
    file.chmod(0o400)
    return DumpedDatabase(
        name=file.stem,
        file=file.relative_to(folder).as_posix(),
        n_bytes=file.stat().st_size,
        digest=digest_file(file),
        database_bytes=database_bytes(url),
    )


@dataclass(frozen=True)
class _Copied:
    """Artifacts in the backup's folder."""

    kept: tuple[KeptArtifact, ...]
    damaged: tuple[str, ...]
    n_copied: int
    n_bytes: int


def _copy_artifacts(store: Store, artifacts: Sequence[Artifact], folder: Path, step: Step) -> _Copied:
    missing = {one.id for one in artifacts if looks_whole(_path(folder, one), one.digest) is not None}
    total = sum(one.n_bytes for one in artifacts if one.id in missing)
    kept, damaged, n_copied, n_bytes = [], [], 0, 0
    for artifact in artifacts:
        if artifact.id in missing:
            title = f"{artifact.asset} {artifact.partition}"

            def copied(n_more: int, title: str = title) -> None:
                nonlocal n_bytes
                n_bytes += n_more
                step(n_bytes, total, title)

            why = _copy_one(store, artifact, folder, copied)
            if why is not None:
                damaged.append(f"{title} (artifact {artifact.id}): {why}")
                continue
            n_copied += 1
        kept.append(KeptArtifact(artifact.uri, artifact.digest, artifact.n_bytes, is_evicted=False))
    return _Copied(tuple(kept), tuple(damaged), n_copied, n_bytes)


def _named_in_bucket(store: Store, artifacts: Sequence[Artifact]) -> _Copied:
    """What the bucket keeps, which outlives this machine: by name, without its bytes."""
    there = store.with_bytes(artifacts)
    kept = tuple(
        KeptArtifact(one.uri, one.digest, one.n_bytes, is_evicted=False)
        for one in artifacts
        if one.id in there
    )
    damaged = tuple(
        f"{one.asset} {one.partition} (artifact {one.id}): {store.title(one.uri)} holds nothing"
        for one in artifacts
        if one.id not in there
    )
    return _Copied(kept, damaged, 0, 0)


def _copy_one(store: Store, artifact: Artifact, folder: Path, copied: Callable[[int], None]) -> str | None:
    """Copy one artifact; the reason where its bytes are not those that were published."""
    source, target = store.path_of(artifact), _path(folder, artifact)
    if artifact.digest_type != DIGEST_TYPE:
        return f"its digest is of type {artifact.digest_type}, not {DIGEST_TYPE}"
    recorded = store.file_digests(artifact)
    if recorded is None:
        # Without the list of its files the bytes can still be those of the digest.
        recorded = _digested(source, artifact)
    if recorded is None:
        return verify_folder(source, artifact).why
    named = FileManifest(
        artifact.asset, artifact.partition, artifact.format_name, artifact.format_version, recorded
    )
    # What an earlier backup copied and a failing disk spoiled since.
    remove(target)
    try:
        copy_artifact(source, target, folder, named, copied)
    except CellAssetsError as error:
        return str(error)
    return None


def _digested(source: Path, artifact: Artifact) -> FolderDigest | None:
    """The digests of a folder's files, if they are those of the artifact."""
    try:
        found = digest_folder(source)
    except (CellAssetsError, OSError):
        return None
    return found if found.root == artifact.digest else None


def _list_evicted(store: Store, artifact: Artifact, folder: Path) -> KeptArtifact | None:
    """Keep the list of an evicted artifact's files, by which made-again bytes are told; None where it is lost."""
    listed = read_manifest(manifest_path(store.path_of(artifact)), artifact.digest)
    if listed is None:
        return None
    target = _path(folder, artifact)
    make_folders(target.parent, folder)
    write_manifest(listed, manifest_path(target), target.with_name(f"{target.name}.json.partial"))
    return KeptArtifact(artifact.uri, artifact.digest, 0, is_evicted=True)


def _path(folder: Path, artifact: Artifact) -> Path:
    return folder / layout.STORE / artifact.uri
