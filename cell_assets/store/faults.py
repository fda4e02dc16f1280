"""What the disk says, turned into one sentence for a person."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from cell_assets.errors import CellAssetsError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "disk is full", "file too large")
"""How writers that hide the error number (tensorstore, Arrow, SQLite) word it."""


def is_disk_full(error: BaseException) -> bool:
    """Whether this error, or one that caused it, says that a disk or a quota is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if any(words in str(seen).lower() for words in _FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def disk_full_error(root: Path, doing: str) -> CellAssetsError:
    """The error for a disk below `root` that filled up during `doing`, such as `writing tracks P1`."""
    return CellAssetsError(
        f"the disk that holds {root} or its ledger is full: {doing} stopped and left nothing behind; "
        "free space and run again"
    )


@contextlib.contextmanager
def disk_faults(root: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the block, or a database's full disk, into one sentence naming what was done."""
    try:
        yield
    except SQLAlchemyError as error:
        if is_disk_full(error):
            raise disk_full_error(root, doing) from error
        raise
    except OSError as error:
        if is_disk_full(error):
            raise disk_full_error(root, doing) from error
        raise CellAssetsError(
            f"{doing} failed at {error.filename or root}: {error.strerror or error}; "
            f"check the disk that holds {root} and run again"
        ) from error
