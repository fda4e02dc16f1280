"""Many `cell-assets run` at once on one PostgreSQL, some of them on the same experiment."""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from psycopg2 import sql

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, small_run
from cell_assets_tests.faults import command
from cell_assets_tests.faults.faulty_lab import FaultyLab

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["cell_assets_tests.faults.command", "lightning", "mlflow", "anndata", "skimage"]
)
_MOST_OF_A_RUN = 12
"""Connections that one run may hold at a moment, as the operations page says; seen are 45 of 4 runs, 148 of 16."""


def _run(settings: Settings, request: str) -> None:
    raise SystemExit(command.execute(settings, request))


@dataclass
class Watched:
    """What was seen of a server while runs went on."""

    most: int = 0
    """Connections at one moment."""
    most_of: Counter[str] = field(default_factory=Counter)
    """By database."""


@contextmanager
def _watching(lab: FaultyLab) -> Iterator[Watched]:
    """Count the connections to a lab's databases five times a second."""
    seen, done = Watched(), threading.Event()
    prefix = str(lab.settings.database_url).rpartition("/")[2]
    query = sql.SQL("SELECT datname FROM pg_stat_activity WHERE starts_with(datname, {})").format(
        sql.Literal(prefix)
    )

    def look() -> None:
        while not done.wait(0.2):
            found = Counter(row[0].removeprefix(prefix) for row in lab.server.rows(query))
            seen.most = max(seen.most, found.total())
            seen.most_of |= found

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("n_own", "n_shared"), [(2, 2), (10, 6)])
def test_all_are_right_and_nobody_waits_for_ever(
    new_lab: Callable[[], FaultyLab], two_fovs: PlateFolder, n_own: int, n_shared: int
) -> None:
    """Each has the same bytes and the same choices, so that each must state the same numbers."""
    lab = new_lab()
    own = [f"own{n}" for n in range(n_own)]
    with lab.opened() as session:
        for name in ("shared", *own):
            ingest_plate(session, two_fovs.request(name, name))
    processes = [
        _FORKS.Process(target=_run, args=(lab.settings, small_run(experiment).model_dump_json()))
        for experiment in (*own, *["shared"] * n_shared)
    ]
    with _watching(lab) as seen:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    print(f"{len(processes)} runs: at most {seen.most} connections, {dict(seen.most_of)}")
    assert [process.exitcode for process in processes] == [0] * len(processes)
    assert 0 < seen.most <= _MOST_OF_A_RUN * len(processes)
    deadlocks = lab.server.rows(sql.SQL("SELECT sum(deadlocks) FROM pg_stat_database"))
    assert deadlocks == [(0,)]
    lab.assert_sound("shared", *own)
    with lab.opened() as session:
        _assert_one_of_each(session)
        reference = _numbers(session, "shared")
        assert reference
        for experiment in own:
            assert _numbers(session, experiment) == reference, experiment
        assert session.ledger.check_chain().faults == ()


def _assert_one_of_each(session: Session) -> None:
    """No bytes are recorded twice, and every run of the ledger ended well."""
    artifacts = session.ledger.artifacts()
    kinds = Counter((one.asset, one.partition, one.digest) for one in artifacts)
    assert [kind for kind, count in kinds.items() if count > 1] == []
    runs = session.ledger.runs_of([one.id for one in artifacts])
    assert {run.artifact_id for run in runs} == {one.id for one in artifacts}


def _numbers(session: Session, experiment: str) -> list[tuple[object, ...]]:
    found = [number.draft for number in session.ledger.numbers(experiment)]
    return sorted((one.report, one.name, str(one.split), repr(one.value)) for one in found)
