"""Which artifacts this process has re-hashed already: may skip a re-hash on read, never certifies."""

import time
from pathlib import Path

from blake3 import blake3

from cell_assets.store.tree import list_folder

_SETTLED_S = 2.0
"""A change this fresh may be followed by another within one tick of the file system's clock."""


class VerifiedReads:
    """Remembers the inode, size, mtime and ctime (ns) of every file of an artifact at its last re-hash.

    Lives in memory and dies with the process. `verify` does not consult it.
    """

    def __init__(self) -> None:
        self._seen: dict[str, bytes] = {}

    def look(self, folder: Path) -> bytes:
        """A digest of the folder's stat fields: take it *before* hashing, give it to `remember` after."""
        hasher = blake3()
        newest = 0
        for path in list_folder(folder).files:
            status = (folder / path).stat(follow_symlinks=False)
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
            fields = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            hasher.update(repr(fields).encode())
        settled = time.time_ns() - newest > _SETTLED_S * 1e9
        return hasher.digest() if settled else b""

    def knows(self, digest: str, look: bytes) -> bool:
        """Whether these very stat fields were re-hashed to `digest` before."""
        return bool(look) and self._seen.get(digest) == look

    def remember(self, digest: str, look: bytes) -> None:
        """Note that files with this look hashed to `digest`."""
        if look:
            self._seen[digest] = look
