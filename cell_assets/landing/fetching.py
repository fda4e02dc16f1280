"""Files behind an fsspec URL, brought to this machine, where readers can work on them."""

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.landing.places import (
    is_folder_mark,
    open_remote,
    remote_errors,
    remote_size,
    without_password,
)

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what); here bytes."""

_ROOM_LEFT = 0.02
"""Share of the disk that is left free."""


def fetch_folder(url: str, target: Path, progress: Progress) -> int:
    """Copy every file below `url` into the new folder `target`; returns the number of bytes.

    Raises:
        BadInputError: nothing lies there, a name leads out of the folder, or the URL cannot be opened.
        CellAssetsError: the disk has no room for it, or a file came short; nothing of it should be used.
    """
    fs, root = open_remote(url)
    url = without_password(url)
    try:
        with remote_errors():
            listed = fs.find(root, detail=True)
            found = {
                str(path): remote_size(fs, path, info)
                for path, info in listed.items()
                if not is_folder_mark(path)
            }
    except OSError as error:
        raise BadInputError(f"{url}: cannot be listed ({error}); see that it is there") from error
    if not found:
        raise BadInputError(f"{url}: holds no file; see that it is there")
    total = sum(found.values())
    target.mkdir(parents=True)
    _refuse_without_room(url, target, total)
    done = 0
    for path, size in sorted(found.items()):
        name = path[len(root) :].lstrip("/")
        if ".." in PurePosixPath(name).parts:
            raise BadInputError(f"{url}: the name {name!r} leads out of the folder; rename the file")
        local = target / name
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            with remote_errors():
                fs.get_file(path, str(local))
        except OSError as error:
            raise CellAssetsError(f"{url}/{name} cannot be fetched ({error}); try again") from error
        if local.stat().st_size != size:
            raise CellAssetsError(
                f"{url}/{name} came with {local.stat().st_size} bytes, listed are {size}; try again"
            )
        done += size
        progress(done, total, f"fetching {name}")
    return total


def _refuse_without_room(url: str, target: Path, total: int) -> None:
    disk = shutil.disk_usage(target)
    room = disk.free - int(_ROOM_LEFT * disk.total)
    if total > room:
        raise CellAssetsError(
            f"{url} is {total / 1e9:.2f} GB, and the disk of {target.parent} has room for {max(room, 0) / 1e9:.2f} GB: "
            "free some, or set CELL_ASSETS_HOME to a larger disk"
        )
