"""Names on disk: folders for assets and partitions, and the names that experiments and plates may have."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes

from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.ledger.names import check_name

MAX_FOLDER_BYTES = 240
"""Longest encoded partition; file systems allow 255."""

_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_ASSET = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_SHORTENED = re.compile(r"~[0-9a-f]{32}$")


def check_key_name(name: str, kind: str = "plate") -> str:
    """Return `name` when it can name an experiment or a plate; `kind` is the word used in the message.

    The rule is the ledger's, which registers these names. Raises BadInputError that quotes the value.
    """
    return check_name(kind, name)


def check_asset_name(asset: str) -> str:
    """Return `asset` when it can name a folder (`[A-Za-z][A-Za-z0-9_]*`); raises BadInputError otherwise."""
    if not _ASSET.fullmatch(asset):
        raise BadInputError(
            f"asset name {asset!r} must start with a letter and hold only letters, digits and underscores"
        )
    return asset


def encode_partition(partition: str) -> str:
    """One folder name for a partition key: `P1|A/1/000` becomes `P1%7CA%2F1%2F000`.

    Reversible with `decode_partition` up to MAX_FOLDER_BYTES; a longer one is cut and closed with `~` and 32
    hex digits of its BLAKE3, and the manifest beside each artifact then holds the key in full.
    Raises BadInputError for an empty key or one with control characters or lone surrogates.
    """
    if not partition or any(unicodedata.category(c) in ("Cc", "Cs") for c in partition):
        raise BadInputError(
            f"partition key {partition!r} is empty or has control characters; give a key like 'P1|A/1/000'"
        )
    encoded = "".join(chr(b) if b in _KEPT else f"%{b:02X}" for b in partition.encode())
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > MAX_FOLDER_BYTES:
        encoded = f"{encoded[: MAX_FOLDER_BYTES - 33]}~{blake3(partition.encode()).hexdigest()[:32]}"
    return encoded


def decode_partition(folder: str) -> str | None:
    """The partition key of a folder name; None for a shortened one, whose manifest holds it.

    Raises BadInputError when the folder name was not made by `encode_partition`.
    """
    if _SHORTENED.search(folder):
        return None
    try:
        partition = unquote_to_bytes(folder).decode()
    except UnicodeDecodeError:
        partition = ""
    if not partition or encode_partition(partition) != folder:
        raise BadInputError(f"folder {folder!r} in the store is not an encoded partition; move it away")
    return partition
