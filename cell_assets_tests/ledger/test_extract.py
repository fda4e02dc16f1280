"""A part of the ledger as a file of its own: it tells the same, and whatever was edited in it is named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cell_assets.audit.explain import explain, to_json
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger import schema
from cell_assets.ledger.chain import SEALED_TABLES, FaultKind, key_column
from cell_assets.ledger.extract_check import ExtractReport
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import REVISIONS
from cell_assets.ledger.records import Number
from cell_assets_tests.ledger.editing import another_value, at_revision, editable_columns, unguarded
from cell_assets_tests.ledger.making import fill_every_table, make, receipt, run_draft


def headline(ledger: Ledger) -> Number:
    return next(iter(ledger.numbers(superseded=True)))


def whole_runs(ledger: Ledger) -> set[int]:
    told = explain(ledger, headline(ledger).id)
    return {one.run.id for node in told.artifacts for one in node.runs}


def write(ledger: Ledger, path: Path) -> Path:
    told = explain(ledger, headline(ledger).id)
    ledger.write_extract([node.artifact.id for node in told.artifacts], path)
    return path


def check(path: Path, runs: Sequence[int] | set[int] | None = None) -> ExtractReport:
    with Ledger.open_extract(path) as opened:
        return opened.check_extract(whole_runs(opened) if runs is None else runs)


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Rows in every table, a failure that read something else, a successor, and much that is not asked for."""
    fill_every_table(ledger)
    elsewhere = make(ledger, "raw", "P77", content="elsewhere")
    ledger.record_failure("raw", "P1", run_draft(), "no such plate", [receipt(elsewhere)])
    make(ledger, "raw", "P2", content="newer bytes of P2", inputs=[elsewhere])
    for n in range(3):
        make(ledger, "raw", f"Q{n}", content=f"unrelated {n}")
    return ledger


def test_an_extract_tells_the_same_and_holds_nothing_else(filled: Ledger, tmp_path: Path) -> None:
    path = write(filled, tmp_path / "extract.sqlite")
    with Ledger.open_extract(path) as opened:
        assert to_json(explain(opened, 1)) == to_json(explain(filled, 1))
        kept = {(one.asset, one.partition) for one in opened.artifacts()}
        assert kept == {("report", "P1"), ("raw", "P0"), ("raw", "P1"), ("raw", "P2")}
        assert len(opened.artifacts()) == 5  # P2 was made anew
        assert [one.error for one in opened.attempts("raw", "P1") if one.error] == ["no such plate"]
    report = check(path)
    assert report.faults == ()
    with Ledger.open(f"sqlite:///{path}") as opened:
        assert to_json(explain(opened, 1)) == to_json(explain(filled, 1))


def test_what_was_read_outside_is_left_out_whole_and_named(filled: Ledger, tmp_path: Path) -> None:
    failed, successor = (
        run.id for run in (*filled.attempts("raw", "P1"), *filled.attempts("raw", "P2"))[1::2]
    )
    path = write(filled, tmp_path / "extract.sqlite")
    assert check(path).without_inputs == (failed, successor)
    (fault,) = check(path, [failed]).faults
    assert (fault.kind, fault.table, fault.key) == (FaultKind.MISSING, "input_edge", failed)


def test_the_same_rows_give_the_same_bytes(filled: Ledger, tmp_path: Path) -> None:
    first, second = (write(filled, tmp_path / name).read_bytes() for name in ("a.sqlite", "b.sqlite"))
    assert first == second


def test_blobs_of_the_runs_go_along(ledger: Ledger, tmp_path: Path) -> None:
    fill_every_table(ledger)
    diff, environment, other = (ledger.store_blob(one) for one in (b"a diff", b"packages", b"other"))
    draft = run_draft()
    code = replace(draft.code, dirty_diff_digest=diff, environment_digest=environment)
    make(ledger, "report", content="again", run=replace(draft, code=code))
    with Ledger.open_extract(write(ledger, tmp_path / "extract.sqlite")) as opened:
        assert (opened.blob(diff), opened.blob(environment)) == (b"a diff", b"packages")
        with pytest.raises(CellAssetsError, match="is not in the ledger"):
            opened.blob(other)


def test_reading_an_extract_leaves_no_trace(filled: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    path = write(filled, tmp_path / "extract.sqlite").rename(folder / "it's 100% #1?.sqlite")
    before = path.read_bytes()
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert check(path).faults == ()
        with Ledger.open_extract(path) as opened, pytest.raises(sa.exc.OperationalError, match="readonly"):
            opened.register_experiment("E9")
    finally:
        folder.chmod(0o755)
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]


def test_every_edited_value_is_named(filled: Ledger, tmp_path: Path) -> None:
    """Every column of every table that no constraint fixes, one after the other, each put back afterwards."""
    path = write(filled, tmp_path / "extract.sqlite")
    runs = whole_runs(filled)
    url = f"sqlite:///{path}"
    n_edits = 0
    for table in SEALED_TABLES:
        key = key_column(table)
        for column in editable_columns(table):
            target = table.c[column]

            def write_value(value: Any, where: Any, table: sa.Table = table, column: str = column) -> None:
                with unguarded(url) as connection:
                    connection.execute(sa.update(table).where(where).values({column: value}))

            with unguarded(url) as connection:
                row = connection.execute(sa.select(key, target).order_by(target.is_(None)).limit(1)).first()
            if row is None:
                continue  # no row of this table belongs to the number
            chosen, value = row
            write_value(another_value(value, column), key == chosen)
            found = [(fault.kind, fault.table, fault.key) for fault in check(path, runs).faults]
            assert found == [(FaultKind.CHANGED, table.name, chosen)], (table.name, column)
            write_value(value, key == chosen)
            n_edits += 1
    assert n_edits > 60
    assert check(path, runs).faults == ()


@pytest.mark.parametrize("table", ["well", "verification", "number"])
def test_a_row_slipped_in_is_named(filled: Ledger, tmp_path: Path, table: str) -> None:
    path = write(filled, tmp_path / "extract.sqlite")
    slipped = schema.metadata.tables[table]
    with unguarded(f"sqlite:///{path}") as connection:
        row = dict(connection.execute(sa.select(slipped).limit(1)).one()._mapping)
        row |= {"id": 999, **({"name": "B/7"} if "name" in row else {})}
        connection.execute(sa.insert(slipped).values(row))
    (fault,) = check(path).faults
    assert (fault.kind, fault.table, fault.key) == (FaultKind.EXTRA, table, 999)


def test_inputs_taken_away_are_named(filled: Ledger, tmp_path: Path) -> None:
    path = write(filled, tmp_path / "extract.sqlite")
    run = headline(filled).run_id
    with unguarded(f"sqlite:///{path}") as connection:
        connection.execute(sa.delete(schema.input_edge).where(schema.input_edge.c.run_id == run))
    (fault,) = check(path).faults
    assert (fault.kind, fault.table, fault.key) == (FaultKind.MISSING, "input_edge", run)


def test_an_entry_taken_away_or_forged_is_named(filled: Ledger, tmp_path: Path) -> None:
    path = write(filled, tmp_path / "extract.sqlite")
    entry = schema.entry
    with unguarded(f"sqlite:///{path}") as connection:
        newest = connection.execute(sa.select(entry).order_by(entry.c.id.desc()).limit(1)).one()
        connection.execute(sa.delete(entry).where(entry.c.id == newest.id))
    assert {fault.kind for fault in check(path).faults} == {FaultKind.EXTRA}
    forged = dict(newest._mapping) | {"items": [*newest.items, ["plate", 1, "0" * 64]]}
    with unguarded(f"sqlite:///{path}") as connection:
        connection.execute(sa.insert(entry).values(forged))
    faults = {(fault.kind, fault.table, fault.key) for fault in check(path).faults}
    assert (FaultKind.CHANGED, "entry", newest.id) in faults


def test_a_row_that_refers_to_none_is_named(filled: Ledger, tmp_path: Path) -> None:
    path = write(filled, tmp_path / "extract.sqlite")
    with unguarded(f"sqlite:///{path}") as connection:
        connection.exec_driver_sql("UPDATE well SET condition_id = 99 WHERE id = 1")
    assert "refers to a row of condition that is not there" in " ".join(one.why for one in check(path).faults)


def test_an_unsealed_ledger_gives_no_extract(filled: Ledger, ledger_url: str, tmp_path: Path) -> None:
    with unguarded(ledger_url) as connection:
        connection.execute(sa.delete(schema.entry).where(schema.entry.c.run_id == headline(filled).run_id))
    with pytest.raises(CellAssetsError, match="is sealed by no entry"):
        write(filled, tmp_path / "extract.sqlite")
    with unguarded(ledger_url) as connection:
        connection.execute(sa.delete(schema.entry))
    with pytest.raises(CellAssetsError, match="is sealed by no entry"):
        write(filled, tmp_path / "again.sqlite")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE VIEW harmless AS SELECT 1", "see harmless"),
        ("CREATE TABLE more (x)", "see more"),
        ("DROP TABLE verification", "see verification"),
        ("ALTER TABLE well ADD COLUMN more GENERATED ALWAYS AS (zeroblob(1000000000))", "see well"),
        ("CREATE VIRTUAL TABLE words USING fts5(x)", "see words"),
        ("UPDATE alembic_version SET version_num = '0999'", "schema revision '0999'"),
        ("DROP TABLE alembic_version", "schema revision None"),
    ],
)
def test_another_schema_is_refused(tmp_path: Path, statement: str, said: str) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'whole.sqlite'}") as ledger:
        fill_every_table(ledger)
        path = write(ledger, tmp_path / "extract.sqlite")
    with unguarded(f"sqlite:///{path}") as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(BadInputError, match=said):
        Ledger.open_extract(path)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(4080), b"no database" * 500])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "extract.sqlite"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="ledger extract"):
        Ledger.open_extract(path)


def test_an_extract_of_the_revision_before_is_read_and_held_to_its_chain(
    filled: Ledger, tmp_path: Path
) -> None:
    newest = write(filled, tmp_path / "newest.sqlite")
    before = at_revision("0003", newest, tmp_path / "before.sqlite")
    with Ledger.open_extract(before) as opened:
        assert to_json(explain(opened, 1)) == to_json(explain(filled, 1))
    report, whole = check(before), check(newest)
    assert report.faults == ()
    assert (report.newest, report.n_entries) == (whole.newest, whole.n_entries)
    with unguarded(f"sqlite:///{before}") as connection:
        connection.exec_driver_sql("UPDATE number SET value = 0.5")
    (fault,) = check(before).faults
    assert (fault.kind, fault.table) == (FaultKind.CHANGED, "number")
    with unguarded(f"sqlite:///{before}") as connection:
        connection.exec_driver_sql("CREATE TABLE arrival (id)")
    with pytest.raises(BadInputError, match="see arrival"):
        Ledger.open_extract(before)


def test_the_revision_before_the_newest_is_always_read(filled: Ledger, tmp_path: Path) -> None:
    newest = write(filled, tmp_path / "newest.sqlite")
    assert check(at_revision(REVISIONS[-2], newest, tmp_path / "before.sqlite")).faults == ()
    with pytest.raises(
        BadInputError, match="has schema revision '0002', and this cell_assets reads '0003' and"
    ):
        Ledger.open_extract(at_revision("0002", newest, tmp_path / "old.sqlite"))
