"""The list of per-file digests kept beside a published artifact, so that a changed file can be named.

It needs no trust: the artifact's digest recomputes from it, so a list that was altered gives itself away.
It also holds asset, partition and format, so that a ledger that was lost can be told what the folders are.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cell_assets.ledger.records import Artifact
from cell_assets.store.digest import DIGEST_TYPE, FolderDigest
from cell_assets.store.file_digest import FileDigest
from cell_assets.store.tree import READ_ONLY_FILE

SUFFIX = ".files.json"
"""Of the manifest, behind the artifact's own name."""
_FORMAT = "cell_assets.files"
_VERSION = "1"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileManifest:
    """What the store keeps beside one published folder."""

    asset: str
    partition: str
    format_name: str
    format_version: str
    folder: FolderDigest

    def is_of(self, artifact: Artifact) -> bool:
        """Whether what the digest does not cover, asset, partition and format, is this artifact's too."""
        named = (self.asset, self.partition, self.format_name, self.format_version)
        return named == (artifact.asset, artifact.partition, artifact.format_name, artifact.format_version)


def manifest_path(artifact_folder: Path) -> Path:
    """Where the manifest of a published folder lies: beside it, outside the digested bytes."""
    return artifact_folder.with_name(artifact_folder.name + SUFFIX)


def artifact_folder(manifest: Path) -> Path | None:
    """The folder that a manifest's name belongs to; None for any other file."""
    if not manifest.name.endswith(SUFFIX):
        return None
    return manifest.with_name(manifest.name.removesuffix(SUFFIX))


def manifest_bytes(manifest: FileManifest) -> bytes:
    """The manifest as it is kept: JSON in UTF-8."""
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "asset": manifest.asset,
        "partition": manifest.partition,
        "artifact_format": manifest.format_name,
        "artifact_format_version": manifest.format_version,
        "digest_type": DIGEST_TYPE,
        "digest": manifest.folder.root,
        "empty_folders": list(manifest.folder.empty_folders),
        "files": [[file.path, file.n_bytes, file.digest] for file in manifest.folder.files],
    }
    return (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def write_manifest(manifest: FileManifest, path: Path, scratch: Path) -> None:
    """Write it to `scratch`, flush, and move it to `path` in one step; the folder still wants flushing."""
    try:
        with scratch.open("wb") as handle:
            handle.write(manifest_bytes(manifest))
            handle.flush()
            os.fchmod(handle.fileno(), READ_ONLY_FILE)
            os.fsync(handle.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def read_manifest(path: Path, digest: str) -> FileManifest | None:
    """The manifest at `path` if the artifact's digest recomputes from it; None if missing or altered."""
    try:
        return parse_manifest(path.read_bytes(), digest)
    except OSError:
        return None


def parse_manifest(content: bytes, digest: str) -> FileManifest | None:
    """A manifest's bytes, from anybody's hands, if the artifact's digest recomputes from them; else None."""
    try:
        said = json.loads(content)
        manifest = FileManifest(
            asset=said["asset"],
            partition=said["partition"],
            format_name=said["artifact_format"],
            format_version=said["artifact_format_version"],
            folder=FolderDigest(
                files=tuple(
                    FileDigest(str(name), int(n_bytes), file) for name, n_bytes, file in said["files"]
                ),
                empty_folders=tuple(str(folder) for folder in said["empty_folders"]),
            ),
        )
        # Of another length, the digest of one file could say what follows it in the tree.
        well_formed = all(_DIGEST.fullmatch(file.digest) for file in manifest.folder.files)
        proven = well_formed and manifest.folder.root == digest
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return manifest if proven else None


def partition_in_manifest(path: Path) -> str | None:
    """The partition key that a manifest states, unproven; None if it cannot be read."""
    try:
        return partition_stated(path.read_bytes())
    except OSError:
        return None


def partition_stated(content: bytes) -> str | None:
    """The partition key that a manifest's bytes state, unproven; None if they state none."""
    try:
        partition = json.loads(content)["partition"]
    except (ValueError, KeyError, TypeError):
        return None
    return partition if isinstance(partition, str) else None
