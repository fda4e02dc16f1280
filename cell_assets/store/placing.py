"""Putting staged bytes under their final name. Call everything here with the partition's lock held.

The lock ends with the database's server, and its holder is not told (`Ledger.lock`); another writer may then be
here too. So bytes that are right are never removed in favour of others, nor from under a writer that may record
them. What two at once in the same instant can still do is make one of them fail, which is then made again.
"""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from cell_assets.ledger.ledger import Ledger
from cell_assets.store.digest import digest_listing
from cell_assets.store.layout import DIGEST_LENGTHS, Layout
from cell_assets.store.manifest import FileManifest, manifest_path, read_manifest, write_manifest
from cell_assets.store.tree import READ_ONLY_FOLDER, flush_folder, list_folder, make_folders, remove

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spot:
    """Where a digest's bytes belong."""

    folder: Path
    is_recorded: bool
    """The ledger holds these very bytes already, though the disk may have lost them."""


def find_spot(layout: Layout, ledger: Ledger, manifest: FileManifest) -> Spot:
    """Where these bytes stood before, or else the shortest name that no other artifact has."""
    digest = manifest.folder.root
    known = ledger.find(manifest.asset, manifest.partition, digest)
    if known is not None:
        return Spot(layout.at(known.uri), is_recorded=True)
    folder = layout.partition(manifest.asset, manifest.partition)
    for length in DIGEST_LENGTHS:
        target = folder / digest[:length]
        # An evicted artifact keeps its manifest, and with it its name.
        is_free = not target.exists() and not manifest_path(target).exists()
        if is_free or not _belongs_to_another(layout, ledger, manifest.asset, target):
            return Spot(target, is_recorded=False)
    raise AssertionError("a full digest names one artifact only")


def place(staged: Path, spot: Spot, manifest: FileManifest, root: Path) -> None:
    """Move the sealed folder `staged` to its spot and make it read-only.

    Where the same bytes stand already, recorded or not, checked by re-hashing them, they stay and the staged
    copy goes. Damaged bytes, and others that no ledger row knows, make way for the staged ones.
    """
    scratch = staged.with_name(f"{staged.name}.json")
    stands = _stands(spot.folder, manifest)
    if stands and spot.is_recorded:
        if read_manifest(manifest_path(spot.folder), manifest.folder.root) is None:
            write_manifest(manifest, manifest_path(spot.folder), scratch)
        remove(staged)
        return
    make_folders(spot.folder.parent, root)
    if not stands:
        # Its manifest is replaced in one step: an evicted artifact must not lose the names of its files.
        let_go(spot.folder, _aside(staged))
    write_manifest(manifest, manifest_path(spot.folder), scratch)
    if stands:
        remove(staged)
    else:
        staged.rename(spot.folder)
    spot.folder.chmod(READ_ONLY_FOLDER)
    flush_folder(spot.folder.parent)


def withdraw(ledger: Ledger, staged: Path, spot: Spot, manifest: FileManifest) -> None:
    """Undo `place` after a failure, unless the ledger holds the artifact, or another writer may yet record it.

    The caller closes its intent first, so that only other writers' are open. What is left is the sweep's.
    """
    if is_being_written(ledger, manifest.asset, manifest.partition):
        return
    if ledger.find(manifest.asset, manifest.partition, manifest.folder.root) is None:
        set_aside(spot.folder, _aside(staged))
        remove_if_empty(spot.folder.parent)


def is_being_written(ledger: Ledger, asset: str, partition: str) -> bool:
    """Whether a writer that has not ended declared that it writes this partition."""
    return any((intent.asset, intent.partition) == (asset, partition) for intent in ledger.open_intents())


def set_aside(folder: Path, aside: Path) -> int:
    """Remove a folder at a final name, with its manifest; returns the bytes freed.

    It leaves its name in one rename, to `aside`, so that nobody ever sees half of it there.
    """
    return let_go(folder, aside) + remove(manifest_path(folder))


def let_go(folder: Path, aside: Path) -> int:
    """Remove a folder at a final name, as `set_aside` does, and keep its manifest: it names the evicted files."""
    if not folder.exists():
        return 0
    aside.parent.mkdir(parents=True, exist_ok=True)
    # A folder that is read-only cannot be renamed into another one.
    folder.chmod(0o700)
    folder.rename(aside)
    return remove(aside)


def remove_if_empty(partition: Path) -> None:
    """Remove a partition's folder when no version is left in it."""
    with contextlib.suppress(OSError):
        partition.rmdir()


def _aside(staged: Path) -> Path:
    """Named after the staging folder, so that the writer's intent guards it from a sweep too."""
    return staged.with_name(f"{staged.name}.aside")


def _belongs_to_another(layout: Layout, ledger: Ledger, asset: str, folder: Path) -> bool:
    uri = layout.uri(folder)
    return any(artifact.uri == uri for artifact in ledger.artifacts(asset))


def _stands(folder: Path, manifest: FileManifest) -> bool:
    """Whether the recorded bytes are really there; what cannot be read is not."""
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
