"""Which formats can be read: every module of this folder that states `READER` is one."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.imaging import readers as readers_folder
from cell_assets.imaging.readers.base import PlateSource, Reader

AUTO = "auto"


@cache
def readers() -> tuple[Reader, ...]:
    """All readers, by format name."""
    found = []
    for module in pkgutil.iter_modules(readers_folder.__path__, f"{readers_folder.__name__}."):
        reader = getattr(importlib.import_module(module.name), "READER", None)
        if isinstance(reader, Reader):
            found.append(reader)
    return tuple(sorted(found, key=lambda reader: reader.format))


def detect_format(path: Path) -> str:
    """The one format that recognises `path`.

    Raises:
        BadInputError: the path does not exist, or none or several formats recognise it; says what was looked
        for.
        PermissionError: none does, and a file in it cannot be read.
    """
    _check_exists(path)
    found = [reader.format for reader in readers() if reader.recognises(path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInputError(f"{path}: could be {' or '.join(found)}; say which with --format")
    # What would tell its format may be among what this process may not read.
    for file in sorted(path.glob("*")):
        if file.is_file():
            file.open("rb").close()
    looked_for = "; ".join(f"{reader.format}: {reader.looks_for}" for reader in readers())
    raise BadInputError(f"{path}: no known plate format (looked for {looked_for}); give another folder")


def open_source(
    path: Path, source_format: str = AUTO, pattern: str | None = None, labels: str | None = None
) -> PlateSource:
    """Open a plate of the named format, or of the one that recognises it, or of the one that reads by `pattern`.

    Where FOVs have several label images, `labels` names the one to read.

    Raises:
        BadInputError: unknown format, one that takes no pattern or no labels' name, or the source cannot be used
            as it is.
    """
    _check_exists(path)
    name = source_format
    if name == AUTO:
        name = detect_format(path) if pattern is None else _format_by_pattern()
    reader = next((reader for reader in readers() if reader.format == name), None)
    if reader is None:
        known = ", ".join(reader.format for reader in readers())
        raise BadInputError(f"--format {name!r} is not known; give {AUTO} or one of {known}")
    if labels is not None:
        if reader.open_with_labels is None:
            raise BadInputError(f"--labels {labels!r}: is not for format {name}; leave one of them out")
        if pattern is None:
            return reader.open_with_labels(path, labels)
    if pattern is None:
        return reader.open(path)
    if reader.open_by_pattern is None:
        raise BadInputError(f"--pattern {pattern!r}: is not for format {name}; leave one of them out")
    return reader.open_by_pattern(path, pattern)


def _format_by_pattern() -> str:
    return next(reader.format for reader in readers() if reader.open_by_pattern is not None)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise BadInputError(f"{path}: there is no such file or folder")
