"""Permissions as they bind anybody but root, as whom tests often run."""

import encodings.utf_8_sig  # noqa: F401 - Python loads it at first use, which nobody may be kept from.
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root reads every folder; the block runs as nobody where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A new folder that nobody may enter: pytest's own is open to its owner alone."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)


@contextmanager
def closed(path: Path) -> Iterator[Path]:
    """The file or folder without any permission."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        yield path
    finally:
        path.chmod(mode)
