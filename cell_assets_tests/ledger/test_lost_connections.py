"""Connections that end at any moment, around COMMIT above all: everything is done, and nothing twice."""

import inspect
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from cell_assets.errors import CellAssetsError
from cell_assets.ledger import chain, extract, intents, lab, queries, recording, remarks, schema
from cell_assets.ledger.column_types import UtcTime
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.ledger import Ledger
from cell_assets_tests.ledger.conftest import empty
from cell_assets_tests.ledger.cutting import Cut, Forwarder, Plan, forwarder
from cell_assets_tests.ledger.making import LEASE, fill_every_table, make


@pytest.fixture
def cutter(postgres_ledger_url: str) -> Iterator[Forwarder]:
    """A forwarder to a fresh ledger; cuts nothing until it has a plan."""
    with forwarder(postgres_ledger_url) as forward:
        yield forward


def nth(n: int, cut: Cut) -> Plan:
    """Cuts at the n-th query from now on, counting from 0."""
    seen = itertools.count()
    return lambda query: cut if next(seen) == n else None


def every_other_commit(cut: Cut, first: int) -> Plan:
    seen = itertools.count(first)
    return lambda query: cut if query == "COMMIT" and next(seen) % 2 == 0 else None


def told(url: str) -> dict[str, Counter[str]]:
    """What each table says, without keys, times and the digests of both."""
    said: dict[str, Counter[str]] = {}
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for table in schema.metadata.sorted_tables:
            columns = [
                column
                for column in table.c
                if not column.foreign_keys
                and not isinstance(column.type, UtcTime)
                and column.name not in ("id", "event_storage_id")
                and table is not schema.entry
            ]
            rows = connection.execute(sa.select(sa.literal(table.name), *columns).select_from(table))
            said[table.name] = Counter(repr(row) for row in rows)
    engine.dispose()
    return said


@pytest.fixture
def uncut(request: pytest.FixtureRequest) -> dict[str, Counter[str]]:
    """What a ledger says after `fill_every_table`; on SQLite, which agrees with PostgreSQL in it."""
    url = f"sqlite:///{request.getfixturevalue('tmp_path') / 'uncut.db'}"
    with Ledger.open(url) as ledger:
        fill_every_table(ledger)
        ledger.open_intent("raw", "left open", "staging", "host:1", LEASE)
    return told(url)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("cut", Cut)
def test_a_commit_whose_answer_is_lost_happens_once(
    cutter: Forwarder, postgres_ledger_url: str, uncut: dict[str, Counter[str]], cut: Cut, first: int
) -> None:
    with Ledger.open(cutter.url) as ledger:
        cutter.plan = every_other_commit(cut, first)
        fill_every_table(ledger)
        ledger.open_intent("raw", "left open", "staging", "host:1", LEASE)
        cutter.plan = lambda query: None
        assert ledger.check_chain().faults == ()
        assert len(ledger.open_intents()) == 1
    assert cutter.n_cuts > 10
    assert told(postgres_ledger_url) == uncut


@pytest.mark.parametrize("cut", Cut)
def test_a_cut_at_any_query_of_a_write_changes_nothing(cutter: Forwarder, cut: Cut) -> None:
    with Ledger.open(cutter.url) as ledger:
        raw = make(ledger, "raw")
        for n in itertools.count():
            cutter.plan = nth(n, cut)
            before = cutter.n_cuts
            made = make(ledger, "tracks", f"P1|A/1/{n:03d}", str(n), [raw])
            was_cut = cutter.n_cuts > before
            cutter.plan = lambda query: None
            (run,) = ledger.attempts("tracks", f"P1|A/1/{n:03d}")
            assert (run.id, run.artifact_id, made.recreated) == (made.run_id, made.artifact.id, False)
            assert ledger.provenance(run.id).inputs == (raw.artifact,)
            if not was_cut:
                break
        assert n > 12
        assert ledger.open_intents() == ()
        report = ledger.check_chain()
        assert (report.n_entries, report.faults) == (n + 2, ())


@pytest.mark.parametrize("cut", Cut)
def test_who_closed_an_intent_knows_it(cutter: Forwarder, cut: Cut) -> None:
    with Ledger.open(cutter.url) as ledger:
        intent = ledger.open_intent("tracks", "P1", "s", "host:1", -LEASE)
        cutter.plan = every_other_commit(cut, 0)
        assert ledger.take_expired_intent(intent.id)
        assert not ledger.take_expired_intent(intent.id)
    assert cutter.n_cuts > 0


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_questions_are_asked_again(cutter: Forwarder, cut: Cut) -> None:
    with Ledger.open(cutter.url) as ledger:
        fill_every_table(ledger)
        uncut = (ledger.plates(), ledger.numbers(), ledger.check_chain(), ledger.open_intents())
        for n in itertools.count():
            before = cutter.n_cuts
            cutter.plan = nth(n, cut)
            assert (ledger.plates(), ledger.numbers(), ledger.check_chain(), ledger.open_intents()) == uncut
            if cutter.n_cuts == before:
                break
        assert n > 20


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_an_extract_that_is_cut_is_written_whole(cutter: Forwarder, tmp_path: Path, cut: Cut) -> None:
    """Also where the cut is at the end of the snapshot, when the rows are copied already."""
    asked: list[str] = []

    def counted(query: str) -> None:
        asked.append(query)

    with Ledger.open(cutter.url) as ledger:
        fill_every_table(ledger)
        ids = [artifact.id for artifact in ledger.artifacts()]
        cutter.plan = counted
        ledger.write_extract(ids, tmp_path / "uncut")
        whole = (tmp_path / "uncut").read_bytes()
        assert asked[-1] == "COMMIT"
        # The last is named and not counted: on a slow machine a connection that lay idle is asked once more.
        plans = [*(nth(n, cut) for n in range(0, len(asked) - 1, 5)), every_other_commit(cut, 0)]
        for place, plan in enumerate(plans):
            cutter.plan = plan
            before = cutter.n_cuts
            ledger.write_extract(ids, tmp_path / f"{place}")
            assert cutter.n_cuts == before + 1
            assert (tmp_path / f"{place}").read_bytes() == whole
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("cut", Cut)
def test_a_migration_that_is_cut_is_done_once(cutter: Forwarder, postgres_ledger_url: str, cut: Cut) -> None:
    empty(postgres_ledger_url)
    cutter.plan = every_other_commit(cut, 0)
    with Ledger.open(cutter.url) as ledger:
        fill_every_table(ledger)
        assert ledger.check_chain().faults == ()


def test_a_lock_is_waited_for_over_a_cut_and_its_loss_harms_nobody(cutter: Forwarder) -> None:
    with Ledger.open(cutter.url) as ledger:
        cutter.plan = lambda query: Cut.AFTER if "advisory_lock" in query and cutter.n_cuts == 0 else None
        with ledger.lock("tracks", "P1"):
            assert cutter.n_cuts == 1
            cutter.go_away()
            cutter.listen()
            with ledger.lock("tracks", "P1"):
                make(ledger, "tracks")
        with ledger.lock("tracks", "P1"):
            assert len(ledger.artifacts("tracks")) == 1


def test_a_database_that_stays_away_is_one_sentence_and_is_waited_for_once(cutter: Forwarder) -> None:
    engine = LedgerEngine(cutter.url, patience_s=0.5)
    ledger = Ledger(engine)
    made = make(ledger, "raw")
    cutter.go_away()
    with pytest.raises(
        CellAssetsError, match=r"went away and has not answered for 0.5 s: .*No such file"
    ) as caught:
        make(ledger, "tracks")
    assert "\n" not in str(caught.value)
    with pytest.raises(CellAssetsError, match="cannot be opened"):
        ledger.artifacts()
    cutter.listen()
    assert ledger.artifacts() == (made.artifact,)
    ledger.close()


def test_what_the_server_refuses_is_not_asked_again(cutter: Forwarder, postgres_url: str) -> None:
    engine = LedgerEngine(cutter.url)
    asked = []

    @repeatable
    def refused(engine: LedgerEngine) -> None:
        asked.append(1)
        with engine.write() as transaction:
            transaction.connection.execute(sa.insert(schema.experiment).values(name=None))

    with pytest.raises(sa.exc.IntegrityError):
        refused(engine)
    assert asked == [1]
    engine.close()
    with pytest.raises(CellAssetsError, match=r"cannot be opened: .* does not exist"):
        Ledger.open(postgres_url.replace("/cell_assets?", "/nothing_here?"))


@pytest.mark.parametrize("room", [chain, extract, intents, lab, queries, recording, remarks])
def test_every_transaction_and_question_is_repeatable(room: ModuleType) -> None:
    """Whatever takes an engine and no connection opens its own; blocks that others fill cannot be repeated."""
    for name, function in inspect.getmembers(room, inspect.isfunction):
        takes = list(inspect.signature(function).parameters)
        opens = (
            takes[:1] == ["engine"]
            and "connection" not in takes
            and not inspect.isgeneratorfunction(inspect.unwrap(function))
        )
        if opens and function.__module__ == room.__name__ and not name.startswith("_"):
            assert hasattr(function, "__wrapped__"), f"{room.__name__}.{name} is not marked repeatable"
