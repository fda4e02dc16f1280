"""`kill -9` at every boundary, several writers at once, and what the sweep makes of it."""

import errno
import fcntl
import itertools
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from cell_assets.errors import CellAssetsError, NotFoundError
from cell_assets.ledger.records import ArtifactState
from cell_assets.store.boundaries import Boundary
from cell_assets.store.leases import Holder, WriterLock
from cell_assets.store.store import Store
from cell_assets_tests.store import writer_process
from cell_assets_tests.store.drafts import (
    FORMAT,
    contents,
    fill,
    leftovers,
    publish,
    run_draft,
    swept_as_foreseen,
)

CHECKOUT = Path(__file__).parents[2]
KEY = "P1|A/1/000"


def start(url: str, store: Store, partition: str, content: str, mode: str = "") -> subprocess.Popen[str]:
    module = "cell_assets_tests.store.writer_process"
    command = [sys.executable, "-m", module, url, str(store.root), partition, content, mode]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


@contextmanager
def waiting(url: str, store: Store, partition: str, mode: str = "hold") -> Iterator[subprocess.Popen[str]]:
    """A writer in its staging phase."""
    process = start(url, store, partition, "content", mode)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "waiting\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def nothing_is_wrong(store: Store) -> bool:
    return all(
        store.verify(artifact).is_verified for artifact in store.ledger.artifacts(state=ArtifactState.PRESENT)
    )


@pytest.mark.parametrize("boundary", [b for b in Boundary if b is not Boundary.EVENT])
def test_killed_at_a_boundary(store: Store, ledger_url: str, boundary: Boundary) -> None:
    before = publish(store, "P0").artifact
    process = start(ledger_url, store, KEY, "content", boundary)
    assert process.wait(60) == -signal.SIGKILL

    assert nothing_is_wrong(store)
    assert store.verify(before).is_verified
    survived = store.ledger.latest("tracks", KEY)
    assert (survived is not None) == (boundary is Boundary.COMMIT)
    if survived is None:
        with pytest.raises(NotFoundError):
            store.read("tracks", KEY)

    report = swept_as_foreseen(store)
    assert leftovers(store) == []
    assert store.ledger.open_intents() == ()
    assert report.closed_intents == (() if boundary is Boundary.COMMIT else (f"tracks {KEY}",))
    assert len(report.removed_orphans) == (boundary is Boundary.RENAME)
    assert nothing_is_wrong(store)
    assert swept_as_foreseen(store).freed_bytes == 0

    rerun = start(ledger_url, store, KEY, "content")
    output, _ = rerun.communicate(timeout=60)
    assert rerun.returncode == 0
    assert output.split()[1] == str(boundary is Boundary.COMMIT)
    assert contents(store.read("tracks", KEY).path)["tracks.parquet"] == b"content"
    assert nothing_is_wrong(store)
    assert leftovers(store) == []


def test_killed_before_every_change_to_the_file_system(store: Store, ledger_url: str) -> None:
    """Between the named boundaries too: a plate's FOVs are published side by side, each at a step of its own."""
    before = publish(store, "P0").artifact
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["cell_assets_tests.store.writer_process"])
    for n in itertools.count():
        partition = f"P1|A/1/{n:03}"
        arguments = (n, ledger_url, str(store.root), partition)
        writer = forks.Process(target=writer_process.write_until_change, args=arguments)
        writer.start()
        writer.join(60)
        swept_as_foreseen(store)
        assert leftovers(store) == [], f"killed before change {n}"
        assert store.ledger.open_intents() == ()
        if writer.exitcode == 0:
            break
        assert writer.exitcode == -signal.SIGKILL
    assert n > 10
    assert nothing_is_wrong(store)
    assert store.verify(before).is_verified
    assert contents(store.read("tracks", partition).path)["tracks.parquet"] == b"content"


def test_rerun_takes_the_place_of_an_orphan_without_a_sweep(store: Store, ledger_url: str) -> None:
    assert start(ledger_url, store, KEY, "content", Boundary.RENAME).wait(60) == -signal.SIGKILL
    (orphan,) = store.root.glob("tracks/*/????????????")
    # A crash may have left it other than it was named: it must not be believed.
    (orphan / "tracks.parquet").chmod(0o644)
    (orphan / "tracks.parquet").write_bytes(b"spoiled")
    with store.write("tracks", KEY) as staged:
        fill(staged.path, {"tracks.parquet": b"content", "labels.zarr/c/0": bytes(1000)})
        commit = store.publish(staged, run_draft(), [], FORMAT)
    assert not commit.recreated
    assert store.path_of(commit.artifact) == orphan
    assert nothing_is_wrong(store)
    swept_as_foreseen(store)
    assert leftovers(store) == []


def test_the_sweep_leaves_a_living_writer_alone(store: Store, ledger_url: str) -> None:
    with waiting(ledger_url, store, KEY) as process:
        before = sorted(store.root.rglob("*"))
        report = swept_as_foreseen(store)
        assert report.kept_intents == (f"tracks {KEY}",)
        assert report.closed_intents == ()
        assert sorted(store.root.rglob("*")) == before
        output, _ = process.communicate("", timeout=60)
        assert process.returncode == 0
        assert output.split()[1] == "False"
    assert nothing_is_wrong(store)


def test_the_sweep_leaves_writers_of_this_process_alone(store: Store) -> None:
    with store.write("tracks", KEY, lease=timedelta(seconds=-1)) as staged:
        fill(staged.path)
        swept_as_foreseen(store)
        store.publish(staged, run_draft(), [], FORMAT)
    assert nothing_is_wrong(store)


def test_a_lease_from_another_machine_is_respected_until_it_ends(store: Store) -> None:
    staging = store.layout.staged("feedfacefeedface")
    fill(staging, {"a": b"1"})
    WriterLock.create(store.layout.lock(staging.name)).let_go()
    uri = store.layout.uri(staging)
    intent = store.ledger.open_intent("tracks", KEY, uri, "elsewhere:1", timedelta(minutes=1))
    assert swept_as_foreseen(store).kept_intents == (f"tracks {KEY}",)
    assert (staging / "a").exists()
    store.ledger.renew_intent(intent.id, timedelta(seconds=-1))
    assert swept_as_foreseen(store).closed_intents == (f"tracks {KEY}",)
    assert not staging.exists()
    assert leftovers(store) == []


def test_a_writer_whose_lease_was_taken_cannot_publish(store: Store) -> None:
    with pytest.raises(CellAssetsError, match="its lease ended"), store.write("tracks", KEY) as staged:
        fill(staged.path)
        store.ledger.close_intent(staged.intent.id)
        store.publish(staged, run_draft(), [], FORMAT)
    assert leftovers(store) == []
    assert store.ledger.artifacts() == ()


def test_a_writer_between_lock_and_intent_keeps_its_lock(sqlite_store: Store) -> None:
    sqlite_store.layout.staging.mkdir(parents=True)
    lock = WriterLock.create(sqlite_store.layout.lock("0123456789abcdef"))
    sqlite_store.sweep()
    assert lock.path.exists()
    lock.release()
    assert leftovers(sqlite_store) == []


def test_a_lock_removed_between_its_creation_and_its_locking_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    real, swept = fcntl.flock, []

    def after_a_sweep(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(path.unlink())
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", after_a_sweep)
    lock = WriterLock.create(path)
    assert path.exists()
    assert WriterLock.probe(path) == (Holder.ALIVE, None)
    lock.release()


def test_without_locks_only_the_lease_tells(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    staged = store.write("tracks", KEY)
    fill(staged.path)
    with monkeypatch.context() as patched:
        patched.setattr("cell_assets.store.leases.fcntl.flock", unsupported)
        assert swept_as_foreseen(store).kept_intents == (f"tracks {KEY}",)
    assert staged.path.exists()
    store.publish(staged, run_draft(), [], FORMAT)
    assert nothing_is_wrong(store)


def test_a_killed_removal_is_finished_by_the_next_sweep(store: Store) -> None:
    publish(store, "P1")
    fill(store.layout.staged("0123456789abcdef.aside"), {"a/b": b"1"})
    fill(store.root, {".staging/0123456789abcdef.json": b"half"})
    report = swept_as_foreseen(store)
    assert report.removed_staging == 2
    assert leftovers(store) == []
    assert nothing_is_wrong(store)


def test_what_the_store_did_not_make_is_named_and_left(store: Store) -> None:
    publish(store, "P1")
    fill(store.root, {"tracks/P1/notes.txt": b"mine", "tracks/not a partition/0123456789ab/x": b"mine"})
    report = swept_as_foreseen(store)
    assert report.unrecognised == ("tracks/P1/notes.txt", "tracks/not a partition/0123456789ab")
    assert (store.root / "tracks/P1/notes.txt").exists()
    assert (store.root / "tracks/not a partition/0123456789ab/x").exists()


def test_orphan_of_a_shortened_partition_is_swept(store: Store, ledger_url: str) -> None:
    key = "P1|" + "x" * 400
    assert start(ledger_url, store, key, "content", Boundary.RENAME).wait(60) == -signal.SIGKILL
    assert len(swept_as_foreseen(store).removed_orphans) == 1
    assert leftovers(store) == []


@pytest.mark.parametrize("contents_differ", [False, True])
def test_two_processes_publish_one_partition_at_once(
    store: Store, ledger_url: str, contents_differ: bool
) -> None:
    texts = ["one", "two" if contents_differ else "one"]
    writers = [start(ledger_url, store, KEY, text, "ready") for text in texts]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "waiting\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    results = []
    for writer in writers:
        assert writer.stdout is not None
        results.append(writer.stdout.read().split())
        writer.stdout.close()
        assert writer.wait(60) == 0
    assert sorted(recreated for _, recreated in results) == (
        ["False", "False"] if contents_differ else ["False", "True"]
    )
    assert len(store.ledger.artifacts()) == (2 if contents_differ else 1)
    assert len(store.ledger.attempts("tracks", KEY)) == 2
    assert nothing_is_wrong(store)
    assert leftovers(store) == []


def test_sweeps_beside_publishers_remove_nothing_that_lives(store: Store, ledger_url: str) -> None:
    writers = [start(ledger_url, store, f"P1|A/1/{n:03}", "content") for n in range(3)]
    while any(writer.poll() is None for writer in writers):
        store.sweep()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert len(store.ledger.artifacts()) == 3
    assert nothing_is_wrong(store)
    assert leftovers(store) == []
