"""The container of an evidence bundle: a ZIP file whose every byte follows from its members' names and contents.

Written here rather than by `zipfile`, whose headers differ between versions of Python and which skips bytes that
belong to no member: verification rebuilds each header and compares. Members are stored uncompressed, in the order
of their names, one after the other from the first byte on.
"""

import errno
import hashlib
import os
import re
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.store.tree import flush_folder

MAX_BYTES = 2**32 - 2
MAX_MEMBERS = 2**16 - 2
"""What a ZIP file can say without its 64-bit extension."""

_MAX_NAME_BYTES = 1024
_CHUNK_BYTES = 2**20
_LOCAL, _ENTRY, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_BYTES, _ENTRY_BYTES, _END_BYTES = 30, 46, 22
_LOCAL_CRC_AT, _ENTRY_CRC_AT = 14, 16
_FLAGS_UTF8 = 1 << 11
_DATE_1980 = 1 << 5 | 1
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without them say, such as FAT."""
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|^[A-Za-z]:")

Step = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and the member."""


@dataclass(frozen=True)
class Member:
    """One file in the container."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class ContainerFault:
    """Bytes of the container that are not what its members call for."""

    member: str | None
    why: str


@dataclass(frozen=True)
class _Place:
    """Where a member lies."""

    name: str
    n_bytes: int
    offset: int
    """Of its header."""

    @property
    def content(self) -> int:
        return self.offset + _LOCAL_BYTES + len(self.name.encode())

    @property
    def end(self) -> int:
        return self.content + self.n_bytes


def check_member_name(name: str) -> str:
    """Return `name` when it is a relative path that every system can unpack; raises BadInputError otherwise."""
    parts = name.split("/")
    try:
        too_long = len(name.encode()) > _MAX_NAME_BYTES
    except UnicodeEncodeError:
        too_long = True
    if too_long or _UNUSABLE.search(name) or any(part in ("", ".", "..") for part in parts):
        raise BadInputError(
            f"{name!r} cannot be the name of a bundle's member: it must be a relative path without '..', "
            f"backslashes and control characters, of at most {_MAX_NAME_BYTES} bytes"
        )
    return name


class Hasher(Protocol):
    """What takes in bytes piece by piece, such as a digest of hashlib or blake3."""

    def update(self, piece: bytes, /) -> object:
        """Take in the next bytes."""


class _Crc32:
    """The checksum of ZIP files."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, piece: bytes, /) -> None:
        self.value = zlib.crc32(piece, self.value)


def hashed(chunks: Iterable[bytes], *hashers: Hasher) -> Iterator[bytes]:
    """The same chunks, each taken in by every hasher before it is passed on."""
    for chunk in chunks:
        for hasher in hashers:
            hasher.update(chunk)
        yield chunk


def hash_all(chunks: Iterable[bytes], *hashers: Hasher) -> None:
    """Let every hasher take in all chunks."""
    for _ in hashed(chunks, *hashers):
        pass


# Writing.


@contextmanager
def new_bundle(target: Path) -> Iterator["BundleWriter"]:
    """A bundle that stands at `target` when the block ends; when it raises, nothing is left.

    Raises BadInputError when something is there already or its folder is not, CellAssetsError when the disk fails.
    """
    check_target(target)
    partial = target.with_name(f".bundle_{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as handle:
            writer = BundleWriter(handle)
            yield writer
            writer.finish()
            handle.flush()
            os.fsync(handle.fileno())
        _put(partial, target)
        flush_folder(target.parent)
    except OSError as error:
        where = target if error.filename in (None, str(partial)) else error.filename
        raise CellAssetsError(f"{where} cannot be read or written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def check_target(target: Path) -> None:
    """Raise BadInputError when no bundle can be put at `target`: something is there, or its folder is not."""
    try:
        if target.exists() or target.is_symlink():
            raise _taken(target)
        if not target.parent.exists():
            raise BadInputError(f"the folder {target.parent} does not exist: make it first")
        if not target.parent.is_dir():
            raise BadInputError(f"{target.parent} is not a folder: give another name with -o")
    except OSError as error:
        raise BadInputError(
            f"{target} cannot be written: {error.strerror}; give another name with -o"
        ) from error


def _taken(target: Path) -> BadInputError:
    return BadInputError(f"{target} is there already and is not overwritten: give another name with -o")


def _put(partial: Path, target: Path) -> None:
    """Give the finished file its name. A link fails where something is, which a rename would replace."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise CellAssetsError(
            f"{target} cannot be written: the file system of its folder has no hard links, without which "
            "something that appears there meanwhile could be overwritten; give a file on another one with -o"
        ) from error
    partial.unlink()


class BundleWriter:
    """Appends members, in the order of their names as UTF-8 bytes; holds one chunk of one of them in memory."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._directory: list[bytes] = []
        self._directory_bytes = 0
        self._end = 0
        self.members: list[Member] = []

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Append one member. Raises BadInputError for an unusable name and when the container grows too large."""
        check_member_name(name)
        if self.members and name.encode() <= self.members[-1].name.encode():
            raise ValueError(f"{name} comes after {self.members[-1].name}, but sorts before it")
        n_bytes, crc32, sha256 = 0, _Crc32(), hashlib.sha256()
        self._handle.write(_local_header(name, 0, 0))
        for chunk in hashed(chunks, crc32, sha256):
            self._handle.write(chunk)
            n_bytes += len(chunk)
            self._refuse_too_large(n_bytes)
        place = _Place(name, n_bytes, self._end)
        self._handle.seek(place.offset)
        self._handle.write(_local_header(name, n_bytes, crc32.value))
        self._handle.seek(place.end)
        self._directory.append(_directory_entry(place, crc32.value))
        self._directory_bytes += len(self._directory[-1])
        self._end = place.end
        self.members.append(Member(name, n_bytes, sha256.hexdigest()))
        self._refuse_too_large(0)

    def _refuse_too_large(self, coming: int) -> None:
        if (
            self._end + coming + self._directory_bytes > MAX_BYTES - _END_BYTES
            or len(self.members) > MAX_MEMBERS
        ):
            raise BadInputError(
                f"the bundle would be larger than {MAX_BYTES} bytes or {MAX_MEMBERS} members, the most that "
                "one holds: bundle a number that rests on less"
            )

    def finish(self) -> None:
        """Write the directory."""
        for entry in self._directory:
            self._handle.write(entry)
        self._handle.write(_end_record(len(self._directory), self._directory_bytes, self._end))


def _local_header(name: str, n_bytes: int, crc: int) -> bytes:
    encoded = name.encode()
    fixed = (20, _FLAGS_UTF8, 0, 0, _DATE_1980, crc, n_bytes, n_bytes, len(encoded), 0)
    return struct.pack("<4s5H3I2H", _LOCAL, *fixed) + encoded


def _directory_entry(place: _Place, crc: int) -> bytes:
    encoded = place.name.encode()
    fixed = (20, _UNIX, 20, 0, _FLAGS_UTF8, 0, 0, _DATE_1980, crc, place.n_bytes, place.n_bytes)
    rest = (len(encoded), 0, 0, 0, 0, _REGULAR_FILE, place.offset)
    return struct.pack("<4s4B4H3I5H2I", _ENTRY, *fixed, *rest) + encoded


def _end_record(n_members: int, n_bytes: int, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", _END, 0, 0, n_members, n_members, n_bytes, offset, 0)


# Reading.


class Container:
    """A bundle from anybody's hands. Nothing is unpacked; members are read by name and in bounded pieces."""

    def __init__(self, handle: BinaryIO, size: int, places: tuple[_Place, ...]) -> None:
        self._handle = handle
        self._size = size
        self._places = {place.name: place for place in places}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Find the members, by the directory at the end or, where that is damaged, by the headers themselves.

        Raises BadInputError when the file cannot be read or neither leads to a bundle's members.
        """
        try:
            handle = path.open("rb")
        except OSError as error:
            raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
        try:
            size = os.fstat(handle.fileno()).st_size
            places = None
            if _END_BYTES < size <= MAX_BYTES:
                places = _places_in_directory(handle, size) or _places_by_headers(handle, size)
            if not places:
                raise BadInputError(
                    f"{path} is no evidence bundle, or is cut short or damaged throughout: no list of its "
                    "members can be found in it"
                )
        except OSError as error:
            handle.close()
            raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
        except BaseException:
            handle.close()
            raise
        return cls(handle, size, places)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def __contains__(self, name: str) -> bool:
        return name in self._places

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all members, in order; made anew at each use, so ask `in` the container whether one is there."""
        return tuple(self._places)

    def size_of(self, name: str) -> int:
        """Bytes of a member."""
        return self._places[name].n_bytes

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member's content, piece by piece."""
        place = self._places[name]
        return _pieces(self._handle, place.content, place.n_bytes)

    def read(self, name: str, limit: int) -> bytes:
        """A member's whole content. Raises BadInputError when there is none or it is larger than `limit`."""
        if name not in self:
            raise BadInputError(f"the bundle has no {name}")
        if self.size_of(name) > limit:
            raise BadInputError(f"{name} has {self.size_of(name)} bytes, at most {limit} are read")
        return b"".join(self.chunks(name))

    def check(self, step: Step | None = None) -> tuple[tuple[Member, ...], tuple[ContainerFault, ...]]:
        """Read every byte and rebuild what stands around the contents; returns the members as they are."""
        members: list[Member] = []
        faults: list[ContainerFault] = []
        places = list(self._places.values())
        at = places[-1].end
        for place in places:
            crc32, sha256 = _Crc32(), hashlib.sha256()
            hash_all(self.chunks(place.name), crc32, sha256)
            crc = crc32.value
            members.append(Member(place.name, place.n_bytes, sha256.hexdigest()))
            header = _exactly(self._handle, place.offset, place.content - place.offset)
            entry = _exactly(self._handle, at, _ENTRY_BYTES + place.content - place.offset - _LOCAL_BYTES)
            at += len(entry)
            stated = {_crc_in(header, _LOCAL_CRC_AT), _crc_in(entry, _ENTRY_CRC_AT)}
            if crc not in stated:
                faults.append(ContainerFault(place.name, f"the content of {place.name} was changed"))
                crc = _crc_in(header, _LOCAL_CRC_AT)
            if header != _local_header(place.name, place.n_bytes, crc):
                faults.append(ContainerFault(place.name, f"the header of {place.name} was changed"))
            if entry != _directory_entry(place, crc):
                faults.append(ContainerFault(place.name, f"the directory entry of {place.name} was changed"))
            if step is not None:
                step(place.end, self._size, place.name)
        end = _end_record(len(places), at - places[-1].end, places[-1].end)
        if _exactly(self._handle, at, _END_BYTES) != end:
            faults.append(ContainerFault(None, "the end record of the ZIP file was changed"))
        if self._size > at + _END_BYTES:
            faults.append(
                ContainerFault(None, f"{self._size - at - _END_BYTES} bytes follow the ZIP file's end")
            )
        return tuple(members), tuple(faults)


def _places_in_directory(handle: BinaryIO, size: int) -> tuple[_Place, ...] | None:
    """What the directory says, if it says what a bundle's would."""
    end = _exactly(handle, size - _END_BYTES, _END_BYTES)
    n_members, n_bytes, offset = struct.unpack("<H2I", end[10:20])
    if end != _end_record(n_members, n_bytes, offset) or offset + n_bytes + _END_BYTES != size:
        return None
    if n_bytes > n_members * (_ENTRY_BYTES + _MAX_NAME_BYTES):
        return None
    directory = _exactly(handle, offset, n_bytes)
    places: list[_Place] = []
    at = 0
    while at < len(directory):
        entry = directory[at : at + _ENTRY_BYTES]
        if len(entry) < _ENTRY_BYTES or entry[:4] != _ENTRY:
            return None
        n_content, n_name = struct.unpack("<IH", entry[24:30])
        start = int.from_bytes(entry[42:], "little")
        name = directory[at + _ENTRY_BYTES : at + _ENTRY_BYTES + n_name]
        if not _follows(places, name, n_name, start):
            return None
        places.append(_Place(name.decode(), n_content, start))
        at += _ENTRY_BYTES + n_name
    fits = places and len(places) == n_members and places[-1].end == offset
    return tuple(places) if fits else None


def _places_by_headers(handle: BinaryIO, size: int) -> tuple[_Place, ...] | None:
    """What the headers say, one after the other from the first byte on."""
    places: list[_Place] = []
    at = 0
    while (header := _exactly(handle, at, _LOCAL_BYTES))[:4] == _LOCAL and len(places) < MAX_MEMBERS:
        if len(header) < _LOCAL_BYTES:
            return None
        n_content, n_name = struct.unpack("<IH", header[22:28])
        name = _exactly(handle, at + _LOCAL_BYTES, min(n_name, _MAX_NAME_BYTES))
        if not _follows(places, name, n_name, at):
            return None
        places.append(_Place(name.decode(), n_content, at))
        at = places[-1].end
        if at > size:
            return None
    return tuple(places) or None


def _follows(places: list[_Place], name: bytes, n_name: int, offset: int) -> bool:
    """Whether a member of this name may stand at `offset`, right behind those found so far."""
    try:
        check_member_name(name.decode())
    except (UnicodeDecodeError, BadInputError):
        return False
    in_order = not places or name > places[-1].name.encode()
    return in_order and len(name) == n_name and offset == (places[-1].end if places else 0)


def _crc_in(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "little")


def _exactly(handle: BinaryIO, offset: int, n_bytes: int) -> bytes:
    """Bytes at `offset`; fewer where the file ends."""
    handle.seek(offset)
    return handle.read(n_bytes)


def _pieces(handle: BinaryIO, offset: int, n_bytes: int) -> Iterator[bytes]:
    while n_bytes:
        piece = _exactly(handle, offset, min(n_bytes, _CHUNK_BYTES))
        if not piece:
            return
        yield piece
        offset, n_bytes = offset + len(piece), n_bytes - len(piece)
