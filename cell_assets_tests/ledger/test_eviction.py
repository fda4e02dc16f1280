"""Bytes that are let go: never those that a number rests on, whoever records what at the same moment."""

import threading
from datetime import timedelta

import pytest

from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState, NumberDraft
from cell_assets_tests.ledger.making import LEASE, make, output, receipt, run_draft

NUMBER = NumberDraft("r", "auc", "test", 0.5, 3)


def test_nothing_that_a_number_rests_on_goes(ledger: Ledger) -> None:
    raw = make(ledger, "raw")
    tracks = make(ledger, "tracks", inputs=[raw])
    aside = make(ledger, "patches", inputs=[tracks])
    report = make(ledger, "report", inputs=[tracks], numbers=[NUMBER])
    for one in (raw, tracks, report):
        with pytest.raises(BadInputError, match=r"stays: number 1 \(r auc\) rests on it"):
            ledger.record_eviction(one.artifact.id)
    ledger.record_eviction(aside.artifact.id)
    assert ledger.evicted() == {aside.artifact.id}
    with pytest.raises(NotFoundError, match="artifact 99"):
        ledger.record_eviction(99)
    assert ledger.check_chain().faults == ()


def test_a_superseded_number_counts_and_a_withdrawn_one_does_not(ledger: Ledger) -> None:
    tracks = make(ledger, "tracks")
    old = make(ledger, "report", content="old", inputs=[tracks], numbers=[NUMBER])
    make(ledger, "report", content="new")
    with pytest.raises(BadInputError, match="number 1 "):
        ledger.record_eviction(tracks.artifact.id)
    ledger.withdraw({old.artifact.id: "wrong labels"})
    ledger.record_eviction(tracks.artifact.id)
    assert ledger.evicted() == {tracks.artifact.id}


def test_withdrawn_bytes_can_go_and_stay_withdrawn(ledger: Ledger) -> None:
    made = make(ledger, "patches")
    ledger.withdraw({made.artifact.id: "out of focus"})
    ledger.record_eviction(made.artifact.id)
    assert ledger.evicted() == {made.artifact.id}
    assert ledger.artifact(made.artifact.id).state is ArtifactState.TOMBSTONED


def test_nothing_is_recorded_from_bytes_that_went_meanwhile(ledger: Ledger) -> None:
    patches = make(ledger, "patches")
    ledger.record_eviction(patches.artifact.id)
    with pytest.raises(
        BadInputError, match=r"patches P1 \(artifact 1\) were evicted while report P1 was made"
    ):
        make(ledger, "report", inputs=[patches], numbers=[NUMBER])
    assert ledger.numbers() == ()
    make(ledger, "patches")
    make(ledger, "report", inputs=[patches], numbers=[NUMBER])
    with pytest.raises(BadInputError, match="rests on it"):
        ledger.record_eviction(patches.artifact.id)


def test_bytes_that_are_back_supersede_nothing(ledger: Ledger) -> None:
    old = make(ledger, "patches", content="old")
    new = make(ledger, "patches", content="new")
    ledger.record_eviction(old.artifact.id)
    intent = ledger.open_intent("patches", "P1", "staging/x", "host:1", LEASE)
    ledger.record_return(intent, old.artifact.id)
    assert ledger.artifact(old.artifact.id).state is ArtifactState.PRESENT
    assert ledger.open_intents() == ()
    latest = ledger.latest("patches", "P1")
    assert latest is not None and latest.artifact.id == new.artifact.id
    closed = ledger.open_intent("patches", "P1", "staging/y", "host:1", timedelta(0))
    ledger.close_intent(closed.id)
    with pytest.raises(CellAssetsError, match="its lease ended"):
        ledger.record_return(closed, old.artifact.id)


def test_of_an_eviction_and_a_number_at_once_one_gives_way(postgres_ledger_url: str) -> None:
    """Round after round: a report is committed on tables made from the labels that are evicted beside it."""
    with Ledger.open(postgres_ledger_url) as ledger, Ledger.open(postgres_ledger_url) as other:
        outcomes = set()
        for n in range(25):
            key = f"P{n}"
            labels = make(ledger, "labels", key)
            table = make(ledger, "table", key, inputs=[labels])
            said: list[str] = []
            start = threading.Barrier(2)

            def evict(one: int = labels.artifact.id, start: threading.Barrier = start) -> None:
                start.wait()
                try:
                    other.record_eviction(one)
                except BadInputError:
                    said.append("stays")  # noqa: B023 - the thread ends within its round

            thread = threading.Thread(target=evict)
            thread.start()
            intent = ledger.open_intent("report", key, "s", "host:1", LEASE)
            start.wait()
            inputs = [receipt(table), receipt(labels)]
            try:
                ledger.commit(intent, run_draft(), output("report", key, "r"), inputs, [NUMBER])
            except BadInputError:
                said.append("refused")
            thread.join()
            assert len(said) == 1
            assert (ledger.artifact(labels.artifact.id).state is ArtifactState.PRESENT) == (said == ["stays"])
            outcomes.update(said)
        assert len(outcomes) >= 1
        assert ledger.check_chain().faults == ()
