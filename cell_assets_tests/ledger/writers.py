"""Processes that record side by side, and what a ledger must hold after them."""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.synchronize import Barrier

import sqlalchemy as sa

from cell_assets.ledger import schema
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import NumberDraft
from cell_assets_tests.ledger.making import make, output, receipt, run_draft

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["cell_assets_tests.ledger.writers", "alembic.command"])
_PATIENCE_S = 550.0


def _open(url: str, together: Barrier) -> None:
    together.wait()
    Ledger.open(url).close()


def _record(url: str, writer: int, n: int, together: Barrier) -> None:
    """Record a chain of artifacts: each is made from the same raw one and from the one before it."""
    with Ledger.open(url) as ledger:
        together.wait()
        (raw,) = ledger.artifacts("raw")
        before = make(ledger, "tracks", f"{writer}|0", f"{writer} 0", [raw])
        for k in range(1, n):
            partition = f"{writer}|{k}"
            lease = timedelta(minutes=5)
            intent = ledger.open_intent("tracks", partition, f"staging/{partition}", f"host:{writer}", lease)
            numbers = [NumberDraft("growth", "area", "all", k / 7, k)]
            draft = output("tracks", partition, f"{writer} {k}")
            before = ledger.commit(intent, run_draft(), draft, [receipt(raw), receipt(before)], numbers)
            ledger.announce({before.run_id: writer * n + k})


def _run(
    work: Callable[..., None], arguments: tuple[object, ...], errors: "multiprocessing.Queue[str]"
) -> None:
    try:
        work(*arguments)
        errors.put("")
    except BaseException:  # noqa: BLE001 - the parent shows it
        errors.put(traceback.format_exc())


@contextmanager
def _all_well(work: Callable[..., None], of_each: list[tuple[object, ...]]) -> Iterator[None]:
    """Start processes together; after the block, wait until all have ended without an error."""
    errors, together = _FORKS.Queue(), _FORKS.Barrier(len(of_each))
    processes = [
        _FORKS.Process(target=_run, args=(work, (*arguments, together), errors)) for arguments in of_each
    ]
    for process in processes:
        process.start()
    try:
        yield
        said = [errors.get(timeout=_PATIENCE_S) for _ in processes]
        assert not any(said), next(filter(None, said))
    finally:
        for process in processes:
            process.kill()
            process.join()


def migrate_at_once(url: str, n_processes: int) -> None:
    """Let processes open one ledger at the same moment."""
    with _all_well(_open, [(url,)] * n_processes):
        pass


@contextmanager
def recording_side_by_side(url: str, n_writers: int, n_each: int) -> Iterator[None]:
    """Writers record during the block, and have ended without an error after it."""
    with Ledger.open(url) as ledger:
        make(ledger, "raw")
    with _all_well(_record, [(url, writer, n_each) for writer in range(n_writers)]):
        yield


def assert_nothing_is_lost_or_doubled(url: str, n_writers: int, n_each: int) -> None:
    """Exact counts, exactly one run per artifact, the right inputs, and a chain that fits."""
    with Ledger.open(url) as ledger:
        (raw,) = ledger.artifacts("raw")
        made = {artifact.partition: artifact for artifact in ledger.artifacts("tracks")}
        assert set(made) == {f"{writer}|{k}" for writer in range(n_writers) for k in range(n_each)}
        assert len(ledger.artifacts()) == n_writers * n_each + 1
        runs = ledger.runs_of([artifact.id for artifact in made.values()])
        assert sorted(run.partition for run in runs) == sorted(made)
        assert all(run.artifact_id == made[run.partition].id for run in runs)
        for provenance in ledger.provenances([run.id for run in runs]):
            writer, k = map(int, provenance.artifact.partition.split("|"))
            before = [made[f"{writer}|{k - 1}"]] if k else []
            assert set(provenance.inputs) == {raw, *before}
        numbers = ledger.numbers(superseded=True)
        drafts = sorted((number.draft.n, number.draft.value) for number in numbers)
        assert drafts == sorted((k, k / 7) for k in range(1, n_each) for _ in range(n_writers))
        announced = {run.partition: run.event_storage_id for run in runs}
        expected = {
            f"{writer}|{k}": writer * n_each + k if k else None
            for writer in range(n_writers)
            for k in range(n_each)
        }
        assert announced == expected
        assert ledger.open_intents() == ()
        report = ledger.check_chain()
        assert report.faults == ()
        # One entry for the raw artifact, one for each other, and one for each announcement.
        assert report.n_entries == 1 + n_writers * n_each + n_writers * (n_each - 1)


def wait_until_recorded(url: str, n: int) -> None:
    """Return once the writers have recorded `n` runs."""
    engine, until = sa.create_engine(url), time.monotonic() + _PATIENCE_S
    found = 0
    while found < n:
        assert time.monotonic() < until, f"only {found} of {n} runs were recorded"
        time.sleep(0.02)
        with engine.connect() as connection:
            found = connection.execute(sa.select(sa.func.count()).select_from(schema.run)).scalar_one()
    engine.dispose()


def kill_family(pid: int) -> None:
    """Kill a process and all its children with -9, as the kernel does when memory runs out."""
    with open(f"/proc/{pid}/task/{pid}/children") as listed:  # noqa: PTH123
        family = [pid, *map(int, listed.read().split())]
    for one in family:
        # A backend ends when its connection does, between the listing and the kill as well.
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
