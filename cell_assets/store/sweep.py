"""Removing what a crash left: staging folders, orphans that no ledger row knows, half-finished evictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Intent
from cell_assets.store.layout import STAGING, Layout, names_artifact
from cell_assets.store.leases import Holder, WriterLock, host_name
from cell_assets.store.manifest import artifact_folder, manifest_path, partition_in_manifest
from cell_assets.store.names import decode_partition
from cell_assets.store.placing import is_being_written, let_go, remove_if_empty, set_aside
from cell_assets.store.tree import remove, size


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did."""

    closed_intents: tuple[str, ...]
    """`asset partition` of writers that died."""
    kept_intents: tuple[str, ...]
    """`asset partition` of writers that live, or may."""
    removed_staging: int
    """Folders and files below `.staging`."""
    removed_orphans: tuple[str, ...]
    """Published-looking folders, relative to the root, that no ledger row knew."""
    removed_evicted: tuple[str, ...]
    """Folders, relative to the root, whose bytes the ledger held to be evicted."""
    unrecognised: tuple[str, ...]
    """Names in the store that it did not make; left alone."""
    freed_bytes: int


class Sweep:
    """One pass over a store. Never touches what a living writer holds or the ledger has as present."""

    def __init__(self, layout: Layout, ledger: Ledger) -> None:
        self._layout = layout
        self._ledger = ledger
        self._closed: list[str] = []
        self._kept: list[str] = []
        self._orphans: list[str] = []
        self._evicted: list[str] = []
        self._unrecognised: list[str] = []
        self._staging = 0
        self._freed = 0

    def run(self) -> SweepReport:
        """Close dead intents, then remove ownerless staging folders, then orphans, then evicted bytes."""
        if self._layout.root.is_dir():
            for intent in self._ledger.open_intents():
                self._end_if_dead(intent)
            self._remove_ownerless_staging()
            self._remove_orphans()
            self._finish_evictions()
        return self._report()

    def foresee(self) -> SweepReport:
        """What `run` would do now; nothing is removed and no intent closed."""
        if self._layout.root.is_dir():
            now = self._ledger.now()
            living = [one for one in self._ledger.open_intents() if not self._would_end(one, now)]
            self._foresee_staging({self._layout.at(one.staging).name for one in living})
            written = {(one.asset, one.partition) for one in living}
            for asset, partition, folder in self.orphans():
                if partition is None:
                    self._unrecognised.append(self._layout.uri(folder))
                elif (asset, partition) not in written:
                    self._orphans.append(self._layout.uri(folder))
                    self._freed += size(folder) + size(manifest_path(folder))
            for artifact in self._ledger.artifacts_with_ids(sorted(self._ledger.evicted())).values():
                folder = self._layout.at(artifact.uri)
                if folder.exists() and (artifact.asset, artifact.partition) not in written:
                    self._evicted.append(artifact.uri)
                    self._freed += size(folder)
        return self._report()

    def _would_end(self, intent: Intent, now: datetime) -> bool:
        """Whether its writer is dead, as `_end_if_dead` judges."""
        holder, lock = WriterLock.probe(self._layout.lock(self._layout.at(intent.staging).name))
        if lock is not None:
            lock.let_go()
        here = holder is Holder.GONE and intent.owner.rpartition(":")[0] == host_name()
        ends = holder is not Holder.ALIVE and (here or intent.lease_until < now)
        (self._closed if ends else self._kept).append(f"{intent.asset} {intent.partition}")
        return ends

    def _foresee_staging(self, owned: set[str]) -> None:
        for token, paths in self._staging_by_token().items():
            holder, lock = WriterLock.probe(self._layout.lock(token))
            if lock is not None:
                lock.let_go()
            if token not in owned and holder is not Holder.ALIVE:
                self._freed += sum(map(size, paths))
                self._staging += sum(path != self._layout.lock(token) for path in paths)

    def _report(self) -> SweepReport:
        return SweepReport(
            closed_intents=tuple(self._closed),
            kept_intents=tuple(self._kept),
            removed_staging=self._staging,
            removed_orphans=tuple(self._orphans),
            removed_evicted=tuple(self._evicted),
            unrecognised=tuple(self._unrecognised),
            freed_bytes=self._freed,
        )

    def _end_if_dead(self, intent: Intent) -> None:
        token = self._layout.at(intent.staging).name
        holder, lock = WriterLock.probe(self._layout.lock(token))
        if holder is Holder.ALIVE:
            ended = False
        elif holder is Holder.GONE and intent.owner.rpartition(":")[0] == host_name():
            ended = self._ledger.close_intent(intent.id)
        else:
            # Written on another machine, or without locks: the lease alone tells.
            ended = self._ledger.take_expired_intent(intent.id)
        title = f"{intent.asset} {intent.partition}"
        (self._closed if ended else self._kept).append(title)
        if ended:
            # Its writer may have died between making this folder and moving the bytes into it.
            with self._ledger.lock(intent.asset, intent.partition):
                remove_if_empty(self._layout.partition(intent.asset, intent.partition))
        if lock is not None:
            lock.release() if ended else lock.let_go()

    def _remove_ownerless_staging(self) -> None:
        """What lies in `.staging` without an open intent. Listed before the intents are asked for, because a
        writer records its intent first and makes its folder after."""
        by_token = self._staging_by_token()
        owned = {self._layout.at(intent.staging).name for intent in self._ledger.open_intents()}
        for token in by_token.keys() - owned:
            holder, lock = WriterLock.probe(self._layout.lock(token))
            if holder is Holder.ALIVE:
                continue
            for path in by_token[token]:
                self._freed += remove(path)
                self._staging += path != self._layout.lock(token)
            if lock is not None:
                lock.release()

    def _staging_by_token(self) -> dict[str, list[Path]]:
        by_token: dict[str, list[Path]] = {}
        for path in sorted(self._layout.staging.iterdir()) if self._layout.staging.is_dir() else ():
            by_token.setdefault(path.name.partition(".")[0], []).append(path)
        return by_token

    def orphans(self) -> Iterator[tuple[str, str | None, Path]]:
        """Asset, partition and folder at every published name that no ledger row knows; removes nothing.

        The partition is None where neither the folder's name nor its manifest tells. A writer may be about to
        record what is listed here.
        """
        recorded = {artifact.uri for artifact in self._ledger.artifacts()}
        for partition_folder in self._partition_folders():
            folders = {folder for path in partition_folder.iterdir() for folder in self._published(path)}
            for folder in sorted(folders):
                if self._layout.uri(folder) not in recorded:
                    yield folder.parent.parent.name, self._partition_of(folder), folder

    def _remove_orphans(self) -> None:
        for asset, partition, folder in self.orphans():
            if partition is None:
                self._unrecognised.append(self._layout.uri(folder))
            else:
                self._remove_orphan(asset, partition, folder)

    def _partition_folders(self) -> Iterator[Path]:
        if not self._layout.root.is_dir():
            return
        for asset_folder in sorted(self._layout.root.iterdir()):
            if asset_folder.name != STAGING and asset_folder.is_dir():
                yield from sorted(path for path in asset_folder.iterdir() if path.is_dir())

    def _published(self, path: Path) -> Iterator[Path]:
        """The artifact folder that an entry of a partition is, or is the manifest of."""
        folder = artifact_folder(path) or path
        if names_artifact(folder.name):
            yield folder
        else:
            self._unrecognised.append(self._layout.uri(path))

    def _remove_orphan(self, asset: str, partition: str, folder: Path) -> None:
        uri = self._layout.uri(folder)
        with self._ledger.lock(asset, partition):
            # Asked again now that nobody can be between rename and commit, unless a writer lost its lock.
            writing = is_being_written(self._ledger, asset, partition)
            if writing or any(artifact.uri == uri for artifact in self._ledger.artifacts(asset)):
                return
            self._freed += set_aside(folder, self._layout.new_aside())
            self._orphans.append(uri)
            remove_if_empty(folder.parent)

    def _finish_evictions(self) -> None:
        """Bytes that the ledger holds to be evicted: whoever evicted or restored them was killed half-way."""
        for artifact in self._ledger.artifacts_with_ids(sorted(self._ledger.evicted())).values():
            folder = self._layout.at(artifact.uri)
            if not folder.exists():
                continue
            with self._ledger.lock(artifact.asset, artifact.partition):
                # Asked again now: somebody may have put them back meanwhile, or be about to.
                writing = is_being_written(self._ledger, artifact.asset, artifact.partition)
                if not writing and artifact.id in self._ledger.evicted():
                    self._freed += let_go(folder, self._layout.new_aside())
                    self._evicted.append(artifact.uri)

    def _partition_of(self, folder: Path) -> str | None:
        try:
            return decode_partition(folder.parent.name) or partition_in_manifest(manifest_path(folder))
        except BadInputError:
            return None
