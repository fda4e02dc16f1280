"""Room on the disk, asked for before anything is written."""

import shutil
from pathlib import Path

from cell_assets.errors import BadInputError


def require_room(folder: Path, needed: int, keep_free: int, what: str, advice: str) -> None:
    """Refuse what does not fit on the disk of `folder`, which need not exist yet.

    Args:
        needed: bytes that will be written.
        keep_free: bytes that stay free besides, for the database and for logs.
        advice: what a person may do, completing the sentence.

    Raises:
        BadInputError: the disk has less.
    """
    standing = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(standing).free
    if needed > free - keep_free:
        kept = f" of which {said_bytes(keep_free)} stay free" if keep_free else ""
        raise BadInputError(
            f"{what} will write up to {said_bytes(needed)} and the disk of {folder} has {said_bytes(free)} free{kept}: "
            f"{advice}"
        )


def said_bytes(n_bytes: int) -> str:
    """A size for a person, in powers of 1000."""
    size, units = float(n_bytes), iter(("B", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while size >= 999.5 and unit != "PB":
        size, unit = size / 1000, next(units)
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
