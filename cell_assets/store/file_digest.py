"""BLAKE3 of the files of a folder, as fast as they can be read. What a folder's digest is, `digest.py` says."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

_SMALL_BYTES = 256 * 2**10
"""Files below this size take one read and one call of the hash, in one thread: more threads measured slower."""
_BUFFER_BYTES = 512 * 2**10
"""Of a larger file: hashed while it is still in the core's own cache."""
_ALONE_BYTES = 64 * 2**20
"""A folder's only large file is hashed by all cores from this size; below it, getting ready takes longer."""
_PART_BYTES = 2 * 2**20
"""What all cores hash while one of them reads the next."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a digested folder."""

    path: str
    """Relative to the folder, `/` between parts, on every system."""
    n_bytes: int
    digest: str
    """BLAKE3 of the file's bytes, 64 hex digits."""


Hashed = Callable[[int], None]
"""Told of bytes as they are hashed, by whichever thread did so."""


def untold(n_bytes: int) -> None:
    """For callers who need not know how far it is."""


def digest_files(root: Path, paths: Sequence[str], hashed: Hashed = untold) -> tuple[FileDigest, ...]:
    """Digest files below `root`, in the order of `paths`; raises OSError naming one that cannot be read."""
    base = os.fspath(root)
    buffer = memoryview(bytearray(_SMALL_BYTES))
    small: list[FileDigest] = []
    large = deque[str]()
    for path in paths:
        descriptor = _open(base, path)
        try:
            n_bytes = _read(descriptor, buffer, base, path)
        finally:
            os.close(descriptor)
        if n_bytes < len(buffer):
            small.append(FileDigest(path, n_bytes, blake3(buffer[:n_bytes]).hexdigest()))
            hashed(n_bytes)
        else:
            large.append(path)
    if not large:
        return tuple(small)
    found = {file.path: file for file in (*small, *_digest_large(base, large, hashed))}
    return tuple(found[path] for path in paths)


def digest_file(path: Path) -> str:
    """BLAKE3 of one file's bytes, 64 hex digits; raises OSError when it cannot be read."""
    (found,) = digest_files(path.parent, [path.name])
    return found.digest


def _digest_large(base: str, waiting: deque[str], hashed: Hashed) -> list[FileDigest]:
    if len(waiting) == 1 and Path(base, waiting[0]).stat().st_size >= _ALONE_BYTES:
        return [_digest_alone(base, waiting[0], hashed)]
    # A file to each core: two that shared files of 64 MiB waited for each other at every part, and reached
    # 0.6 to 0.75 of the rate of hashing in memory instead of 0.98.
    n_threads = min(len(waiting), len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(n_threads) as pool:
        shares = [pool.submit(_digest_waiting, base, waiting, hashed) for _ in range(n_threads)]
        return [file for share in shares for file in share.result()]


def _digest_waiting(base: str, waiting: deque[str], hashed: Hashed) -> list[FileDigest]:
    """Digest what waits, until nothing does; a file that cannot be read leaves nothing to the other threads."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    digests = []
    # Not `while waiting`: another thread may take the last one in between.
    with contextlib.suppress(IndexError):
        while True:
            path = waiting.popleft()
            try:
                digests.append(_digest_one(base, path, buffer))
                hashed(digests[-1].n_bytes)
            except OSError:
                waiting.clear()
                raise
    return digests


def _digest_one(base: str, path: str, buffer: memoryview) -> FileDigest:
    hasher = blake3()
    n_bytes = 0
    descriptor = _open(base, path)
    try:
        while n_read := _read(descriptor, buffer, base, path):
            hasher.update(buffer[:n_read])
            n_bytes += n_read
    finally:
        os.close(descriptor)
    return FileDigest(path, n_bytes, hasher.hexdigest())


def _digest_alone(base: str, path: str, hashed: Hashed) -> FileDigest:
    """Hash with all cores, and read the next part meanwhile."""
    hasher = blake3(max_threads=blake3.AUTO)
    n_bytes = 0
    part, following = (memoryview(bytearray(_PART_BYTES)) for _ in range(2))
    descriptor = _open(base, path)
    try:
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(_read, descriptor, part, base, path)
            while n_read := coming.result():
                coming = reader.submit(_read, descriptor, following, base, path)
                hasher.update(part[:n_read])
                hashed(n_read)
                n_bytes += n_read
                part, following = following, part
    finally:
        os.close(descriptor)
    return FileDigest(path, n_bytes, hasher.hexdigest())


def _open(base: str, path: str) -> int:
    return os.open(f"{base}/{path}", os.O_RDONLY | os.O_NOFOLLOW)


def _read(descriptor: int, buffer: memoryview, base: str, path: str) -> int:
    """Fill the buffer as far as the file reaches; returns how far."""
    # Read, not memory-mapped: as fast when measured, and a bad sector or a file cut short meanwhile is an
    # error here instead of a SIGBUS that kills the process.
    filled = 0
    try:
        while filled < len(buffer) and (n_read := os.readv(descriptor, [buffer[filled:]])):
            filled += n_read
    except OSError as error:
        error.filename = error.filename or f"{base}/{path}"
        raise
    return filled
