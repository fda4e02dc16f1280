"""Copies of artifacts whose digest is taken from the bytes on their way, so that a wrong copy is never kept."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

from cell_assets.errors import ChangedBytesError
from cell_assets.store.digest import FolderDigest
from cell_assets.store.file_digest import FileDigest
from cell_assets.store.manifest import FileManifest, manifest_path, write_manifest
from cell_assets.store.manifest import read_manifest as read_file_manifest
from cell_assets.store.tree import READ_ONLY_FOLDER, flush_folder, list_folder, make_folders, remove, seal

_BUFFER_BYTES = 2**20
_THREADS = 4
"""Small files wait for the disk, which serves several at once."""

Copied = Callable[[int], None]
"""Told of the bytes of each file, in one thread."""


def copy_artifact(source: Path, target: Path, root: Path, manifest: FileManifest, copied: Copied) -> None:
    """Copy a published folder to `target` below `root`, where nothing lies, in one step, read-only and flushed.

    Its list of files is written beside it. Raises CellAssetsError when the source cannot be read or is not what the
    manifest says, and OSError when the copy cannot be written; nothing is left of the copy then.
    """
    make_folders(target.parent, root)
    partial = target.with_name(f"{target.name}.partial")
    remove(partial)
    try:
        found = _copy(source, partial, copied)
        if found.root != manifest.folder.root:
            raise ChangedBytesError(
                f"{source} is not what was published: {_difference(manifest.folder, found)}"
            )
        seal(list_folder(partial))
        write_manifest(manifest, manifest_path(target), target.with_name(f"{target.name}.json.partial"))
        partial.rename(target)
        target.chmod(READ_ONLY_FOLDER)
        flush_folder(target.parent)
    except BaseException:
        remove(partial)
        raise


def looks_whole(folder: Path, digest: str) -> str | None:
    """Why a copied artifact cannot be whole, told by the names and sizes of its files; None if it looks so.

    Reads no file but the list of files, which proves itself.
    """
    manifest = read_file_manifest(manifest_path(folder), digest)
    if manifest is None:
        return f"{manifest_path(folder)} is missing or altered"
    for file in manifest.folder.files:
        try:
            n_bytes = (folder / file.path).lstat().st_size
        except OSError:
            return f"{folder / file.path} is missing"
        if n_bytes != file.n_bytes:
            return f"{folder / file.path} has {n_bytes} bytes instead of {file.n_bytes}"
    return None


def _copy(source: Path, target: Path, copied: Copied) -> FolderDigest:
    with _reading(source):
        listing = list_folder(source).refuse_irregular()
    target.mkdir()
    for folder in listing.folders:
        (target / folder).mkdir()
    files = []
    with ThreadPoolExecutor(min(_THREADS, max(1, len(listing.files)))) as pool:
        for file in pool.map(lambda path: _copy_file(source, target, path), listing.files):
            files.append(file)
            copied(file.n_bytes)
    return FolderDigest(tuple(files), listing.empty_folders)


def _copy_file(source: Path, target: Path, path: str) -> FileDigest:
    hasher, n_bytes, buffer = blake3(), 0, memoryview(bytearray(_BUFFER_BYTES))
    with (target / path).open("xb", buffering=0) as writer, _opened(source / path) as descriptor:
        while n_read := _read(descriptor, buffer, source / path):
            part = buffer[:n_read]
            hasher.update(part)
            _write_all(writer.fileno(), part)
            n_bytes += n_read
    return FileDigest(path, n_bytes, hasher.hexdigest())


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    with _reading(file):
        # A link that took the file's place meanwhile must not be followed.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, buffer: memoryview, file: Path) -> int:
    with _reading(file):
        return os.readv(descriptor, [buffer])


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What cannot be read is the source's fault; what cannot be written is left an OSError."""
    try:
        yield
    except OSError as error:
        raise ChangedBytesError(f"{path} cannot be read: {error.strerror}") from error


def _write_all(descriptor: int, part: memoryview) -> None:
    while part:
        part = part[os.write(descriptor, part) :]


def _difference(recorded: FolderDigest, found: FolderDigest) -> str:
    """The first file in which they differ."""
    wanted, there = ({file.path: file for file in folder.files} for folder in (recorded, found))
    for path in sorted(wanted.keys() | there.keys()):
        if wanted.get(path) != there.get(path):
            how = (
                "is missing" if path not in there else "is extra" if path not in wanted else "has other bytes"
            )
            return f"{path} {how}"
    return "its empty folders are others"
