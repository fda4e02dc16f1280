"""Where landing folders lie: on a disk of this machine, or behind an fsspec URL. Both are looked at the same way."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cell_assets.errors import BadInputError

_NOISE = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What desktops leave in folders that somebody looked into."""

_S3_WITH_KEYS = re.compile(r"s3a?://.*[@?]", re.DOTALL)
"""Keys may hold slashes themselves."""

_MAX_SAID = 200
"""Characters of a backend's error: some quote a whole answer of the server."""


@dataclass(frozen=True)
class SeenFile:
    """A file, by what can be seen without reading it."""

    path: str
    """Relative to the folder that was walked."""
    size: int
    stamp: str
    """When it was written, as its place says it; of a disk also who may read it, so that this is seen mended."""


class Place(Protocol):
    """One landing folder. Folders and files are named by text that only this place reads; `title` is for people.

    Whatever cannot be asked or read raises OSError, of the remote as of the disk.
    """

    @property
    def root(self) -> str:
        """The landing folder itself."""
        ...

    def title(self, path: str) -> str:
        """The path or URL as it is shown and recorded."""
        ...

    def subfolders(self, folder: str) -> list[str]:
        """The folders in a folder, in the order of their names."""
        ...

    def stamp(self, file: str) -> str | None:
        """Size and time of a file, for the price of one question; None when it is not there."""
        ...

    def read(self, file: str, at_most: int) -> bytes:
        """The bytes of a file, as far as `at_most`."""
        ...

    def walk(self, folder: str) -> Iterator[SeenFile]:
        """All files below a folder, in any order.

        Raises:
            BadInputError: a link that leads nowhere or in a circle, or a name that is no text.
            OSError: a folder cannot be read.
        """
        ...


@dataclass(frozen=True)
class LocalPlace:
    """A folder of this machine. Symbolic links are followed, as a lab may keep its pixels on another disk."""

    root: str

    def title(self, path: str) -> str:
        # PostgreSQL takes no half surrogates, as which Python holds bytes that are no UTF-8.
        return os.fsencode(path).decode("utf-8", "backslashreplace")

    def subfolders(self, folder: str) -> list[str]:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if _is_folder(entry))

    def stamp(self, file: str) -> str | None:
        try:
            seen = os.stat(file)  # noqa: PTH116 - ten thousand of these each tick; a Path costs thrice as much.
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{seen.st_size} {seen.st_mtime_ns}" if stat.S_ISREG(seen.st_mode) else None

    def read(self, file: str, at_most: int) -> bytes:
        with Path(file).open("rb") as opened:
            return opened.read(at_most)

    def walk(self, folder: str) -> Iterator[SeenFile]:
        yield from self._walk(folder, "", ())

    def _walk(self, folder: str, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[SeenFile]:
        here = os.stat(folder)  # noqa: PTH116
        above = (*above, (here.st_dev, here.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{below}{entry.name}"
                if entry.name in _NOISE:
                    continue
                if not _is_text(entry.name):
                    raise BadInputError(f"the name {self.title(name)!r} is no UTF-8: rename the file")
                try:
                    seen = entry.stat()
                except FileNotFoundError:
                    if entry.is_symlink():
                        raise BadInputError(f"{name} is a symbolic link that leads nowhere") from None
                    continue  # Gone since the folder was listed; the next look sees what is left.
                except OSError as error:
                    raise BadInputError(f"{name} cannot be read ({error.strerror})") from error
                if stat.S_ISDIR(seen.st_mode):
                    if (seen.st_dev, seen.st_ino) in above:
                        raise BadInputError(f"{name} is a symbolic link that leads back to a folder above it")
                    yield from self._walk(entry.path, f"{name}/", above)
                elif stat.S_ISREG(seen.st_mode):
                    may = f"{seen.st_mode:o} {seen.st_uid} {seen.st_gid}"
                    yield SeenFile(name, seen.st_size, f"{seen.st_mtime_ns} {may}")
                else:
                    raise BadInputError(f"{name} is neither a file nor a folder")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link in a circle.


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class RemotePlace:
    """A folder behind an fsspec URL. Stores without a time of writing say by size, and ETag where they have one."""

    def __init__(self, url: str) -> None:
        """Open it; most backends ask nothing of the other side yet.

        Raises:
            BadInputError: the URL cannot be opened.
        """
        self._fs, self.root = open_remote(url)

    def title(self, path: str) -> str:
        return str(self._fs.unstrip_protocol(path))

    def subfolders(self, folder: str) -> list[str]:
        with remote_errors():
            entries = self._fs.ls(folder, detail=True)
            return sorted(str(entry["name"]).rstrip("/") for entry in entries if entry["type"] == "directory")

    def stamp(self, file: str) -> str | None:
        with remote_errors():
            try:
                info = self._fs.info(file)
            except FileNotFoundError:
                return None
            return f"{info['size']} {_written(info)}" if info["type"] == "file" else None

    def read(self, file: str, at_most: int) -> bytes:
        with remote_errors():
            return bytes(self._fs.cat_file(file, start=0, end=at_most))

    def walk(self, folder: str) -> Iterator[SeenFile]:
        with remote_errors():
            found = self._fs.find(folder, detail=True)
            seen = [
                SeenFile(
                    str(path)[len(folder) :].lstrip("/"), remote_size(self._fs, path, info), _written(info)
                )
                for path, info in found.items()
                if not is_folder_mark(path)
            ]
        return (file for file in seen if file.path.rpartition("/")[2] not in _NOISE)


def open_remote(url: str) -> tuple[Any, str]:
    """The filesystem of an fsspec URL, and the path in it.

    Raises:
        BadInputError: the URL chains several or holds keys, no installed package knows its protocol, or its backend
            refuses it.
    """
    from fsspec.core import url_to_fs

    if "::" in url:
        # A file below it would be named by a URL that has lost the second half.
        raise BadInputError(
            f"{without_password(url)} cannot be opened: it chains URLs, give that of the folder itself"
        )
    if _S3_WITH_KEYS.match(url):
        # The client would take them for the bucket's name, and say it in its errors.
        raise BadInputError(
            "a landing folder is named by an s3:// URL with keys in it: take them out and give them to the client "
            "itself, such as by AWS_PROFILE or AWS_SHARED_CREDENTIALS_FILE"
        )
    try:
        with remote_errors():
            return url_to_fs(url, use_listings_cache=False)
    except OSError as error:
        raise BadInputError(
            f"{without_password(url)} cannot be opened ({error}): see how it is written and that it is there"
        ) from error


def without_password(url: str) -> str:
    """A URL as it may be shown and logged: a user's name stays, the password goes."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", url)


@contextmanager
def remote_errors() -> Iterator[None]:
    """Turns what a backend raises into OSError: the client libraries beneath fsspec have errors of their own."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror is not None:
            raise
        said = " ".join(str(error).split())[:_MAX_SAID]
        raise OSError(f"{type(error).__name__}: {said}") from error


def remote_size(fs: Any, path: str, info: Mapping[str, Any]) -> int:
    """Bytes of a file, from its entry in a listing; a web server's listing has none, so it is asked once more.

    Raises:
        OSError: the backend does not know.
    """
    size = info["size"] if info.get("size") is not None else fs.size(path)
    if size is None:
        raise OSError(f"how many bytes {path} has is not told by its server")
    return int(size)


def is_folder_mark(path: str) -> bool:
    """Whether an object is the empty one that browsers and consoles write for a folder."""
    return path.endswith("/")


def _written(info: Mapping[str, Any]) -> str:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created", "ETag", "etag"):
        if info.get(name) is not None:
            return str(info[name])
    return ""


def is_remote(place: str) -> bool:
    """Whether a landing folder or a source is named by a URL."""
    return "://" in place


def open_place(place: str) -> Place:
    """The place that a path or an fsspec URL names.

    Raises:
        BadInputError: the URL cannot be opened, or the path starts with the home of a user that there is not.
    """
    named = named_folder(place)
    return RemotePlace(named) if is_remote(named) else LocalPlace(named)


def named_folder(named: str) -> str:
    """A folder's absolute path, also where it is named as `file://`, or its URL.

    Raises:
        BadInputError: the path starts with the home of a user that there is not.
    """
    path = named.removeprefix("file://")
    if is_remote(path):
        return path
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:
        raise BadInputError(f"{named} cannot be opened ({error}): write the path in full") from error
