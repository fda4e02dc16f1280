"""Published bytes in a bucket, and copies of them in the store's folder, where readers work on them.

A bucket has no rename: files are uploaded one by one, the manifest last, and only then does the ledger's row make them
visible. Whoever reads brings a copy, each byte of which is proven against the digest that the ledger holds.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from blake3 import blake3

from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError, NotFoundError
from cell_assets.ledger.extract import ChainHead
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact
from cell_assets.store.backend import Name, Unfinished
from cell_assets.store.bucket import Bucket, StoredObject, Upload
from cell_assets.store.digest import FolderDigest
from cell_assets.store.file_digest import FileDigest, Hashed, untold
from cell_assets.store.layout import Layout, names_artifact
from cell_assets.store.leases import WriterLock
from cell_assets.store.local_backend import LocalBackend
from cell_assets.store.manifest import (
    SUFFIX,
    FileManifest,
    manifest_bytes,
    manifest_path,
    parse_manifest,
    partition_stated,
    read_manifest,
    write_manifest,
)
from cell_assets.store.read_claims import ReadClaims
from cell_assets.store.room import require_room, said_bytes
from cell_assets.store.tree import (
    READ_ONLY_FOLDER,
    Listing,
    flush_folder,
    list_folder,
    make_folders,
    remove,
    seal,
)
from cell_assets.store.verdict import (
    Seen,
    Verdict,
    judge,
    judge_by_look,
    missing,
    no_list_to_look_by,
    unverifiable,
    why_gone,
    why_incomparable,
)

_log = logging.getLogger(__name__)

_THREADS = 8
"""Requests at once: each waits for the server."""
_FEW = 64
"""Up to this many names are asked for one by one; for more, all of the bucket is listed, a thousand a request."""
_MAX_MANIFEST_BYTES = 2**30
_SAY_EVERY_S = 10.0
_MAX_OWNER_BYTES = 2**16

_One = TypeVar("_One")
_Made = TypeVar("_Made")


class BucketBackend:
    """A bucket, with copies below the layout's root at the paths that a local store gives them."""

    def __init__(self, layout: Layout, url: str, ledger: Ledger | None, keep_free: int) -> None:
        """Take note of it; nothing is asked yet.

        Args:
            ledger: whose artifacts the bucket holds; None in a worker process, which only verifies.
            keep_free: bytes of this machine's disk that copies leave free.

        Raises:
            BadInputError: the URL is none of a bucket.
        """
        self.layout = layout
        self.bucket = Bucket(url)
        self._ledger = ledger
        self._keep_free = keep_free
        self._copies = LocalBackend(layout)
        self._claims = ReadClaims(layout)
        self._is_ours = False

    def __reduce__(self) -> tuple[type["BucketBackend"], tuple[Layout, str, None, int]]:
        return BucketBackend, (self.layout, self.bucket.url, None, self._keep_free)

    def belong(self) -> None:
        if self._is_ours or self._ledger is None:
            return
        said = self.bucket.get_bytes(OWNER, _MAX_OWNER_BYTES)
        if said is None:
            head = self._ledger.head()
            # The start of history is the same in every lab.
            if head.entry > 0:
                self.bucket.put_bytes(_owner_text(head), OWNER)
                self._is_ours = True
            return
        head = _owner(said, self.bucket.title(OWNER))
        if not self._ledger.holds_entry(head):
            raise BadInputError(
                f"{self.bucket.url} holds the artifacts of another lab, or of a later state of this one: give "
                "CELL_ASSETS_STORE another prefix"
            )
        self._is_ours = True

    def is_taken(self, uri: str) -> bool:
        # A longer name may begin so as well: the ledger, which is asked next, tells them apart.
        return self.bucket.holds(uri)

    def place(self, staged: Path, uri: str, manifest: FileManifest, *, is_recorded: bool) -> None:
        files = {f"{uri}/{file.path}": file for file in manifest.folder.files}
        self._upload(staged, uri, files)
        # What is uploaded is uploaded again even where it stands: an object that is damaged cannot be told from one
        # that is not without reading it, which costs as much.
        there = {one.key: one.n_bytes for one in self.bucket.objects(f"{uri}/")}
        self.bucket.delete(sorted(there.keys() - files.keys()))
        for key, file in files.items():
            if there.get(key) != file.n_bytes:
                raise CellAssetsError(
                    f"{self.bucket.title(key)} has {there.get(key, 'no')} bytes after {file.n_bytes} were written; "
                    "run again, and see to the object store if it happens again"
                )
        self.bucket.put_bytes(manifest_bytes(manifest), uri + SUFFIX)
        # The staged folder becomes the copy: what was just made is often read next.
        self._copies.place(staged, uri, manifest, is_recorded=is_recorded)

    def _upload(self, staged: Path, uri: str, files: dict[str, FileDigest]) -> None:
        pace = _Pace(f"uploading {self.bucket.title(uri)}", sum(file.n_bytes for file in files.values()))

        def put(key: str) -> None:
            self.bucket.put(staged / files[key].path, key)
            pace.did(files[key].n_bytes)

        _each(put, list(files))

    def let_go(self, uri: str, aside: Path) -> int:
        freed = self._delete_bytes(uri)
        self._copies.let_go(uri, aside)
        return freed

    def withdraw(self, uri: str, aside: Path) -> int:
        # First what makes it look whole.
        self.bucket.delete([uri + SUFFIX])
        freed = self._delete_bytes(uri)
        self._copies.withdraw(uri, aside)
        return freed

    def _delete_bytes(self, uri: str) -> int:
        there = list(self.bucket.objects(f"{uri}/"))
        self.bucket.delete([one.key for one in there])
        return sum(one.n_bytes for one in there)

    def with_bytes(self, uris: Sequence[str]) -> set[str]:
        if len(uris) <= _FEW:
            return {uri for uri in uris if self.bucket.holds(f"{uri}/")}
        there = {_uri(one.key) for one in self.bucket.objects("") if not one.key.endswith(SUFFIX)}
        return there.intersection(uris)

    def fetch(self, artifact: Artifact) -> Path:
        folder = self.layout.at(artifact.uri)
        if self._claims.claim(artifact.uri):
            with suppress(OSError):
                os.utime(manifest_path(folder))
            return folder
        self._bring(artifact, folder)
        return folder

    def renew(self, artifact: Artifact) -> bool:
        self._copies.withdraw(artifact.uri, self.layout.new_aside())
        self._bring(artifact, self.layout.at(artifact.uri))
        return True

    def _bring(self, artifact: Artifact, folder: Path) -> None:
        title = f"{artifact.asset} {artifact.partition} (artifact {artifact.id})"
        require_room(
            self.layout.root,
            artifact.n_bytes,
            self._keep_free,
            f"the copy of {title}",
            "`cell-assets gc` lets go of copies that nobody reads",
        )
        manifest = self._manifest(artifact)
        files: dict[str, int] = (
            {file.path: file.n_bytes for file in manifest.folder.files}
            if manifest is not None
            # Bytes can be proven without the list of files, as long as no folder among them is empty.
            else {_below(one, artifact.uri): one.n_bytes for one in self.bucket.objects(f"{artifact.uri}/")}
        )
        if not files:
            raise self._gone(artifact, title)
        self.layout.staging.mkdir(parents=True, exist_ok=True)
        token = self.layout.new_token()
        lock, staged = WriterLock.create(self.layout.lock(token)), self.layout.staged(token)
        try:
            staged.mkdir()
            found = self._download(artifact, title, staged, files, manifest)
            if found.root != artifact.digest:
                raise ChangedBytesError(
                    f"{title} at {self.bucket.title(artifact.uri)} is not what was published: "
                    f"`cell-assets verify artifact:{artifact.id}` names what differs; materialise it again"
                )
            seal(list_folder(staged))
            make_folders(folder.parent, self.layout.root)
            named = (artifact.asset, artifact.partition, artifact.format_name, artifact.format_version)
            write_manifest(
                FileManifest(*named, found), manifest_path(folder), staged.with_name(f"{staged.name}.json")
            )
            # Another process may have brought it meanwhile.
            with suppress(OSError):
                staged.rename(folder)
                folder.chmod(READ_ONLY_FOLDER)
                flush_folder(folder.parent)
            if not folder.is_dir():
                raise CellAssetsError(f"{folder} cannot be made: see to the permissions of the folder above")
        finally:
            remove(staged)
            lock.release()

    def _download(
        self,
        artifact: Artifact,
        title: str,
        staged: Path,
        files: dict[str, int],
        manifest: FileManifest | None,
    ) -> FolderDigest:
        """Bring files of these sizes into an empty folder; the digest of what came."""
        for path in files:
            if ".." in PurePosixPath(path).parts or path.startswith("/"):
                raise ChangedBytesError(
                    f"{self.bucket.title(artifact.uri)} holds {path!r}, which leads out of the folder: see who wrote it"
                )
        empty = manifest.folder.empty_folders if manifest is not None else ()
        for folder in {*empty, *(path.rpartition("/")[0] for path in files)}:
            (staged / folder).mkdir(parents=True, exist_ok=True)
        pace = _Pace(f"fetching {title}", sum(files.values()))

        def get(path: str) -> FileDigest:
            hasher, n_bytes = blake3(), 0
            with (staged / path).open("wb") as file:
                for piece in self.bucket.read(f"{artifact.uri}/{path}", files[path]):
                    file.write(piece)
                    hasher.update(piece)
                    n_bytes += len(piece)
                    pace.did(len(piece))
            return FileDigest(path, n_bytes, hasher.hexdigest())

        try:
            digests = _each(get, sorted(files, key=str.encode))
        except NotFoundError as error:
            if not self.bucket.holds(f"{artifact.uri}/"):
                raise self._gone(artifact, title) from error
            raise
        return FolderDigest(tuple(digests), empty)

    def _gone(self, artifact: Artifact, title: str) -> NotFoundError:
        return NotFoundError(
            f"the bytes of {title} are missing at {self.bucket.title(artifact.uri)}; materialise it again, or restore "
            "them"
        )

    def manifest_file(self, artifact: Artifact) -> Path:
        path = manifest_path(self.layout.at(artifact.uri))
        if read_manifest(path, artifact.digest) is None:
            manifest = self._stored_manifest(artifact)
            if manifest is not None:
                self._keep_manifest(manifest, path)
        return path

    def _keep_manifest(self, manifest: FileManifest, path: Path) -> None:
        make_folders(path.parent, self.layout.root)
        self.layout.staging.mkdir(parents=True, exist_ok=True)
        write_manifest(manifest, path, self.layout.staged(f"{self.layout.new_token()}.json"))

    def _manifest(self, artifact: Artifact) -> FileManifest | None:
        return read_manifest(self.manifest_file(artifact), artifact.digest)

    def _stored_manifest(self, artifact: Artifact) -> FileManifest | None:
        """The bucket's, if it proves itself."""
        content = self.bucket.get_bytes(artifact.uri + SUFFIX, _MAX_MANIFEST_BYTES)
        return None if content is None else parse_manifest(content, artifact.digest)

    def partition_said(self, uri: str) -> str | None:
        content = self.bucket.get_bytes(uri + SUFFIX, _MAX_MANIFEST_BYTES)
        return self._copies.partition_said(uri) if content is None else partition_stated(content)

    def verify(self, artifact: Artifact, within: str = "", hashed: Hashed = untold) -> Verdict:
        try:
            return self._verify(artifact, within, hashed)
        except CellAssetsError as error:
            # A folder that the artifact never had is the caller's mistake, not the bucket's.
            if isinstance(error, NotFoundError) and within and self._never_had(artifact, within):
                raise
            return unverifiable(artifact, str(error), within)

    def _never_had(self, artifact: Artifact, within: str) -> bool:
        manifest = self._manifest(artifact)
        if manifest is None:
            return False
        folders = (*manifest.folder.empty_folders, *(file.path for file in manifest.folder.files))
        return not any(f"{one}/".startswith(f"{within.strip('/')}/") for one in folders)

    def _verify(self, artifact: Artifact, within: str, hashed: Hashed) -> Verdict:
        start = f"{within.strip('/')}/" if within.strip("/") else ""
        there = {
            _below(one, artifact.uri)[len(start) :]: one
            for one in self.bucket.objects(f"{artifact.uri}/{start}")
        }
        if (why := why_gone(artifact, has_bytes=bool(there))) is not None:
            return unverifiable(artifact, why, within)
        manifest = self._stored_manifest(artifact)
        title = self.bucket.title(artifact.uri + SUFFIX)
        if (why := why_incomparable(artifact, manifest, within, title)) is not None:
            return unverifiable(artifact, why, within)
        recorded = manifest.folder.within(within) if manifest is not None else None
        if not there:
            return missing(artifact, self.bucket.title(f"{artifact.uri}/{start}"), recorded, within)

        def digest(path: str) -> FileDigest:
            hasher, n_bytes = blake3(), 0
            for piece in self.bucket.read(there[path].key, there[path].n_bytes):
                hasher.update(piece)
                n_bytes += len(piece)
                hashed(len(piece))
            return FileDigest(path, n_bytes, hasher.hexdigest())

        listing = _listing(there, recorded)
        found = FolderDigest(tuple(_each(digest, list(listing.files))), listing.empty_folders)
        return judge(artifact, recorded, found, listing, title, within)

    def quick_look(self, artifact: Artifact) -> Verdict:
        try:
            return self._quick_look(artifact)
        except CellAssetsError as error:
            return unverifiable(artifact, str(error))

    def _quick_look(self, artifact: Artifact) -> Verdict:
        there = {_below(one, artifact.uri): one for one in self.bucket.objects(f"{artifact.uri}/")}
        if (why := why_gone(artifact, has_bytes=bool(there))) is not None:
            return unverifiable(artifact, why)
        manifest = self._stored_manifest(artifact)
        sealed = next(self.bucket.objects(artifact.uri + SUFFIX, at_most=1), None)
        if manifest is None or sealed is None:
            return unverifiable(artifact, no_list_to_look_by(self.bucket.title(artifact.uri + SUFFIX)))
        if not there:
            return missing(artifact, self.bucket.title(artifact.uri), manifest.folder)
        seen = {path: Seen(one.n_bytes, one.written <= sealed.written) for path, one in there.items()}
        return judge_by_look(artifact, manifest.folder, seen, _listing(there, manifest.folder))

    def names(self) -> Iterator[Name]:
        seen: set[str] = set()
        last = None
        # Without a word of whose it is, nothing in it can be called unrecorded.
        for one in self.bucket.objects("") if self._is_ours else ():
            name = _name(one.key)
            if name is not None and name != last:
                seen.add(name.uri)
                yield name
            last = name
        yield from (name for name in self._copies.names() if name.uri not in seen)

    def size(self, uri: str) -> int:
        return sum(one.n_bytes for one in self.bucket.objects(f"{uri}/"))

    def unfinished(self) -> Iterator[Unfinished]:
        for upload in self.bucket.unfinished() if self._is_ours else ():
            name = _name(upload.key)
            if name is not None and name.is_artifact:
                yield Unfinished(name.uri, upload.key, upload.id)

    def abort(self, unfinished: Unfinished) -> None:
        self.bucket.abort(Upload(unfinished.key, unfinished.upload))

    def let_go_of_copies(self, unread_s: float) -> int:
        freed, before = 0, time.time() - unread_s
        for uri, is_artifact in list(self._copies.names()):
            folder = self.layout.at(uri)
            if not is_artifact or not folder.is_dir() or _read_last(folder) > before:
                continue
            # What was published before the lab had a bucket may be here alone.
            if not self.bucket.holds(uri + SUFFIX):
                continue
            with self._claims.unclaimed(uri) as is_free:
                if is_free:
                    freed += self._copies.withdraw(uri, self.layout.new_aside())
        return freed


OWNER = "lab.json"
"""Key of what says whose the artifacts are: an entry of the history of their lab."""


def _owner_text(head: ChainHead) -> bytes:
    said = {"format": "cell_assets.bucket", "version": "1", "entry": head.entry, "digest": head.digest}
    return json.dumps(said).encode() + b"\n"


def _owner(content: bytes, title: str) -> ChainHead:
    try:
        said = json.loads(content)
        return ChainHead(int(said["entry"]), str(said["digest"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{title}, which says whose artifacts these are, was altered: bring it back, or remove it if they are this "
            "lab's"
        ) from error


def _each(act: Callable[[_One], _Made], those: Sequence[_One]) -> list[_Made]:
    """Act on each, several at once; the first error ends it, and is raised when those under way have ended."""
    with ThreadPoolExecutor(min(_THREADS, max(1, len(those)))) as pool:
        waiting = [pool.submit(act, one) for one in those]
        try:
            return [one.result() for one in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Pace:
    """Says in the log, every ten seconds, how far it is, how fast it goes, and how long it will take."""

    def __init__(self, doing: str, total: int) -> None:
        self._doing, self._total, self._done = doing, total, 0
        self._began = self._said = time.monotonic()
        self._guard = threading.Lock()

    def did(self, n_bytes: int) -> None:
        with self._guard:
            self._done += n_bytes
            now = time.monotonic()
            if now - self._said < _SAY_EVERY_S:
                return
            self._said = now
            rate = self._done / (now - self._began)
            left = (self._total - self._done) / rate if rate else 0.0
            _log.info(
                "%s: %s of %s, %s/s, %.0f s left",
                self._doing,
                said_bytes(self._done),
                said_bytes(self._total),
                said_bytes(int(rate)),
                left,
            )


def _uri(key: str) -> str:
    return "/".join(key.split("/")[:3])


def _name(key: str) -> Name | None:
    """Of the artifact that an object belongs to; None for the lab's own word."""
    if key == OWNER:
        return None
    uri = _uri(key)
    if key == uri:
        # An object, where a folder or a manifest would be.
        if (
            key.count("/") == 2
            and key.endswith(SUFFIX)
            and names_artifact(key.split("/")[2].removesuffix(SUFFIX))
        ):
            return Name(key.removesuffix(SUFFIX), is_artifact=True)
        return Name(key, is_artifact=False)
    return Name(uri, is_artifact=names_artifact(uri.split("/")[2]))


def _below(one: StoredObject, uri: str) -> str:
    return one.key[len(uri) + 1 :]


def _listing(there: Mapping[str, StoredObject], recorded: FolderDigest | None) -> Listing:
    """Objects as the files of a folder. A bucket has no folders, so that empty ones are taken as recorded."""
    empty = recorded.empty_folders if recorded is not None else ()
    return Listing(Path("/"), tuple(sorted(there, key=str.encode)), empty, empty, ())


def _read_last(folder: Path) -> float:
    """Seconds of the Unix clock; now where it is gone."""
    for path in (manifest_path(folder), folder):
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
    return time.time()
