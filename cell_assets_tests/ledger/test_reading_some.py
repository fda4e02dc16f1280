"""What is asked of a few artifacts reads a few rows, however many the ledger holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from cell_assets.assets.sizing import largest, output_cost
from cell_assets.audit.agreement import newest_withdrawn
from cell_assets.audit.subjects import find_subject
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState, PlateDraft, WellDraft
from cell_assets.store.layout import Layout
from cell_assets.store.placing import is_recorded
from cell_assets.store.store import Store
from cell_assets_tests.ledger.making import make

POSITIONS = tuple(f"A/1/{n:03}" for n in range(60))


@pytest.fixture
def held(postgres_ledger_url: str) -> Iterator[Ledger]:
    """Two plates with tracks of every FOV."""
    with Ledger.open(postgres_ledger_url) as ledger:
        for plate in ("P1", "P2"):
            ledger.register_plate(PlateDraft("E1", plate, "src", "ctc", (WellDraft("A/1"),), POSITIONS, {}))
            for position in POSITIONS:
                key = f"{plate}|{position}"
                make(ledger, "tracks", key, content=key)
        yield ledger


@contextmanager
def counted_rows() -> Iterator[list[int]]:
    """Rows that each SELECT of the block returned."""
    counts: list[int] = []

    def count(connection: object, cursor: object, statement: str, *others: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            counts.append(cursor.rowcount)  # type: ignore[attr-defined]

    sa.event.listen(sa.Engine, "after_cursor_execute", count)
    try:
        yield counts
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", count)


def test_the_newest_come_oldest_first(ledger: Ledger) -> None:
    made = [make(ledger, "tracks", f"P1|{n}", content=str(n)).artifact.id for n in range(5)]
    make(ledger, "segmentation", "P1|0")
    assert [one.id for one in ledger.artifacts("tracks", newest=3)] == made[-3:]
    assert [one.id for one in ledger.artifacts("tracks", newest=9)] == made
    of_two = ledger.artifacts("tracks", partitions=["P1|3", "P1|1", "P1|9"])
    assert [one.id for one in of_two] == [made[1], made[3]]
    assert ledger.artifacts("tracks", partitions=[]) == ()


def test_withdrawn_ones_are_found_from_their_tombstones(ledger: Ledger) -> None:
    made = [make(ledger, "tracks", f"P1|{n}", content=str(n)).artifact.id for n in range(5)]
    ledger.record_eviction(made[3])
    ledger.withdraw({made[1]: "wrong", made[3]: "wrong too"})
    withdrawn = ledger.artifacts("tracks", ArtifactState.TOMBSTONED)
    assert [(one.id, one.state) for one in withdrawn] == [
        (made[1], ArtifactState.TOMBSTONED),
        (made[3], ArtifactState.TOMBSTONED),
    ]
    assert ledger.artifacts("segmentation", ArtifactState.TOMBSTONED) == ()


def test_an_estimate_reads_the_newest_outputs_alone(held: Ledger) -> None:
    with counted_rows() as counts:
        assert largest(held, "tracks") is not None
        output_cost(held, "tracks", "tracks")
    assert max(counts) <= 50


def test_a_fov_is_found_without_the_other_plates(held: Ledger) -> None:
    with counted_rows() as counts:
        subject = find_subject(held, "P2|A/1/007")
    (own,) = [one.id for one in held.artifacts("tracks") if one.partition == "P2|A/1/007"]
    assert subject.artifact_ids == (own,)
    # The plate's positions are read to know them.
    assert max(counts) == len(POSITIONS)


def test_whether_a_folder_is_recorded_asks_its_partition_alone(held: Ledger, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (artifact,) = held.artifacts("tracks", partitions=["P1|A/1/003"])
    with counted_rows() as counts:
        assert is_recorded(held, "tracks", artifact.partition, artifact.uri)
        elsewhere = layout.uri(layout.partition("tracks", artifact.partition) / ("0" * 12))
        assert not is_recorded(held, "tracks", artifact.partition, elsewhere)
    assert max(counts) == 1


def test_the_end_of_a_step_reads_withdrawals_alone(held: Ledger, tmp_path: Path) -> None:
    (artifact,) = held.artifacts("tracks", partitions=["P1|A/1/003"])
    held.withdraw({artifact.id: "wrong"})
    with counted_rows() as counts:
        found = newest_withdrawn(Store(tmp_path, held), "tracks")
    assert found == {"P1|A/1/003": "wrong"}
    assert max(counts) == 1
