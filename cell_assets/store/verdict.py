"""Verifying a published artifact: what its bytes are now against the digest that the ledger holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

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
    if (why := why_gone(artifact, has_bytes=folder.exists())) is not None:
        return unverifiable(artifact, why, within)
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
    if (why := why_incomparable(artifact, manifest, within, str(manifest_path(folder)))) is not None:
        return unverifiable(artifact, why, within)
    recorded = manifest.folder.within(within) if manifest is not None else None
    try:
        listing = list_folder(folder / within)
    except NotFoundError:
        return missing(artifact, str(folder / within), recorded, within)
    except OSError as error:
        why = f"{error.filename} cannot be listed: {error.strerror}"
        return unverifiable(artifact, why, within)
    try:
        found = digest_listing(listing, hashed)
    except OSError as error:
        why = f"{error.filename} cannot be read: {error.strerror}"
        return unverifiable(artifact, why, within)
    return judge(artifact, recorded, found, listing, str(manifest_path(folder)), within)


def why_incomparable(
    artifact: Artifact, manifest: FileManifest | None, within: str, manifest_title: str
) -> str | None:
    """Why no bytes can be held against what is recorded; None where they can."""
    if artifact.digest_type != DIGEST_TYPE:
        return f"its digest is of type {artifact.digest_type}, not {DIGEST_TYPE}"
    if within and manifest is None:
        return f"{manifest_title} is missing or altered, so only the whole artifact can be verified"
    return None


def judge(
    artifact: Artifact,
    recorded: FolderDigest | None,
    found: FolderDigest,
    listing: Listing,
    manifest_title: str,
    within: str = "",
) -> Verdict:
    """What `found`, the digests of the files of `listing`, are against what is recorded.

    Args:
        recorded: proven against the artifact's digest; None: only all of the artifact can be judged, and files are
            not named.
        manifest_title: where the list of files lies, for people.
    """
    expected = recorded.root if recorded is not None else artifact.digest
    # The recorded list was proven against the artifact's digest, so an equal list has it as well.
    if (found == recorded or found.root == expected) and not listing.irregular:
        return _verdict(artifact, within, VerdictState.VERIFIED, n_bytes_read=found.n_bytes)
    if recorded is None:
        why = f"its bytes differ; {manifest_title}, which would name the files, is missing or altered"
        return _verdict(artifact, within, VerdictState.CHANGED, why, n_bytes_read=found.n_bytes)
    differences = _name_differences(recorded, found, listing)
    return _verdict(artifact, within, *differences, n_bytes_read=found.n_bytes)


def why_gone(artifact: Artifact, *, has_bytes: bool) -> str | None:
    """Why bytes that are not there are no loss; None when they are expected to be there."""
    if artifact.state is ArtifactState.EVICTED:
        return f"its bytes were evicted; `cell-assets restore {artifact.id}` makes them again to verify them"
    if artifact.state is ArtifactState.TOMBSTONED and not has_bytes:
        return "it was withdrawn and its bytes are no longer kept"
    return None


def unverifiable(artifact: Artifact, why: str, within: str = "") -> Verdict:
    """No statement is possible."""
    return _verdict(artifact, within, VerdictState.UNVERIFIABLE, why)


def missing(artifact: Artifact, where: str, recorded: FolderDigest | None, within: str = "") -> Verdict:
    """None of the bytes are there."""
    names = tuple(file.path for file in recorded.files) if recorded is not None else ()
    return _verdict(artifact, within, VerdictState.MISSING, f"its folder {where} is gone", missing=names)


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
    if (why := why_gone(artifact, has_bytes=folder.exists())) is not None:
        return unverifiable(artifact, why)
    path = manifest_path(folder)
    manifest = read_manifest(path, artifact.digest)
    if manifest is None:
        return unverifiable(artifact, no_list_to_look_by(str(path)))
    try:
        sealed = path.stat().st_ctime_ns
        listing = list_folder(folder)
        stats = {path: (folder / path).stat() for path in listing.files}
    except NotFoundError:
        return missing(artifact, str(folder), manifest.folder)
    except OSError as error:
        return unverifiable(artifact, f"{error.filename} cannot be looked at: {error.strerror}")
    seen = {path: Seen(stat.st_size, stat.st_ctime_ns <= sealed) for path, stat in stats.items()}
    return judge_by_look(artifact, manifest.folder, seen, listing)


def no_list_to_look_by(manifest_title: str) -> str:
    """Why nothing can be said at a glance."""
    return f"{manifest_title}, which lists its files, is missing or altered; verify it without --quick"


class Seen(NamedTuple):
    """What is known of a file without reading it."""

    n_bytes: int
    is_untouched: bool
    """Not written after the list of files was."""


def judge_by_look(
    artifact: Artifact, recorded: FolderDigest, seen: Mapping[str, Seen], listing: Listing
) -> Verdict:
    """What the files of `listing` are, by size and time, against what is recorded."""
    known = _by_path(recorded.files)
    now = FolderDigest(
        tuple(
            FileDigest(
                file.path,
                seen[file.path].n_bytes,
                file.digest if seen[file.path].is_untouched else "touched since",
            )
            for file in recorded.files
            if file.path in seen
        )
        + tuple(
            FileDigest(path, one.n_bytes, "not recorded") for path, one in seen.items() if path not in known
        ),
        listing.empty_folders,
    )
    return _verdict(artifact, "", *_name_differences(recorded, now, listing))


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
