"""The chain over history: untouched it fits, and any row edited, removed or slipped in is named."""

import multiprocessing
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.ledger import schema
from cell_assets.ledger.chain import SEALED_TABLES, FaultKind
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.entries import GENESIS, entry_digest, key_column
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import upgrade
from cell_assets.ledger.records import NumberDraft
from cell_assets_tests.ledger.editing import another_value, editable_columns, unguarded
from cell_assets_tests.ledger.making import fill_every_table, make, run_draft


def test_untouched_history_fits_and_covers_every_row(ledger: Ledger, ledger_url: str) -> None:
    assert ledger.check_chain().head == GENESIS
    fill_every_table(ledger)
    told: list[tuple[int, int]] = []
    report = ledger.check_chain(lambda done, total: told.append((done, total)))
    assert report.faults == ()
    assert told[-1] == (report.n_entries, report.n_entries)
    with unguarded(ledger_url) as connection:
        for table in SEALED_TABLES:
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() > 0, table
        keys = sum(
            connection.execute(sa.select(sa.func.count(key_column(table).distinct()))).scalar_one()
            for table in SEALED_TABLES
        )
        entries = connection.execute(sa.select(schema.entry).order_by(schema.entry.c.id)).all()
    assert report.n_items == keys
    assert report.n_entries == len(entries)
    assert report.head == entries[-1].digest
    assert [entry.previous for entry in entries] == [GENESIS, *(entry.digest for entry in entries[:-1])]


def test_an_edited_value_is_named(ledger: Ledger, ledger_url: str) -> None:
    """Every column of every table that no constraint fixes, one after the other, each put back afterwards."""
    fill_every_table(ledger)
    with unguarded(ledger_url):
        pass  # on SQLite the triggers are gone from here on
    for table in SEALED_TABLES:
        key = key_column(table)
        for column in editable_columns(table):
            target = table.c[column]

            def write(value: Any, where: Any, table: sa.Table = table, column: str = column) -> None:
                with unguarded(ledger_url) as connection:
                    connection.execute(sa.update(table).where(where).values({column: value}))

            with unguarded(ledger_url) as connection:
                query = sa.select(key, target).order_by(target.is_(None)).limit(1)
                chosen, value = connection.execute(query).one()
            write(another_value(value, column), key == chosen)
            found = [(fault.kind, fault.table, fault.key) for fault in ledger.check_chain().faults]
            assert found == [(FaultKind.CHANGED, table.name, chosen)], (table.name, column)
            write(value, key == chosen)
    assert ledger.check_chain().faults == ()


@pytest.mark.parametrize("table", SEALED_TABLES, ids=lambda table: table.name)
def test_a_deleted_row_is_named(ledger: Ledger, ledger_url: str, table: sa.Table) -> None:
    fill_every_table(ledger)
    with unguarded(ledger_url) as connection:
        key = connection.execute(sa.select(key_column(table)).limit(1)).scalar_one()
        connection.execute(sa.delete(table).where(key_column(table) == key))
    (fault,) = ledger.check_chain().faults
    assert (fault.kind, fault.table, fault.key) == (FaultKind.MISSING, table.name, key)


def test_one_of_many_inputs_is_missed(ledger: Ledger, ledger_url: str) -> None:
    fill_every_table(ledger)
    edge = schema.input_edge.c
    with unguarded(ledger_url) as connection:
        run_id, input_id = connection.execute(sa.select(edge.run_id, edge.input_id).limit(1)).one()
        connection.execute(
            sa.delete(schema.input_edge).where(edge.run_id == run_id, edge.input_id == input_id)
        )
    (fault,) = ledger.check_chain().faults
    assert (fault.kind, fault.table, fault.key) == (FaultKind.CHANGED, "input_edge", run_id)


def test_a_row_that_was_slipped_in_is_named(ledger: Ledger, ledger_url: str) -> None:
    fill_every_table(ledger)
    with unguarded(ledger_url) as connection:
        connection.execute(sa.insert(schema.experiment).values(id=77, name="invented"))
    (fault,) = ledger.check_chain().faults
    assert (fault.kind, fault.table, fault.key) == (FaultKind.EXTRA, "experiment", 77)


def test_an_edited_or_removed_entry_is_named(ledger: Ledger, ledger_url: str) -> None:
    fill_every_table(ledger)
    entry = schema.entry
    with unguarded(ledger_url) as connection:
        ids = connection.execute(sa.select(entry.c.id).order_by(entry.c.id)).scalars().all()
        victim = connection.execute(sa.select(entry).where(entry.c.id == ids[3])).one()
        # Somebody who knows the format seals an edited row anew: then the entry after it no longer fits.
        forged = entry_digest(victim.previous, [["experiment", 1, "0" * 64]])
        items = [["experiment", 1, "0" * 64]]
        connection.execute(sa.update(entry).where(entry.c.id == ids[3]).values(items=items, digest=forged))
    assert (FaultKind.MISSING, "entry", ids[4]) in {
        (fault.kind, fault.table, fault.key) for fault in ledger.check_chain().faults
    }
    with unguarded(ledger_url) as connection:
        connection.execute(sa.delete(entry).where(entry.c.id == ids[3]))
    assert (FaultKind.MISSING, "entry", ids[4]) in {
        (fault.kind, fault.table, fault.key) for fault in ledger.check_chain().faults
    }


def test_what_was_there_before_the_chain_is_sealed_by_the_migration(ledger_url: str, ledger: Ledger) -> None:
    """A ledger of the first revision: the same rows, and none of the tables that came later."""
    fill_every_table(ledger)
    with unguarded(ledger_url) as connection:
        connection.exec_driver_sql("DROP TABLE entry")
        connection.exec_driver_sql("DROP TABLE verification")
        connection.exec_driver_sql("DROP TABLE fov_tombstone")
        connection.exec_driver_sql("DROP TABLE arrival_release")
        connection.exec_driver_sql("DROP TABLE arrival")
        connection.exec_driver_sql("DROP TABLE expected_plates")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine = LedgerEngine(ledger_url)
    upgrade(engine)
    engine.close()
    report = ledger.check_chain()
    assert (report.n_entries, report.faults) == (1, ())
    make(ledger, "raw", "later")
    assert ledger.check_chain().faults == ()


def _record(url: str, writer: int, n: int) -> None:
    with Ledger.open(url) as ledger:
        for k in range(n):
            make(ledger, "raw", f"{writer}-{k}", content=f"{writer} {k}")


def test_writers_side_by_side_make_one_chain(ledger: Ledger, ledger_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_record, args=(ledger_url, one, 25)) for one in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert ledger.check_chain().faults == ()
    for writer in writers:
        writer.join()
    report = ledger.check_chain()
    assert (report.n_entries, report.faults) == (100, ())


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON_VALUES, number=st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_recorded_reads_back_to_the_same_digest(
    ledger: Ledger, value: object, number: float
) -> None:
    run = run_draft(value=value)  # type: ignore[arg-type]
    make(ledger, "report", numbers=[NumberDraft("r", "x", "test", number, 1)], run=run)
    assert ledger.check_chain().faults == ()
