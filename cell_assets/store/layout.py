"""Where things lie under the store's root.

<root>/.staging/<token>/             bytes being written
<root>/.staging/<token>.lock         held for as long as their writer lives
<root>/<asset>/<partition>/<digest12>/             a published artifact, read-only
<root>/<asset>/<partition>/<digest12>.files.json   digests of its files
"""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cell_assets.store.names import check_asset_name, encode_partition

STAGING = ".staging"
DIGEST_LENGTHS = (12, 16, 24, 32, 64)
"""Hex digits in a folder's name: the first, unless another artifact of the partition begins with the same."""

_ARTIFACT = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True)
class Layout:
    """Paths of one store; nothing here touches the disk."""

    root: Path

    @property
    def staging(self) -> Path:
        """Folder of everything that is not published; on the same file system, so that a rename moves it."""
        return self.root / STAGING

    def new_token(self) -> str:
        """A fresh name below `staging`: random, because several machines may write at once."""
        return secrets.token_hex(8)

    def staged(self, token: str) -> Path:
        """Staging folder of a write."""
        return self.staging / token

    def lock(self, token: str) -> Path:
        """Lock file of a write."""
        return self.staging / f"{token}.lock"

    def new_aside(self) -> Path:
        """A fresh path below `staging` for what is about to be removed; without an intent, so the sweep's."""
        return self.staged(f"{self.new_token()}.aside")

    def partition(self, asset: str, partition: str) -> Path:
        """Folder of all versions of one asset's partition; raises BadInputError for unusable names."""
        return self.root / check_asset_name(asset) / encode_partition(partition)

    def uri(self, path: Path) -> str:
        """A path as the ledger records it: relative to the root, `/` between parts."""
        return path.relative_to(self.root).as_posix()

    def at(self, uri: str) -> Path:
        """The path of a recorded uri."""
        return self.root / uri


def names_artifact(name: str) -> bool:
    """Whether a folder name within a partition can be a published artifact's."""
    return _ARTIFACT.fullmatch(name) is not None
