"""Under which name staged bytes are put, and how that is undone. Call everything here with the partition's lock held.

The lock ends with the database's server, and its holder is not told (`Ledger.lock`); another writer may then be
here too. So bytes that are right are never removed in favour of others, nor from under a writer that may record
them. What two at once in the same instant can still do is make one of them fail, which is then made again.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from cell_assets.ledger.ledger import Ledger
from cell_assets.store.backend import Backend
from cell_assets.store.layout import DIGEST_LENGTHS, Layout
from cell_assets.store.local_backend import aside_of
from cell_assets.store.manifest import FileManifest


@dataclass(frozen=True)
class Spot:
    """Where a digest's bytes belong."""

    uri: str
    is_recorded: bool
    """The ledger holds these very bytes already, though they may have been lost."""


def find_spot(layout: Layout, backend: Backend, ledger: Ledger, manifest: FileManifest) -> Spot:
    """Where these bytes stood before, or else the shortest name that no other artifact has."""
    digest = manifest.folder.root
    known = ledger.find(manifest.asset, manifest.partition, digest)
    if known is not None:
        return Spot(known.uri, is_recorded=True)
    partition = layout.uri(layout.partition(manifest.asset, manifest.partition))
    for length in DIGEST_LENGTHS:
        uri = f"{partition}/{digest[:length]}"
        # An evicted artifact keeps its manifest, and with it its name.
        is_free = not backend.is_taken(uri)
        if is_free or not is_recorded(ledger, manifest.asset, manifest.partition, uri):
            return Spot(uri, is_recorded=False)
    raise AssertionError("a full digest names one artifact only")


def take_back(
    layout: Layout, backend: Backend, ledger: Ledger, staged: Path, spot: Spot, manifest: FileManifest
) -> None:
    """Undo `place` after a failure, unless the ledger holds the artifact, or another writer may yet record it.

    The caller closes its intent first, so that only other writers' are open. What is left is the sweep's.
    """
    if is_being_written(ledger, manifest.asset, manifest.partition):
        return
    if ledger.find(manifest.asset, manifest.partition, manifest.folder.root) is None:
        backend.withdraw(spot.uri, aside_of(staged))
        remove_if_empty(layout.at(spot.uri).parent)


def is_being_written(ledger: Ledger, asset: str, partition: str) -> bool:
    """Whether a writer that has not ended declared that it writes this partition."""
    return any((intent.asset, intent.partition) == (asset, partition) for intent in ledger.open_intents())


def is_recorded(ledger: Ledger, asset: str, partition: str, uri: str) -> bool:
    """Whether the ledger holds an artifact of this partition there."""
    return any(artifact.uri == uri for artifact in ledger.artifacts(asset, partitions=[partition]))


def remove_if_empty(partition: Path) -> None:
    """Remove a partition's folder when no version is left in it."""
    with contextlib.suppress(OSError):
        partition.rmdir()
