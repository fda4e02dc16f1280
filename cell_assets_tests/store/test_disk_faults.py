"""A disk that is full or fails: one clear sentence, and nothing left that store or ledger can reach."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cell_assets.errors import CellAssetsError
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.faults import is_disk_full
from cell_assets.store.store import Store
from cell_assets_tests.store.drafts import FILES, FORMAT, contents, fill, leftovers, publish, run_draft

KEY = "P1|A/1/000"
DISK_BYTES = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_while_writing(small_disk: Path, sqlite_store: Store) -> None:
    store = Store(small_disk / "store", sqlite_store.ledger)
    kept = publish(store, "P0").artifact
    with (
        pytest.raises(
            CellAssetsError, match=r"store or its ledger is full: writing tracks P1\|A/1/000 stopped"
        ),
        store.write("tracks", KEY) as staged,
    ):
        fill(staged.path, {"big": bytes(2 * DISK_BYTES)})
    _nothing_happened(store, [kept.id])
    publish(store, KEY, {"small": bytes(DISK_BYTES // 2)})


def test_a_disk_that_is_full_to_the_brim_while_publishing(small_disk: Path, sqlite_store: Store) -> None:
    store = Store(small_disk / "store", sqlite_store.ledger)
    kept = publish(store, "P0").artifact
    ballast = small_disk / "ballast"
    with (
        pytest.raises(
            CellAssetsError, match=r"store or its ledger is full: publishing tracks P1\|A/1/000 stopped"
        ),
        store.write("tracks", KEY) as staged,
    ):
        fill(staged.path)
        _fill_up(ballast)
        store.publish(staged, run_draft(), [], FORMAT)
    _nothing_happened(store, [kept.id])
    ballast.unlink()
    assert not publish(store, KEY).recreated


def test_a_disk_that_is_full_before_writing(small_disk: Path, sqlite_store: Store) -> None:
    store = Store(small_disk / "store", sqlite_store.ledger)
    store.layout.staging.mkdir(parents=True)
    _fill_up(small_disk / "ballast")
    with pytest.raises(CellAssetsError, match=r"store or its ledger is full: \w+ tracks P1\|A/1/000"):
        publish(store, KEY, {"x": bytes(10_000)})
    _nothing_happened(store, [])


def test_store_and_ledger_on_one_full_disk(small_disk: Path) -> None:
    with Ledger.open(f"sqlite:///{small_disk / 'ledger.db'}") as ledger:
        store = Store(small_disk / "store", ledger)
        with pytest.raises(CellAssetsError, match="is full"), store.write("tracks", KEY) as staged:
            fill(staged.path, {"big": bytes(2 * DISK_BYTES)})
        _nothing_happened(store, [])
        _fill_up(small_disk / "ballast")
        with pytest.raises(CellAssetsError, match="is full"):
            publish(store, KEY)
        (small_disk / "ballast").unlink()
        _nothing_happened(store, [])
        assert not publish(store, KEY).recreated


def _fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def _nothing_happened(store: Store, artifact_ids: list[int]) -> None:
    assert leftovers(store) == []
    assert [artifact.id for artifact in store.ledger.artifacts()] == artifact_ids
    assert store.ledger.open_intents() == ()
    assert all(store.verify(artifact).is_verified for artifact in store.ledger.artifacts())
    assert store.sweep().freed_bytes == 0


class FailingCall:
    """Lets calls through until one of them fails with the given error."""

    def __init__(self, real: Callable[..., Any], fails_at: int, error: int) -> None:
        self.real, self.fails_at, self.error, self.calls = real, fails_at, error, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError(self.error, os.strerror(self.error), "somewhere")
        return self.real(*arguments, **options)


ACTS = [
    (os, "fsync"),
    (os, "fchmod"),
    (os, "open"),
    (os, "scandir"),
    (os, "readv"),
    (Path, "mkdir"),
    (Path, "rename"),
    (Path, "replace"),
    (Path, "chmod"),
    (Path, "open"),
]


@pytest.mark.parametrize("recreate", [False, True])
@pytest.mark.parametrize(("owner", "act"), ACTS, ids=[f"{o.__name__}.{a}" for o, a in ACTS])
def test_any_act_of_publishing_may_fail(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, owner: Any, act: str, recreate: bool
) -> None:
    store = sqlite_store
    kept = [publish(store, KEY).artifact.id] if recreate else []
    error = errno.ENOSPC if act != "readv" else errno.EIO
    for fails_at in range(1, 100):
        staged = store.write("tracks", KEY)
        fill(staged.path)
        call = FailingCall(getattr(owner, act), fails_at, error)
        monkeypatch.setattr(owner, act, lambda *a, _call=call, **o: _call(*a, **o))
        try:
            store.publish(staged, run_draft(), [], FORMAT)
        except CellAssetsError as fault:
            message = str(fault)
        else:
            message = ""
        monkeypatch.undo()
        if call.calls < fails_at:
            break
        # Making known bytes again may go around the fault: what cannot be read is put back.
        assert (recreate and not message) or (
            "is full" if error == errno.ENOSPC else "failed at somewhere"
        ) in message
        _nothing_happened(store, kept)
    assert contents(store.read("tracks", KEY).path) == FILES


def test_a_full_disk_is_recognised_however_it_is_worded() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "x"))
    assert is_disk_full(OSError(errno.EDQUOT, "x"))
    assert is_disk_full(OSError(errno.EFBIG, "x"))
    assert is_disk_full(ValueError("RESOURCE_EXHAUSTED: write: No space left on device [28]"))
    assert not is_disk_full(OSError(errno.EACCES, "x"))
    try:
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError as inner:
            raise RuntimeError("cell 7 could not be written") from inner
    except RuntimeError as outer:
        assert is_disk_full(outer)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_an_ordinary_user_can_publish_repair_and_sweep() -> None:
    # Root may write into read-only folders; everybody else shows whether the store ever tries to.
    home = Path("/tmp") / f"cell_assets_ordinary_{os.getpid()}"
    home.mkdir()
    os.chown(home, 65534, 65534)
    script = """
import os, sys
from pathlib import Path
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import Store
from cell_assets_tests.store.drafts import publish, leftovers
home = Path(sys.argv[1])
with Ledger.open(f"sqlite:///{home / 'first.db'}") as ledger:
    # Loads what loads late, from folders that only root may enter.
    publish(Store(home / "first", ledger), "P0")
os.setgid(65534)
os.setuid(65534)
with Ledger.open(f"sqlite:///{home / 'ledger.db'}") as ledger:
    store = Store(home / "store", ledger)
    artifact = publish(store, "P1").artifact
    folder = store.path_of(artifact)
    for attempt in (lambda: (folder / "new").touch(), lambda: (folder / "tracks.parquet").write_bytes(b"x")):
        try:
            attempt()
        except PermissionError:
            continue
        raise SystemExit("a published artifact could be written to")
    folder.chmod(0o755)
    (folder / "tracks.parquet").chmod(0o644)
    (folder / "tracks.parquet").write_bytes(b"spoiled")
    folder.chmod(0o555)
    assert publish(store, "P1").recreated
    assert store.verify(artifact).is_verified
    with store.write("tracks", "P2") as staged:
        (staged.path / "a" / "b").mkdir(parents=True)
    publish(store, "P3")
    orphan = folder.with_name("0" * 12)
    folder.chmod(0o755)
    folder.rename(orphan)
    orphan.chmod(0o555)
    assert len(store.sweep().removed_orphans) == 1
    assert leftovers(store) == []
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(home)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
