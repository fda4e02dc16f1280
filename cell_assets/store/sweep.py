"""Removing what a crash left: staging folders, orphans that no ledger row knows, half-finished evictions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, Intent
from cell_assets.store.backend import Backend, Unfinished
from cell_assets.store.layout import Layout
from cell_assets.store.leases import Holder, WriterLock, host_name
from cell_assets.store.names import decode_partition, encode_partition
from cell_assets.store.placing import is_being_written, is_recorded, remove_if_empty
from cell_assets.store.tree import remove, size


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did."""

    closed_intents: tuple[str, ...]
    """`asset partition` of writers that died."""
    kept_intents: tuple[str, ...]
    """`asset partition` of writers that live, or may."""
    removed_staging: int
    """Folders and files below `.staging`, and uploads to a bucket that were never completed."""
    removed_orphans: tuple[str, ...]
    """URIs at published names that no ledger row knew."""
    removed_evicted: tuple[str, ...]
    """URIs whose bytes the ledger held to be evicted."""
    unrecognised: tuple[str, ...]
    """Names in the store that it did not make; left alone."""
    freed_bytes: int


class Sweep:
    """One pass over a store. Never touches what a living writer holds or the ledger has as present."""

    def __init__(self, layout: Layout, backend: Backend, ledger: Ledger) -> None:
        self._layout = layout
        self._backend = backend
        self._ledger = ledger
        self._closed: list[str] = []
        self._kept: list[str] = []
        self._orphans: list[str] = []
        self._evicted: list[str] = []
        self._unrecognised: list[str] = []
        self._staging = 0
        self._freed = 0

    def run(self) -> SweepReport:
        """Close dead intents, then remove ownerless staging folders, then orphans, then evicted bytes.

        Raises as `Backend.belong` does, and CellAssetsError when a bucket cannot be asked.
        """
        self._backend.belong()
        for intent in self._ledger.open_intents():
            self._end_if_dead(intent)
        self._remove_ownerless_staging()
        for upload in self._ownerless_uploads():
            self._backend.abort(upload)
        self._remove_orphans()
        self._finish_evictions()
        return self._report()

    def foresee(self) -> SweepReport:
        """What `run` would do now; nothing is removed and no intent closed."""
        self._backend.belong()
        now = self._ledger.now()
        living = [one for one in self._ledger.open_intents() if not self._would_end(one, now)]
        self._foresee_staging({self._layout.at(one.staging).name for one in living})
        self._ownerless_uploads(living)
        written = {(one.asset, one.partition) for one in living}
        for asset, partition, uri in self.orphans():
            if partition is None:
                self._unrecognised.append(uri)
            elif (asset, partition) not in written:
                self._orphans.append(uri)
                self._freed += self._backend.size(uri)
        for artifact in self._evicted_with_bytes():
            if (artifact.asset, artifact.partition) not in written:
                self._evicted.append(artifact.uri)
                self._freed += artifact.n_bytes
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

    def _ownerless_uploads(self, living: Sequence[Intent] | None = None) -> list[Unfinished]:
        """Uploads to partitions that nobody writes. Listed before the intents are asked for, as a writer records its
        intent first.

        Args:
            living: the intents that count; None: those that are open.
        """
        found = list(self._backend.unfinished())
        if not found:
            return []
        open_intents = self._ledger.open_intents() if living is None else living
        written = {f"{one.asset}/{encode_partition(one.partition)}" for one in open_intents}
        ownerless = [one for one in found if one.uri.rpartition("/")[0] not in written]
        self._staging += len(ownerless)
        return ownerless

    def orphans(self) -> Iterator[tuple[str, str | None, str]]:
        """Asset, partition and uri of every published name that no ledger row knows; removes nothing.

        The partition is None where neither the name nor the manifest tells. A writer may be about to record what is
        listed here.
        """
        recorded = {artifact.uri for artifact in self._ledger.artifacts()}
        for uri, is_artifact in self._backend.names():
            if not is_artifact:
                self._unrecognised.append(uri)
            elif uri not in recorded:
                yield uri.partition("/")[0], self._partition_of(uri), uri

    def _remove_orphans(self) -> None:
        for asset, partition, uri in self.orphans():
            if partition is None:
                self._unrecognised.append(uri)
            else:
                self._remove_orphan(asset, partition, uri)

    def _remove_orphan(self, asset: str, partition: str, uri: str) -> None:
        with self._ledger.lock(asset, partition):
            # Asked again now that nobody can be between placing and commit, unless a writer lost its lock.
            writing = is_being_written(self._ledger, asset, partition)
            if writing or is_recorded(self._ledger, asset, partition, uri):
                return
            self._freed += self._backend.withdraw(uri, self._layout.new_aside())
            self._orphans.append(uri)
            remove_if_empty(self._layout.at(uri).parent)

    def _finish_evictions(self) -> None:
        """Bytes that the ledger holds to be evicted: whoever evicted or restored them was killed half-way."""
        for artifact in self._evicted_with_bytes():
            with self._ledger.lock(artifact.asset, artifact.partition):
                # Asked again now: somebody may have put them back meanwhile, or be about to.
                writing = is_being_written(self._ledger, artifact.asset, artifact.partition)
                if not writing and artifact.id in self._ledger.evicted():
                    self._freed += self._backend.let_go(artifact.uri, self._layout.new_aside())
                    self._evicted.append(artifact.uri)

    def _evicted_with_bytes(self) -> list[Artifact]:
        evicted = self._ledger.artifacts_with_ids(sorted(self._ledger.evicted())).values()
        still = self._backend.with_bytes([artifact.uri for artifact in evicted])
        return [artifact for artifact in evicted if artifact.uri in still]

    def _partition_of(self, uri: str) -> str | None:
        try:
            return decode_partition(uri.split("/")[1]) or self._backend.partition_said(uri)
        except BadInputError:
            return None
