"""Digests of folders: BLAKE3 per file, combined into a Merkle tree over *named* entries.

A directory's digest covers the kind, name, size and digest of each entry, so a swapped, missing, extra,
renamed, truncated or edited file changes the root. It does not cover the directory's own name or place, so
the subtree of one well, FOV or array has the digest that `digest_folder` gives for that folder alone.
How files are read is decided in `file_digest.py`, what may be in a folder in `tree.py`.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from blake3 import blake3

from cell_assets.errors import NotFoundError
from cell_assets.store.file_digest import FileDigest, Hashed, digest_files, untold
from cell_assets.store.tree import Listing, list_folder

DIGEST_TYPE = "blake3-named-merkle-1"
"""Stored beside every digest, so that another scheme can follow."""

_FOLDER_CONTEXT = "cell_assets 2024 named merkle folder 1"


@dataclass(frozen=True)
class FolderDigest:
    """Every file's digest, and the tree over them."""

    files: tuple[FileDigest, ...]
    """Ordered by path, as UTF-8 bytes."""
    empty_folders: tuple[str, ...] = ()
    """Folders without entries: part of the tree, though no file would show them."""
    _roots: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def root(self) -> str:
        """Digest of the whole folder, 64 hex digits."""
        return self.subtree("")

    @property
    def n_bytes(self) -> int:
        """Sum of the files' sizes."""
        return sum(file.n_bytes for file in self.files)

    @property
    def n_files(self) -> int:
        """Number of files."""
        return len(self.files)

    def subtree(self, prefix: str) -> str:
        """Digest of one folder inside, for example `plate.zarr/A/1/000`; equal to digesting it alone.

        Raises NotFoundError when no such folder is in the tree.
        """
        if not self._roots:
            self._roots.update(_folder_roots(self.files, self.empty_folders))
        prefix = prefix.strip("/")
        if prefix not in self._roots:
            raise NotFoundError(
                f"the digested folder has no folder {prefix!r}; name one relative to its root"
            )
        return self._roots[prefix]

    def within(self, prefix: str) -> "FolderDigest":
        """The part below one folder, with paths relative to it; raises NotFoundError as `subtree` does."""
        if not prefix.strip("/"):
            return self
        self.subtree(prefix)
        start = prefix.strip("/") + "/"
        return FolderDigest(
            files=tuple(
                FileDigest(f.path[len(start) :], f.n_bytes, f.digest)
                for f in self.files
                if f.path.startswith(start)
            ),
            empty_folders=tuple(
                f[len(start) :] for f in self.empty_folders if f.startswith(start) and f != start
            ),
        )


def digest_folder(path: Path) -> FolderDigest:
    """Digest every file below `path`.

    Raises BadInputError naming any symlink or special file, and NotFoundError when `path` is no folder.
    """
    return digest_listing(list_folder(path).refuse_irregular())


def digest_listing(listing: Listing, hashed: Hashed = untold) -> FolderDigest:
    """Digest the files of a listing that was already made; raises OSError naming one that cannot be read."""
    return FolderDigest(digest_files(listing.root, listing.files, hashed), listing.empty_folders)


def _folder_roots(files: tuple[FileDigest, ...], empty_folders: tuple[str, ...]) -> dict[str, str]:
    """Digest of every folder of the tree by its path; the whole folder is `""`."""
    entries: dict[str, list[tuple[bytes, bytes]]] = {"": []}

    def ensure(folder: str) -> list[tuple[bytes, bytes]]:
        if folder not in entries:
            entries[folder] = []
            ensure(folder.rpartition("/")[0])
        return entries[folder]

    for file in files:
        parent, _, name = file.path.rpartition("/")
        entry = _entry(b"f", name, file.n_bytes, file.digest)
        ensure(parent).append((name.encode(), entry))
    for folder in empty_folders:
        ensure(folder)
    roots: dict[str, str] = {}
    # Deepest first, so that a folder's digest exists when its parent needs it.
    for folder in sorted(entries, key=lambda path: -path.count("/") - (path != "")):
        inside = sorted(entries[folder])
        hasher = blake3(derive_key_context=_FOLDER_CONTEXT)
        hasher.update(len(inside).to_bytes(8, "big"))
        for _, entry in inside:
            hasher.update(entry)
        roots[folder] = hasher.hexdigest()
        if folder:
            parent, _, name = folder.rpartition("/")
            entries[parent].append((name.encode(), _entry(b"d", name, 0, roots[folder])))
    return roots


def _entry(kind: bytes, name: str, n_bytes: int, digest: str) -> bytes:
    encoded = name.encode()
    return b"".join(
        (
            kind,
            len(encoded).to_bytes(4, "big"),
            encoded,
            n_bytes.to_bytes(8, "big"),
            bytes.fromhex(digest),
        )
    )
