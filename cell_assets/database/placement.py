"""Where the embedded PostgreSQL keeps its data and socket, and which user runs it.

PostgreSQL refuses to run as root, and its user must reach the data and the programs. This module never
changes the mode of a folder that is not ours: where the user cannot reach the home folder, data goes
elsewhere; where it cannot reach the installed programs, they are copied.
"""

import json
import logging
import os
import pwd
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cell_assets.database.programs import Account, make_own_folder, reachable_programs, short_digest
from cell_assets.database.watcher import Watch
from cell_assets.errors import CellAssetsError

_log = logging.getLogger(__name__)

_ACCOUNTS = ("postgres", "nobody")
"""Existing accounts that may run the server for root, best first; none is ever added."""
_SHARED_ROOT = Path("/var/lib/cell_assets")
"""Where root keeps what the server's account cannot reach elsewhere."""
_SAFE_SOCKET = re.compile(r"[A-Za-z0-9_./-]{1,92}")
"""A folder that needs no quoting in settings or URLs, and leaves room for the socket's name in the 107 bytes
that a socket's path may have."""


@dataclass(frozen=True)
class Placement:
    """Everything that is decided about an embedded server before it starts."""

    programs: Path
    """Folder of `postgres` and `initdb`."""
    data: Path
    socket: Path
    locks: Path
    account: Account | None
    """None: the server runs as the command's own user."""

    @property
    def base_url(self) -> str:
        """URL from which the databases' addresses derive."""
        return f"postgresql://postgres@/cell_assets?host={self.socket}"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data.with_name("postgres.log")

    def watch(self) -> Watch:
        """What the watcher must know."""
        account = self.account
        return Watch(
            locks=str(self.locks),
            postgres=str(self.programs / "postgres"),
            data=str(self.data),
            socket=str(self.socket),
            log=str(self.log),
            uid=None if account is None else account.uid,
            gid=None if account is None else account.gid,
        )


def place(home: Path, locks: Path) -> Placement:
    """Decide, or recall, where the server of `home` lives; call it while holding the start lock.

    The decision is kept in `database/placement.json`, because another one later would hide the data. Raises
    CellAssetsError when root has no account to run the server with, or the server's user owns other data.
    """
    folder = home / "database"
    kept = folder / "placement.json"
    account = _account() if os.geteuid() == 0 else None
    recalled = json.loads(kept.read_text()) if kept.exists() else {}
    data = folder / recalled["data"] if recalled else _choose_data(home, folder, account)
    account = _owner_of(data, account)
    socket = folder / recalled["socket"] if recalled else data.with_name("socket")
    if not _SAFE_SOCKET.fullmatch(str(socket)):
        socket = Path(tempfile.gettempdir()) / f"cell_assets-{short_digest(home)}"
    decided = {"data": _relative(data, folder), "socket": _relative(socket, folder)}
    if decided != recalled:
        _write_whole(kept, json.dumps(decided))
    _make_socket_folder(socket, account)
    return Placement(reachable_programs(account, _SHARED_ROOT), data, socket, locks, account)


def _account() -> Account:
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise CellAssetsError(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(_ACCOUNTS)} exists to run it: "
        "run as an ordinary user, or set CELL_ASSETS_DATABASE_URL"
    )


def _choose_data(home: Path, folder: Path, account: Account | None) -> Path:
    if account is None or account.succeeds(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]):
        return folder / "data"
    make_own_folder(_SHARED_ROOT, 0o755)
    elsewhere = _SHARED_ROOT / short_digest(home)
    make_own_folder(elsewhere, 0o711)
    _log.warning(
        "running as root: PostgreSQL runs as user %s, which cannot enter %s, so its data is kept in %s",
        account.name,
        folder,
        elsewhere,
    )
    return elsewhere / "data"


def _owner_of(data: Path, account: Account | None) -> Account | None:
    """The account that the data belongs to already, so that a later choice does not lock it out."""
    if not data.exists():
        return account
    owner = data.stat()
    if account is None:
        if owner.st_uid != os.geteuid():
            raise CellAssetsError(
                f"the embedded database in {data} belongs to user {owner.st_uid}, not to you: run as that "
                "user, or set CELL_ASSETS_HOME to a folder of your own"
            )
        return None
    return account if owner.st_uid == account.uid else Account(str(owner.st_uid), owner.st_uid, owner.st_gid)


def _make_socket_folder(socket: Path, account: Account | None) -> None:
    """Only the server's user may enter it: whoever reaches the socket is let in without a password."""
    uid = os.geteuid() if account is None else account.uid
    if not socket.exists():
        socket.mkdir(mode=0o700)
        if account is not None:
            os.chown(socket, account.uid, account.gid)
    found = socket.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise CellAssetsError(
            f"{socket} is not a folder that only the database's user {uid} may enter: remove it and try again"
        )


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
