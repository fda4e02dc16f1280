"""Lists of checksums, as `sha256sum`, `md5sum` and `b3sum` write them, held against the files they name."""

import hashlib
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Protocol

from blake3 import blake3

from cell_assets.errors import BadInputError

_LINE = re.compile(r"([0-9A-Fa-f]{32}|[0-9A-Fa-f]{64})[ \t]+\*?(.+)")
_MD5_DIGITS = 32
_READ_BYTES = 2**20

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what); here bytes."""


class ChecksumKind(StrEnum):
    """By which function a list was made."""

    BLAKE3 = "blake3"
    SHA256 = "sha256"
    MD5 = "md5"


class _Hash(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


_NEW: dict[ChecksumKind, Callable[[], _Hash]] = {
    ChecksumKind.BLAKE3: blake3,
    ChecksumKind.SHA256: hashlib.sha256,
    # What cameras' and storage vendors' tools write; it guards against accidents, not against people.
    ChecksumKind.MD5: lambda: hashlib.md5(usedforsecurity=False),
}


def verify_checksums(checksums: Path, kind: ChecksumKind | None, progress: Progress) -> int:
    """Re-hash every file that a list names; returns how many. Reads each file once, a megabyte at a time.

    Args:
        kind: None: told by the number of digits, where 64 are SHA-256.

    Raises:
        BadInputError: the list cannot be read or names nothing, or a file is missing or differs, by name.
    """
    listed = list(_lines(checksums, kind))
    if not listed:
        raise BadInputError(f"{checksums}: names no file, write one `digest  path` a line, or leave it out")
    sizes = [_size(checksums, name) for name, _, _ in listed]
    total, done = sum(sizes), 0
    for (name, wanted, function), size in zip(listed, sizes, strict=True):
        found = _digest(checksums.parent / name, function)
        done += size
        progress(done, total, f"verifying {name}")
        if found != wanted:
            raise BadInputError(
                f"{checksums}: {name} has {function} {found[:12]}…, listed is {wanted[:12]}…: copy the file again"
            )
    return len(listed)


def _lines(checksums: Path, kind: ChecksumKind | None) -> Iterator[tuple[str, str, ChecksumKind]]:
    try:
        text = checksums.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{checksums}: cannot be read ({error.strerror}); restore the list") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{checksums}: byte {error.start} is no UTF-8; write the list as UTF-8") from None
    for n, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise BadInputError(f"{checksums}: line {n} is {line[:80]!r}, write `digest  relative/path`")
        digest, name = match[1].lower(), match[2]
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise BadInputError(f"{checksums}: line {n}: {name!r} must be a path inside the plate's folder")
        by_length = ChecksumKind.MD5 if len(digest) == _MD5_DIGITS else ChecksumKind.SHA256
        chosen = kind or by_length
        if (chosen is ChecksumKind.MD5) != (len(digest) == _MD5_DIGITS):
            raise BadInputError(f"{checksums}: line {n}: {len(digest)} digits are no {chosen}")
        yield name, digest, chosen


def _size(checksums: Path, name: str) -> int:
    try:
        return (checksums.parent / name).stat().st_size
    except OSError as error:
        raise BadInputError(
            f"{checksums}: {name} is listed and cannot be read ({error.strerror}): copy the file"
        ) from error


def _digest(path: Path, kind: ChecksumKind) -> str:
    whole = _NEW[kind]()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                whole.update(piece)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}): copy the file again") from error
    return whole.hexdigest()
