"""The artifact store: write, publish, read, verify and sweep immutable folders recorded in the ledger.

What is visible is what the ledger holds: bytes come first, the row follows, nothing without a row is read.
Knows neither Dagster nor what the bytes mean, so that a notebook may use it as an asset does.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import (
    Artifact,
    ArtifactState,
    Commit,
    NumberDraft,
    OutputDraft,
    ReadReceipt,
    RunDraft,
)
from cell_assets.store.backend import Backend
from cell_assets.store.boundaries import Boundary, Observer, unobserved
from cell_assets.store.digest import DIGEST_TYPE, FolderDigest, digest_listing
from cell_assets.store.faults import disk_faults
from cell_assets.store.layout import Layout
from cell_assets.store.leases import LeaseKeeper, WriterLock, host_name
from cell_assets.store.local_backend import LocalBackend
from cell_assets.store.manifest import FileManifest, read_manifest
from cell_assets.store.placing import Spot, find_spot, is_being_written, take_back
from cell_assets.store.room import require_room
from cell_assets.store.staged import Staged
from cell_assets.store.stat_memory import VerifiedReads
from cell_assets.store.sweep import Sweep, SweepReport
from cell_assets.store.tree import list_folder, seal
from cell_assets.store.verdict import Verdict, VerdictState, verify_folder

__all__ = ["FormatName", "Read", "Staged", "Store", "SweepReport", "Verdict", "VerdictState"]

_log = logging.getLogger(__name__)

LEASE = timedelta(minutes=15)
"""How long a writer on another machine is believed alive without a sign; renewed every third of it."""


@dataclass(frozen=True)
class FormatName:
    """What the files of an artifact are, by a name and version of their own."""

    name: str
    version: str


class Read(NamedTuple):
    """Where an artifact's bytes are, and the proof of having read them, for whatever is made from them."""

    path: Path
    receipt: ReadReceipt


class Store:
    """Artifacts under one root folder or in a bucket, recorded in one ledger. Threads and processes may share them."""

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        verify_on_read: bool = False,
        observer: Observer = unobserved,
        keep_free: int = 0,
        bucket: str | None = None,
    ) -> None:
        """Open it; nothing is asked of a bucket yet.

        Args:
            root: folder of what is being written and, without a bucket, of what is published; with one, of copies.
            keep_free: bytes of the disk that no output may use.
            bucket: `s3://name/prefix` where what is published is kept.

        Raises:
            BadInputError: the bucket's URL is not one.
        """
        self.layout = Layout(root.absolute())
        self.backend: Backend = LocalBackend(self.layout)
        if bucket is not None:
            from cell_assets.store.bucket_backend import BucketBackend

            self.backend = BucketBackend(self.layout, bucket, ledger, keep_free)
        self.bucket = bucket
        self.ledger = ledger
        self.verify_on_read = verify_on_read
        self.observer = observer
        self.keep_free = keep_free
        self._keeper = LeaseKeeper(ledger)
        self._verified = VerifiedReads()

    @property
    def root(self) -> Path:
        """Folder of everything that is on this machine."""
        return self.layout.root

    def unverified(self) -> "Store":
        """The same artifacts, without re-hashing them on read, for plans: the bodies re-hash what they use."""
        other = Store(self.root, self.ledger, keep_free=self.keep_free, bucket=self.bucket)
        # What it reads stays claimed for as long as this one lives.
        other.backend = self.backend
        return other

    def reached(self, boundary: Boundary, asset: str = "", partition: str = "") -> None:
        """Tell the observer; the store does so itself for every boundary but EVENT."""
        self.observer(boundary, asset, partition)

    # Writing.

    def require_room(self, needed: int, what: str, advice: str) -> None:
        """Refuse an output of `needed` bytes that the disk has no room for; see `room.require_room`."""
        require_room(self.root, needed, self.keep_free, what, advice)

    def write(self, asset: str, partition: str, *, lease: timedelta = LEASE) -> Staged:
        """Declare the wish to write one output, and get an empty folder to fill.

        The declaration (intent) is in the ledger before the folder exists. Use as a context manager, or call
        `abandon`: what is not published is removed. Raises BadInputError for names that cannot be folders,
        CellAssetsError when the store cannot be written to.
        """
        self.layout.partition(asset, partition)
        self.backend.belong()
        token = self.layout.new_token()
        path = self.layout.staged(token)
        with disk_faults(self.root, f"opening {asset} {partition} for writing"):
            self.layout.staging.mkdir(parents=True, exist_ok=True)
            lock = WriterLock.create(self.layout.lock(token))
        try:
            owner = f"{host_name()}:{os.getpid()}"
            with disk_faults(self.root, f"opening {asset} {partition} for writing"):
                intent = self.ledger.open_intent(asset, partition, self.layout.uri(path), owner, lease)
        except BaseException:
            lock.release()
            raise
        staged = Staged(intent, path, self.root, self.ledger, lock, self._keeper)
        self._keeper.keep(intent, lease)
        self.reached(Boundary.INTENT, asset, partition)
        try:
            with disk_faults(self.root, f"opening {asset} {partition} for writing"):
                path.mkdir()
        except BaseException:
            staged.abandon()
            raise
        return staged

    def publish(
        self,
        staged: Staged,
        run: RunDraft,
        receipts: Sequence[ReadReceipt],
        format: FormatName,
        numbers: Sequence[NumberDraft] = (),
        content_digest: str | None = None,
        experiment: str | None = None,
    ) -> Commit:
        """Make the staged files an immutable artifact: flush, digest, move, one ledger transaction.

        Bytes that stood there before are recorded as a re-creation and stored once; where they had been
        evicted or damaged they are put back. On any error nothing is published and the staging folder goes.
        Raises CellAssetsError when the disk fails, when nothing was written, or when the ledger refuses (see
        `Ledger.commit`); BadInputError naming a symlink or special file among the staged ones.
        """
        if not staged.is_open:
            raise CellAssetsError(
                f"{staged.title} was published or abandoned before; open it again with write()"
            )
        try:
            with disk_faults(self.root, f"publishing {staged.title}"):
                manifest = self._seal(staged, format)
                with self.ledger.lock(staged.asset, staged.partition):
                    spot = find_spot(self.layout, self.backend, self.ledger, manifest)
                    output = self._output(staged, spot, manifest, content_digest)
                    try:
                        self.backend.place(staged.path, spot.uri, manifest, is_recorded=spot.is_recorded)
                        self.reached(Boundary.RENAME, staged.asset, staged.partition)
                        commit = self.ledger.commit(staged.intent, run, output, receipts, numbers, experiment)
                    except BaseException:
                        self._take_back(staged, spot, manifest)
                        raise
        except BaseException:
            staged.abandon()
            raise
        staged.finish()
        self.reached(Boundary.COMMIT, staged.asset, staged.partition)
        try:
            self.backend.belong()
        except CellAssetsError as error:
            # What was published is published; whose it is is said by the next write.
            _log.warning("%s: %s", staged.title, error)
        return commit

    def _seal(self, staged: Staged, format: FormatName) -> FileManifest:
        if not staged.path.is_dir():
            raise CellAssetsError(
                f"{staged.title} lost its staging folder {staged.path}: its lease ended and a sweep took it; "
                f"make it again"
            )
        listing = list_folder(staged.path).refuse_irregular()
        if not listing.files:
            raise CellAssetsError(
                f"{staged.title} has no files in {staged.path}; write some before publishing"
            )
        seal(listing)
        folder = digest_listing(listing)
        self.reached(Boundary.STAGING, staged.asset, staged.partition)
        return FileManifest(staged.asset, staged.partition, format.name, format.version, folder)

    def _output(
        self, staged: Staged, spot: Spot, manifest: FileManifest, content_digest: str | None
    ) -> OutputDraft:
        return OutputDraft(
            asset=staged.asset,
            partition=staged.partition,
            digest=manifest.folder.root,
            digest_type=DIGEST_TYPE,
            content_digest=content_digest,
            n_bytes=manifest.folder.n_bytes,
            n_files=manifest.folder.n_files,
            uri=spot.uri,
            format_name=manifest.format_name,
            format_version=manifest.format_version,
        )

    def _take_back(self, staged: Staged, spot: Spot, manifest: FileManifest) -> None:
        try:
            self.ledger.close_intent(staged.intent.id)
            take_back(self.layout, self.backend, self.ledger, staged.path, spot, manifest)
        except (CellAssetsError, SQLAlchemyError, OSError) as error:
            # Whether the row exists cannot be asked now: the sweep will, and until then nothing reaches it.
            _log.warning("%s: %s is left to the sweep: %s", staged.title, spot.uri, error)

    def put_back(self, staged: Staged, artifact: Artifact) -> bool:
        """Give an evicted artifact its bytes back, if the staged files are those very bytes; False if not.

        No version is superseded by it. What was staged is gone afterwards. Raises as `publish` does.
        """
        format = FormatName(artifact.format_name, artifact.format_version)
        try:
            with disk_faults(self.root, f"putting {staged.title} back"):
                manifest = self._seal(staged, format)
                if manifest.folder.root != artifact.digest:
                    staged.abandon()
                    return False
                with self.ledger.lock(staged.asset, staged.partition):
                    self.backend.place(staged.path, artifact.uri, manifest, is_recorded=True)
                    self.ledger.record_return(staged.intent, artifact.id)
        except BaseException:
            # Bytes that were placed already are those of an evicted artifact: the sweep lets go of them again.
            staged.abandon()
            raise
        staged.finish()
        return True

    # Reading.

    def read(self, asset: str, partition: str) -> Read:
        """Where the newest version is, and the receipt to hand to what is made from it.

        Raises NotFoundError when there is none, when it was withdrawn, and when its bytes are not there;
        ChangedBytesError, with `verify_on_read`, when its bytes are not the recorded ones.
        """
        return self.read_many(asset, [partition])[partition]

    def read_many(self, asset: str, partitions: Sequence[str]) -> dict[str, Read]:
        """`read` of many partitions, with a constant number of queries; raises for the first without."""
        latest = self.ledger.latest_many(asset, partitions)
        for partition in partitions:
            if partition not in latest:
                raise NotFoundError(f"{asset} {partition} has not been made; materialise it first")
        return {partition: self._read(latest[partition].artifact) for partition in partitions}

    def read_artifact(self, artifact_id: int) -> Read:
        """One version by its id, the newest or not; raises as `read` does."""
        return self._read(self.ledger.artifact(artifact_id))

    def receipt(self, artifact: Artifact) -> ReadReceipt:
        """The receipt for an artifact whose bytes the caller just made, or read through `path_of`."""
        return ReadReceipt(artifact.id, artifact.asset, artifact.partition, artifact.digest)

    def path_of(self, artifact: Artifact) -> Path:
        """Where an artifact's bytes are on this machine, whether or not they are there."""
        return self.layout.at(artifact.uri)

    def title(self, uri: str) -> str:
        """Where published bytes are kept, for people: a path, or a URL."""
        return f"{self.bucket.rstrip('/')}/{uri}" if self.bucket is not None else str(self.layout.at(uri))

    def fetch(self, artifact: Artifact) -> Path:
        """The folder with an artifact's bytes, withdrawn or not, brought from the bucket where there is one.

        Raises NotFoundError when they are not there, CellAssetsError when they cannot be brought.
        """
        with disk_faults(self.root, f"fetching {artifact.asset} {artifact.partition}"):
            return self.backend.fetch(artifact)

    def with_bytes(self, artifacts: Sequence[Artifact]) -> set[int]:
        """Ids of those under whose name bytes lie, whole or not."""
        present = self.backend.with_bytes([artifact.uri for artifact in artifacts])
        return {artifact.id for artifact in artifacts if artifact.uri in present}

    def _read(self, artifact: Artifact) -> Read:
        title = f"{artifact.asset} {artifact.partition} (artifact {artifact.id})"
        if artifact.state is ArtifactState.TOMBSTONED:
            raise NotFoundError(f"{title} has been withdrawn; make it again from what stands")
        if artifact.state is ArtifactState.EVICTED:
            raise NotFoundError(
                f"the bytes of {title} were evicted; `cell-assets restore {artifact.id}` or materialising it again "
                "brings them back"
            )
        path = self.fetch(artifact)
        if self.verify_on_read:
            self._refuse_changed(artifact, path)
        return Read(path, self.receipt(artifact))

    def _refuse_changed(self, artifact: Artifact, path: Path) -> None:
        look = self._verified.look(path)
        if self._verified.knows(artifact.digest, look):
            return
        verdict = verify_folder(path, artifact)
        if not verdict.is_verified:
            if self.backend.renew(artifact):
                return
            raise ChangedBytesError(
                f"{artifact.asset} {artifact.partition} (artifact {artifact.id}) at {path} is not what was "
                f"published: {verdict.why}; materialise it again, or restore it"
            )
        self._verified.remember(artifact.digest, look)

    # Care.

    def verify(self, artifact: Artifact, within: str = "") -> Verdict:
        """Re-hash an artifact, or one folder inside it such as a single FOV's, and name what differs.

        Raises NotFoundError when the artifact never had the folder `within`; what is wrong on disk is in the
        verdict.
        """
        return self.backend.verify(artifact, within)

    def file_digests(self, artifact: Artifact) -> FolderDigest | None:
        """The recorded digest of every file, proven against the artifact's; None when that list is lost."""
        manifest = read_manifest(self.backend.manifest_file(artifact), artifact.digest)
        return None if manifest is None else manifest.folder

    def orphans(self) -> tuple[tuple[str, str, str], ...]:
        """Asset, partition and uri of what lies at a published name, unknown to the ledger and to any writer."""
        self.backend.belong()
        found = [
            (asset, partition or uri.split("/")[1], uri)
            for asset, partition, uri in Sweep(self.layout, self.backend, self.ledger).orphans()
        ]
        # Asked after the listing: what a writer had moved into place by then is its own until its intent closes.
        writing = {(intent.asset, intent.partition) for intent in self.ledger.open_intents()}
        recorded = {artifact.uri for artifact in self.ledger.artifacts()}
        return tuple(one for one in found if one[:2] not in writing and one[2] not in recorded)

    def evict(self, artifact: Artifact) -> int:
        """Let go of an artifact's bytes, and keep its row and the list of its files; returns the bytes freed.

        The row says so before a byte goes: killed in between, this leaves bytes that nobody reads, for the sweep.
        Raises BadInputError when somebody writes the partition just now, or when a number rests on the artifact.
        """
        with self.ledger.lock(artifact.asset, artifact.partition):
            if is_being_written(self.ledger, artifact.asset, artifact.partition):
                raise BadInputError(
                    f"artifact {artifact.id} stays: {artifact.asset} {artifact.partition} is being written just "
                    "now; try again when that is done"
                )
            self.ledger.record_eviction(artifact.id)
            with disk_faults(self.root, f"evicting {artifact.asset} {artifact.partition}"):
                return self.backend.let_go(artifact.uri, self.layout.new_aside())

    def sweep(self) -> SweepReport:
        """Remove what crashed writers left; never what a living writer holds, nor what the ledger has as present."""
        return Sweep(self.layout, self.backend, self.ledger).run()

    def foresee_sweep(self) -> SweepReport:
        """What `sweep` would do now."""
        return Sweep(self.layout, self.backend, self.ledger).foresee()

    def let_go_of_copies(self, unread: timedelta) -> int:
        """Remove copies of what a bucket holds that no process reads nor has for so long; returns the bytes freed.

        0 without a bucket, where what is on this machine is all there is.
        """
        return self.backend.let_go_of_copies(unread.total_seconds())
