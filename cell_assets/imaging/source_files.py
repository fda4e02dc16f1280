"""The TIFF files of a source folder, found without trusting the folder: names, links and loops are checked."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cell_assets.errors import BadInputError

_TIFF = (".tif", ".tiff", ".btf", ".tf8")


def tiff_files(path: Path) -> list[Path]:
    """The TIFF at `path`, or all TIFFs in and below the folder `path`, sorted by relative name.

    Raises:
        BadInputError: there is none, a name is not UTF-8, a file is no regular file or a broken or circular
            link, or a folder is a link (which could lead around for ever, or out of the source).
    """
    if not path.is_dir():
        return [regular_file(path)]
    found = sorted(regular_file(file) for file in _walk(path) if is_tiff_name(file.name))
    if not found:
        raise BadInputError(f"{path}: has no TIFF; give another folder")
    return found


def is_tiff_name(name: str) -> bool:
    """Whether a file's name ends as a TIFF's does."""
    return name.lower().endswith(_TIFF)


def folders_holding(path: Path, name: str) -> list[Path]:
    """`path` and the folders below it that hold a file `name`, sorted; raises as `tiff_files`."""
    return sorted(regular_file(file).parent for file in _walk(path) if file.name == name)


def all_files(path: Path) -> Iterator[Path]:
    """Every file in and below a folder, links that lead nowhere left out; raises as `tiff_files` for names and
    folders."""
    return (file for file in _walk(path) if file.is_file())


def near_folders(path: Path) -> Iterator[Path]:
    """`path` and two levels of folders below it, links left out: a cheap look, not a list of what is there."""
    here = [path]
    for _ in range(3):
        yield from here
        # Entries know whether they are folders: asking each of 10,000 files would be a call to the disk each.
        here = [
            Path(entry.path)
            for folder in here
            for entry in _listed(folder)
            if entry.is_dir(follow_symlinks=False)
        ]


def _walk(folder: Path) -> Iterator[Path]:
    pending = [folder]
    while pending:
        here = pending.pop()
        for entry in _listed(here):
            child = Path(entry.path)
            if not _is_utf8(entry.name):
                raise BadInputError(f"{_shown(child)}: has a name that is not UTF-8; rename it")
            if entry.is_dir(follow_symlinks=False):
                pending.append(child)
            elif entry.is_symlink() and child.is_dir():
                raise BadInputError(f"{child}: is a link to a folder; put the folder itself there")
            else:
                yield child


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadInputError(f"{_shown(folder)}: cannot be listed ({error.strerror}); give access") from error


def regular_file(file: Path) -> Path:
    """The file itself; BadInputError when it is not there, cannot be reached or is no regular file."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadInputError(f"{file}: cannot be opened ({error.strerror}); restore the file") from error
    if not stat.S_ISREG(mode):
        raise BadInputError(f"{file}: is no regular file; restore it or remove it")
    return file


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
