"""What the store asks of the place where published bytes are kept: a folder of this machine, or a bucket.

Bytes are named as the ledger names them, by `uri`: `<asset>/<partition>/<digest12>`, with the list of their files,
the manifest, at `<uri>.files.json`. Where it matters what others do at the same time, the caller holds the
partition's lock and has its intent open.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from cell_assets.ledger.records import Artifact
from cell_assets.store.file_digest import Hashed, untold
from cell_assets.store.manifest import FileManifest
from cell_assets.store.verdict import Verdict


class Name(NamedTuple):
    """One published name, or something that the store did not make."""

    uri: str
    is_artifact: bool


class Unfinished(NamedTuple):
    """A part of a file that lies in the way of nobody and is paid for: an upload that was never completed."""

    uri: str
    """Of the artifact that it was to be of."""
    key: str
    upload: str


class Backend(Protocol):
    """Where published bytes are kept. Can be pickled, so that worker processes may verify."""

    def belong(self) -> None:
        """Say of an unmarked place that it is this lab's, and refuse one of another lab.

        Asked before each write and sweep, and after a commit; it costs something once.

        Raises:
            BadInputError: it holds the artifacts of another lab.
        """
        ...

    def is_taken(self, uri: str) -> bool:
        """Whether bytes or a manifest stand under this name."""
        ...

    def place(self, staged: Path, uri: str, manifest: FileManifest, *, is_recorded: bool) -> None:
        """Put the sealed folder `staged`, which is gone afterwards, under its final name, whole, manifest last.

        Bytes that are right and stand already may stay; damaged ones, and others that no ledger row knows, make way.
        """
        ...

    def let_go(self, uri: str, aside: Path) -> int:
        """Remove the bytes and keep the manifest, which names them; returns the bytes freed."""
        ...

    def withdraw(self, uri: str, aside: Path) -> int:
        """Remove bytes and manifest; returns the bytes freed. `aside` is a free path in the staging folder."""
        ...

    def with_bytes(self, uris: Sequence[str]) -> set[str]:
        """Those under whose name bytes lie, whole or not."""
        ...

    def fetch(self, artifact: Artifact) -> Path:
        """The folder of this machine with the artifact's bytes.

        Raises:
            NotFoundError: they are not there.
            ChangedBytesError: what came from elsewhere is not what was published.
            CellAssetsError: they are elsewhere and cannot be brought.
        """
        ...

    def renew(self, artifact: Artifact) -> bool:
        """Bring bytes anew whose copy on this machine is damaged; False where that is all there is."""
        ...

    def manifest_file(self, artifact: Artifact) -> Path:
        """The manifest as a file of this machine, whether or not it is there and unaltered."""
        ...

    def partition_said(self, uri: str) -> str | None:
        """The partition key that the manifest under this name states, unproven; None if it cannot be read."""
        ...

    def verify(self, artifact: Artifact, within: str = "", hashed: Hashed = untold) -> Verdict:
        """Re-hash the bytes where they are kept; raises as `verdict.verify_folder` does."""
        ...

    def quick_look(self, artifact: Artifact) -> Verdict:
        """As `verdict.quick_look`."""
        ...

    def names(self) -> Iterator[Name]:
        """Everything that stands under a published name, and what no store made, once each."""
        ...

    def size(self, uri: str) -> int:
        """Bytes that `withdraw` would free."""
        ...

    def unfinished(self) -> Iterator[Unfinished]:
        """Uploads that nobody completed, or that are under way."""
        ...

    def abort(self, unfinished: Unfinished) -> None:
        """Let go of the parts of an upload."""
        ...

    def let_go_of_copies(self, unread_s: float) -> int:
        """Remove copies of what is kept elsewhere, if nobody reads them nor has for so many seconds; bytes freed."""
        ...
