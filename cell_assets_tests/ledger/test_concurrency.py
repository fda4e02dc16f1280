"""Many threads and processes over one ledger."""

import multiprocessing
import os
import signal
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets_tests.ledger.making import make

_SPAWN = multiprocessing.get_context("spawn")


def _commit_many(url: str, first: int, count: int, results: "multiprocessing.Queue[str]") -> None:
    try:
        with Ledger.open(url) as ledger:
            raw = make(ledger, "raw", content="same")
            for index in range(first, first + count):
                make(ledger, "tracks", f"P1|A/1/{index:03d}", str(index), [raw])
                make(ledger, "shared", "P1", str(index % 5), [raw])
        results.put("done")
    except Exception:  # noqa: BLE001 - the parent shows it
        results.put(traceback.format_exc())


def test_processes_that_commit_at_once_lose_nothing(ledger_url: str) -> None:
    results = _SPAWN.Queue()
    processes = [
        _SPAWN.Process(target=_commit_many, args=(ledger_url, 20 * index, 20, results)) for index in range(3)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=90) for _ in processes] == ["done"] * 3
    for process in processes:
        process.join()
    with Ledger.open(ledger_url) as ledger:
        (raw,) = ledger.artifacts("raw")
        assert len(ledger.artifacts("tracks")) == 60
        assert len(ledger.artifacts("shared")) == 5
        assert sum(len(ledger.runs(artifact.id)) for artifact in ledger.artifacts("shared")) == 60
        assert len(ledger.descendants([raw.id]).artifact_ids) == 66
        assert ledger.open_intents() == ()


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    raw = make(ledger, "raw")

    def work(index: int) -> int:
        made = make(ledger, "tracks", f"P1|A/1/{index:03d}", str(index), [raw])
        return len(ledger.provenance(made.run_id).inputs)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(60))) == [1] * 60
    assert len(ledger.artifacts("tracks")) == 60


def test_two_at_once_cannot_close_a_cycle_that_neither_sees(ledger: Ledger) -> None:
    for round_number in range(5):
        pair = [make(ledger, asset, str(round_number)) for asset in ("left", "right")]

        def cross(way: int, pair: list = pair, partition: str = str(round_number)) -> bool:  # type: ignore[type-arg]
            try:
                make(ledger, ("left", "right")[way], partition, inputs=[pair[1 - way]])
            except BadInputError:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(cross, (0, 1))) == [False, True]


def test_a_lock_keeps_others_out_and_differs_by_partition(ledger: Ledger) -> None:
    inside: list[int] = []

    def enter(index: int) -> int:
        with ledger.lock("tracks", "P1"):
            inside.append(index)
            together = len(inside)
            time.sleep(0.01)
            inside.remove(index)
        return together

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(enter, range(18))) == [1] * 18
    with ledger.lock("tracks", "P1"), ledger.lock("tracks", "P2"), ledger.lock("segmentation", "P1"):
        pass


def test_a_lock_ends_with_an_exception(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="inside"), ledger.lock("tracks", "P1"):
        raise RuntimeError("inside")
    with ledger.lock("tracks", "P1"):
        pass


def _hold_lock(url: str, held: Event) -> None:
    with Ledger.open(url) as ledger, ledger.lock("tracks", "P1"):
        held.set()
        time.sleep(600)


def test_a_lock_ends_with_its_process(ledger: Ledger, ledger_url: str) -> None:
    held = _SPAWN.Event()
    holder = _SPAWN.Process(target=_hold_lock, args=(ledger_url, held))
    holder.start()
    assert held.wait(60)
    with ThreadPoolExecutor(1) as threads:
        entered = threads.submit(_lock_once, ledger)
        time.sleep(0.2)
        assert not entered.done()
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        entered.result(timeout=10)
    holder.join()


def _lock_once(ledger: Ledger) -> None:
    with ledger.lock("tracks", "P1"):
        pass


def test_a_forked_child_gets_connections_of_its_own(ledger: Ledger) -> None:
    raw = make(ledger, "raw")
    children = []
    for index in range(3):
        child = os.fork()
        if child == 0:
            try:
                made = [make(ledger, "tracks", f"{index} {turn}", inputs=[raw]) for turn in range(10)]
                os._exit(0 if len(made) == 10 else 1)
            except BaseException:  # noqa: BLE001 - a child must never run on into the tests
                traceback.print_exc()
                os._exit(2)
        children.append(child)
    for turn in range(10):
        make(ledger, "tracks", f"parent {turn}", inputs=[raw])
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert len(ledger.artifacts("tracks")) == 40


def test_sqlite_keeps_its_files_beside_the_database(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.lock("tracks", "P1"):
        assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"ledger.db", "ledger.db.locks"}
