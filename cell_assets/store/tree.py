"""Folders on disk: listing, sealing (flush and make read-only) and removing them. No digests, no ledger."""

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cell_assets.errors import BadInputError, NotFoundError

READ_ONLY_FILE = 0o444
READ_ONLY_FOLDER = 0o555

_FLUSH_THREADS = 8
"""Flushing waits for the disk, which serves several at once and commits them together."""
_FLUSH_ALONE = 16
"""Up to this many files a pool costs more than it saves: three starts of a thread take as long as one flush."""


@dataclass(frozen=True)
class Listing:
    """What lies below a folder; paths are relative, ordered as UTF-8 bytes, `/` between parts."""

    root: Path
    files: tuple[str, ...]
    """Regular files."""
    folders: tuple[str, ...]
    """Every folder below the root, parents before children."""
    empty_folders: tuple[str, ...]
    irregular: tuple[str, ...]
    """Symlinks, sockets, devices, pipes, and names that are not Unicode."""

    def refuse_irregular(self) -> "Listing":
        """Return itself; raises BadInputError naming the first entry that is neither file nor folder."""
        if self.irregular:
            raise BadInputError(
                f"{self.root / self.irregular[0]} is a symlink, a special file or has a name that is not "
                f"Unicode, and artifacts hold regular files only; copy the file itself there instead"
            )
        return self


def list_folder(root: Path) -> Listing:
    """List a folder without following symlinks; raises NotFoundError when it is no folder."""
    if root.is_symlink() or not root.is_dir():
        raise NotFoundError(f"{root} is not a folder; give an existing folder")
    files: list[str] = []
    folders: list[str] = []
    empty: list[str] = []
    irregular: list[str] = []
    waiting = [""]
    base = os.fspath(root)
    while waiting:
        folder = waiting.pop()
        n_entries = 0
        with os.scandir(f"{base}/{folder}" if folder else base) as entries:
            for entry in entries:
                n_entries += 1
                path = f"{folder}/{entry.name}" if folder else entry.name
                # The folder itself tells kinds: a stat per file took four times as long as all of the listing.
                if not _is_unicode(entry.name):
                    irregular.append(path)
                elif entry.is_file(follow_symlinks=False):
                    files.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                    waiting.append(path)
                else:
                    irregular.append(path)
        if folder and not n_entries:
            empty.append(folder)
    return Listing(
        root=root,
        files=tuple(sorted(files, key=str.encode)),
        folders=tuple(sorted(folders, key=str.encode)),
        empty_folders=tuple(sorted(empty, key=str.encode)),
        irregular=tuple(sorted(irregular)),
    )


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def seal(listing: Listing) -> None:
    """Make everything below the root read-only and flush it to disk, folders after what they hold.

    The root itself is flushed but stays writable: a folder that is not cannot be renamed into another one.
    """
    base = os.fspath(listing.root)
    _for_each(lambda path: _seal_file(f"{base}/{path}"), listing.files)
    _for_each(lambda path: _seal_folder(f"{base}/{path}"), listing.folders[::-1])
    flush_folder(listing.root)


def _for_each(act: Callable[[str], None], paths: Sequence[str]) -> None:
    if len(paths) <= _FLUSH_ALONE:
        for path in paths:
            act(path)
        return
    with ThreadPoolExecutor(_FLUSH_THREADS) as pool:
        for _ in pool.map(act, paths, chunksize=1):
            pass


def _seal_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, READ_ONLY_FILE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seal_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, READ_ONLY_FOLDER)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    """Flush a folder's entries (names, not contents) to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: Path, root: Path) -> None:
    """Create `path` and its missing parents below `root`, each flushed into its parent."""
    missing = [
        folder for folder in (path, *path.parents) if folder.is_relative_to(root) and not folder.exists()
    ]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def remove(path: Path) -> int:
    """Remove a file, or a folder with all it holds, read-only or not; returns the bytes of the files.

    Follows no symlink, and does not mind what somebody else removes at the same time.
    """
    freed = 0
    if path.is_symlink() or not path.is_dir():
        return _unlink(path)
    for current, folders, files in os.walk(path, topdown=False, onerror=_raise):
        here = Path(current)
        with contextlib.suppress(FileNotFoundError):
            here.chmod(0o700)
        for name in files:
            freed += _unlink(here / name)
        for name in folders:
            # os.walk lists symlinks to folders among the folders.
            if (here / name).is_symlink():
                _unlink(here / name)
            else:
                _rmdir(here / name)
    _rmdir(path)
    return freed


def size(path: Path) -> int:
    """Bytes that `remove` would free."""
    if path.is_symlink() or not path.is_dir():
        return _size(path)
    return sum(_size(Path(at) / name) for at, _, files in os.walk(path, onerror=_raise) for name in files)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _unlink(path: Path) -> int:
    try:
        n_bytes = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return n_bytes


def _rmdir(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
