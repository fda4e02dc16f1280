"""Published bytes in a folder of this machine: what is placed appears, and disappears, in one rename."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cell_assets.errors import NotFoundError
from cell_assets.ledger.records import Artifact
from cell_assets.store.backend import Name, Unfinished
from cell_assets.store.digest import digest_listing
from cell_assets.store.file_digest import Hashed, untold
from cell_assets.store.layout import STAGING, Layout, names_artifact
from cell_assets.store.manifest import (
    FileManifest,
    artifact_folder,
    manifest_path,
    partition_in_manifest,
    read_manifest,
    write_manifest,
)
from cell_assets.store.tree import READ_ONLY_FOLDER, flush_folder, list_folder, make_folders, remove, size
from cell_assets.store.verdict import Verdict, quick_look, verify_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalBackend:
    """All of it below the layout's root."""

    layout: Layout

    def belong(self) -> None:
        pass

    def is_taken(self, uri: str) -> bool:
        folder = self.layout.at(uri)
        return folder.exists() or manifest_path(folder).exists()

    def place(self, staged: Path, uri: str, manifest: FileManifest, *, is_recorded: bool) -> None:
        folder = self.layout.at(uri)
        scratch = staged.with_name(f"{staged.name}.json")
        stands = _stands(folder, manifest)
        if stands and is_recorded:
            if read_manifest(manifest_path(folder), manifest.folder.root) is None:
                write_manifest(manifest, manifest_path(folder), scratch)
            remove(staged)
            return
        make_folders(folder.parent, self.layout.root)
        if not stands:
            # Its manifest is replaced in one step: an evicted artifact must not lose the names of its files.
            self.let_go(uri, aside_of(staged))
        write_manifest(manifest, manifest_path(folder), scratch)
        if stands:
            remove(staged)
        else:
            staged.rename(folder)
        folder.chmod(READ_ONLY_FOLDER)
        flush_folder(folder.parent)

    def let_go(self, uri: str, aside: Path) -> int:
        folder = self.layout.at(uri)
        if not folder.exists():
            return 0
        aside.parent.mkdir(parents=True, exist_ok=True)
        # A folder that is read-only cannot be renamed into another one. It leaves its name in one rename, so that
        # nobody ever sees half of it there.
        folder.chmod(0o700)
        folder.rename(aside)
        return remove(aside)

    def withdraw(self, uri: str, aside: Path) -> int:
        return self.let_go(uri, aside) + remove(manifest_path(self.layout.at(uri)))

    def with_bytes(self, uris: Sequence[str]) -> set[str]:
        return {uri for uri in uris if self.layout.at(uri).is_dir()}

    def fetch(self, artifact: Artifact) -> Path:
        path = self.layout.at(artifact.uri)
        if not path.is_dir():
            raise NotFoundError(
                f"the bytes of {artifact.asset} {artifact.partition} (artifact {artifact.id}) are missing at {path}; "
                "materialise it again, or restore them"
            )
        return path

    def renew(self, artifact: Artifact) -> bool:
        return False

    def manifest_file(self, artifact: Artifact) -> Path:
        return manifest_path(self.layout.at(artifact.uri))

    def partition_said(self, uri: str) -> str | None:
        return partition_in_manifest(manifest_path(self.layout.at(uri)))

    def verify(self, artifact: Artifact, within: str = "", hashed: Hashed = untold) -> Verdict:
        return verify_folder(self.layout.at(artifact.uri), artifact, within, hashed)

    def quick_look(self, artifact: Artifact) -> Verdict:
        return quick_look(self.layout.at(artifact.uri), artifact)

    def names(self) -> Iterator[Name]:
        for partition_folder in self._partition_folders():
            found = {self._name(path) for path in partition_folder.iterdir()}
            yield from sorted(found)

    def _partition_folders(self) -> Iterator[Path]:
        if not self.layout.root.is_dir():
            return
        for asset_folder in sorted(self.layout.root.iterdir()):
            if asset_folder.name != STAGING and asset_folder.is_dir():
                yield from sorted(path for path in asset_folder.iterdir() if path.is_dir())

    def _name(self, path: Path) -> Name:
        """Of the artifact folder that an entry of a partition is, or is the manifest of."""
        folder = artifact_folder(path) or path
        if names_artifact(folder.name):
            return Name(self.layout.uri(folder), is_artifact=True)
        return Name(self.layout.uri(path), is_artifact=False)

    def size(self, uri: str) -> int:
        folder = self.layout.at(uri)
        return size(folder) + size(manifest_path(folder))

    def unfinished(self) -> Iterator[Unfinished]:
        return iter(())

    def abort(self, unfinished: Unfinished) -> None:
        pass

    def let_go_of_copies(self, unread_s: float) -> int:
        return 0


def aside_of(staged: Path) -> Path:
    """Named after the staging folder, so that the writer's intent guards it from a sweep too."""
    return staged.with_name(f"{staged.name}.aside")


def _stands(folder: Path, manifest: FileManifest) -> bool:
    """Whether the recorded bytes are really there, checked by re-hashing them; what cannot be read is not."""
    if not folder.is_dir():
        return False
    try:
        listing = list_folder(folder)
        stands = not listing.irregular and digest_listing(listing).root == manifest.folder.root
    except OSError as error:
        _log.warning("%s cannot be read: %s", folder, error)
        stands = False
    if not stands:
        _log.warning("%s was damaged; its bytes are put back", folder)
    return stands
