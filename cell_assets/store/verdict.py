"""Verifying a published artifact: what its bytes are now against the digest that the ledger holds."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cell_assets.errors import NotFoundError
from cell_assets.ledger.records import Artifact, ArtifactState
from cell_assets.store.digest import DIGEST_TYPE, FolderDigest, digest_listing
from cell_assets.store.file_digest import FileDigest, Hashed, untold
from cell_assets.store.manifest import FileManifest, manifest_path, read_manifest
from cell_assets.store.tree import Listing, list_folder


class VerdictState(StrEnum):
    """What a re-hash says."""

    VERIFIED = "verified"
    MISSING = "missing"
    """Bytes that were recorded are not there, and nothing else is wrong."""
    CHANGED = "changed"
    EXTRA = "extra"
    """All recorded bytes stand, and something lies beside them."""
    UNVERIFIABLE = "unverifiable"
    """No statement is possible; `why` says what stood in the way."""


@dataclass(frozen=True)
class Verdict:
    """The result for one artifact, or one folder inside it."""

    artifact_id: int
    asset: str
    partition: str
    state: VerdictState
    within: str = ""
    """The folder that was looked at, relative to the artifact; empty for all of it."""
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    why: str = ""
    """Empty exactly when verified."""
    n_bytes_read: int = 0

    @property
    def is_verified(self) -> bool:
        """Whether the bytes are the recorded ones."""
        return self.state is VerdictState.VERIFIED


def verify_folder(folder: Path, artifact: Artifact, within: str = "", hashed: Hashed = untold) -> Verdict:
    """Re-hash the artifact at `folder`, or only the folder `within` it, and name every file that differs.

    Never raises for what it finds on disk. Raises NotFoundError when the artifact has no folder `within`.
    """
    if (why := _why_gone(folder, artifact)) is not None:
        return _verdict(artifact, within, VerdictState.UNVERIFIABLE, why)
    manifest = read_manifest(manifest_path(folder), artifact.digest)
    return compare_folder(folder, artifact, manifest, within, hashed)


def compare_folder(
    folder: Path,
    artifact: Artifact,
    manifest: FileManifest | None,
    within: str = "",
    hashed: Hashed = untold,
) -> Verdict:
    """Re-hash `folder` and hold it against the artifact's digest and its proven `manifest`, which names files.

    Without a manifest only the whole artifact can be verified. Raises as `verify_folder` does.
    """
    if artifact.digest_type != DIGEST_TYPE:
        why = f"its digest is of type {artifact.digest_type}, not {DIGEST_TYPE}"
        return _verdict(artifact, within, VerdictState.UNVERIFIABLE, why)
    if within and manifest is None:
        why = f"{manifest_path(folder)} is missing or altered, so only the whole artifact can be verified"
        return _verdict(artifact, within, VerdictState.UNVERIFIABLE, why)
    recorded = manifest.folder.within(within) if manifest is not None else None
    expected = recorded.root if recorded is not None else artifact.digest
    try:
        listing = list_folder(folder / within)
    except NotFoundError:
        names = tuple(file.path for file in recorded.files) if recorded is not None else ()
        why = f"its folder {folder / within} is gone"
        return _verdict(artifact, within, VerdictState.MISSING, why, missing=names)
    except OSError as error:
        why = f"{error.filename} cannot be listed: {error.strerror}"
        return _verdict(artifact, within, VerdictState.UNVERIFIABLE, why)
    try:
        found = digest_listing(listing, hashed)
    except OSError as error:
        why = f"{error.filename} cannot be read: {error.strerror}"
        return _verdict(artifact, within, VerdictState.UNVERIFIABLE, why)
    # The recorded list was proven against the artifact's digest, so an equal list has it as well.
    if (found == recorded or found.root == expected) and not listing.irregular:
        return _verdict(artifact, within, VerdictState.VERIFIED, n_bytes_read=found.n_bytes)
    if recorded is None:
        why = f"its bytes differ; {manifest_path(folder)}, which would name the files, is missing or altered"
        return _verdict(artifact, within, VerdictState.CHANGED, why, n_bytes_read=found.n_bytes)
    differences = _name_differences(recorded, found, listing)
    return _verdict(artifact, within, *differences, n_bytes_read=found.n_bytes)


def _why_gone(folder: Path, artifact: Artifact) -> str | None:
    """Why bytes that are not there are no loss; None when they are expected to be there."""
    if artifact.state is ArtifactState.EVICTED:
        return f"its bytes were evicted; `cell-assets restore {artifact.id}` makes them again to verify them"
    if artifact.state is ArtifactState.TOMBSTONED and not folder.exists():
        return "it was withdrawn and its bytes are no longer kept"
    return None


def _verdict(
    artifact: Artifact,
    within: str,
    state: VerdictState,
    why: str = "",
    changed: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    n_bytes_read: int = 0,
) -> Verdict:
    named = (artifact.id, artifact.asset, artifact.partition, state, within)
    return Verdict(*named, changed, missing, extra, why, n_bytes_read)


def quick_look(folder: Path, artifact: Artifact) -> Verdict:
    """What names, sizes and times say without reading a byte; `verified` here certifies nothing.

    A published file never changes after the list of files beside it was written, so one whose inode changed
    later was touched, also where its size and modification time were put back.
    """
    named = (artifact.id, artifact.asset, artifact.partition)
    if (why := _why_gone(folder, artifact)) is not None:
        return Verdict(*named, VerdictState.UNVERIFIABLE, why=why)
    path = manifest_path(folder)
    manifest = read_manifest(path, artifact.digest)
    if manifest is None:
        why = f"{path}, which lists its files, is missing or altered; verify it without --quick"
        return Verdict(*named, VerdictState.UNVERIFIABLE, why=why)
    try:
        sealed = path.stat().st_ctime_ns
        listing = list_folder(folder)
        seen = {path: (folder / path).stat() for path in listing.files}
    except NotFoundError:
        files = tuple(file.path for file in manifest.folder.files)
        return Verdict(*named, VerdictState.MISSING, missing=files, why=f"its folder {folder} is gone")
    except OSError as error:
        why = f"{error.filename} cannot be looked at: {error.strerror}"
        return Verdict(*named, VerdictState.UNVERIFIABLE, why=why)
    known = _by_path(manifest.folder.files)
    now = FolderDigest(
        tuple(
            FileDigest(
                file.path,
                seen[file.path].st_size,
                file.digest if seen[file.path].st_ctime_ns <= sealed else "touched since",
            )
            for file in manifest.folder.files
            if file.path in seen
        )
        + tuple(
            FileDigest(path, stat.st_size, "not recorded") for path, stat in seen.items() if path not in known
        ),
        listing.empty_folders,
    )
    state, why, changed, missing, extra = _name_differences(manifest.folder, now, listing)
    return Verdict(*named, state, changed=changed, missing=missing, extra=extra, why=why)


def _name_differences(
    recorded: FolderDigest, found: FolderDigest, listing: Listing
) -> tuple[VerdictState, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    was = _by_path(recorded.files)
    now = _by_path(found.files)
    irregular = set(listing.irregular)
    changed = sorted(
        [path for path in was.keys() & now.keys() if was[path] != now[path]]
        + [p for p in irregular if p in was]
    )
    missing = sorted(path for path in was.keys() - now.keys() if path not in irregular)
    missing += sorted(set(recorded.empty_folders) - set(listing.folders))
    extra = sorted((now.keys() - was.keys()) | {path for path in irregular if path not in was})
    extra += sorted(_extra_folders(recorded, found))
    kinds = [kind for kind, names in (("changed", changed), ("missing", missing), ("extra", extra)) if names]
    if not kinds:
        return VerdictState.VERIFIED, "", (), (), ()
    state = VerdictState(kinds[0]) if len(kinds) == 1 else VerdictState.CHANGED
    counts = (("changed", changed), ("missing", missing), ("extra", extra))
    why = ", ".join(f"{len(names)} {kind} (first: {names[0]})" for kind, names in counts if names)
    return state, why, tuple(changed), tuple(missing), tuple(extra)


def _by_path(files: tuple[FileDigest, ...]) -> dict[str, FileDigest]:
    return {file.path: file for file in files}


def _extra_folders(recorded: FolderDigest, found: FolderDigest) -> set[str]:
    """Empty folders that were not recorded, unless they are what missing files left behind."""
    known = set(recorded.empty_folders)
    for file in recorded.files:
        parent = file.path.rpartition("/")[0]
        while parent:
            known.add(parent)
            parent = parent.rpartition("/")[0]
    return set(found.empty_folders) - known
