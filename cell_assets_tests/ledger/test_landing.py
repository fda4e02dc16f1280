"""Arrivals, their quarantine and what experiments expect: the newest word holds, and every word is kept."""

import pytest
import sqlalchemy as sa

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger import schema
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArrivalState
from cell_assets_tests.ledger.editing import unguarded
from cell_assets_tests.ledger.making import arrival

QUARANTINED, IGNORED = ArrivalState.QUARANTINED, ArrivalState.IGNORED


def n_rows(url: str, table: sa.Table) -> int:
    with unguarded(url) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_the_newest_word_about_a_folder_holds_and_the_older_are_kept(ledger: Ledger, ledger_url: str) -> None:
    ledger.record_arrivals([arrival("/b", QUARANTINED, "torn"), arrival("/a", plate="P2")])
    ledger.record_arrivals([arrival("/b", content="mended")])
    assert [(one.folder, one.state, one.reason) for one in ledger.arrivals()] == [
        ("/a", ArrivalState.ACCEPTED, None),
        ("/b", ArrivalState.ACCEPTED, None),
    ]
    assert n_rows(ledger_url, schema.arrival) == 3
    assert [one.folder for one in ledger.arrivals("E1")] == ["/a", "/b"]
    assert ledger.arrivals("E2") == ()
    assert ledger.check_chain().faults == ()


def test_what_holds_already_is_not_recorded_again(ledger: Ledger, ledger_url: str) -> None:
    words = [arrival("/a"), arrival("/b", IGNORED, "the same bytes are in already")]
    first, again = ledger.record_arrivals(words), ledger.record_arrivals(words[::-1])
    assert again == first[::-1]
    assert n_rows(ledger_url, schema.arrival) == 2
    assert ledger.record_arrivals([]) == ()


def test_a_release_is_told_from_then_on_and_lets_the_same_word_be_said_again(ledger: Ledger) -> None:
    (torn,) = ledger.record_arrivals([arrival("/a", QUARANTINED, "torn")])
    released = ledger.release_arrival(torn.id, "Ada", "mended by hand")
    assert released.is_released
    assert released.release is not None
    assert (released.release.released_by, released.release.why) == ("Ada", "mended by hand")
    (torn_still,) = ledger.record_arrivals([arrival("/a", QUARANTINED, "torn")])
    assert torn_still.id > torn.id
    assert not torn_still.is_released
    assert torn_still.release == released.release
    assert ledger.arrivals() == (torn_still,)


def test_only_what_is_in_quarantine_is_released_and_once(ledger: Ledger) -> None:
    torn, fine = ledger.record_arrivals([arrival("/a", QUARANTINED, "torn"), arrival("/b")])
    with pytest.raises(BadInputError, match="/b is accepted, not in quarantine"):
        ledger.release_arrival(fine.id, "Ada", "why not")
    with pytest.raises(NotFoundError, match="arrival 99 is not"):
        ledger.release_arrival(99, "Ada", "why not")
    ledger.release_arrival(torn.id, "Ada", "mended")
    with pytest.raises(BadInputError, match="/a is released already"):
        ledger.release_arrival(torn.id, "Bob", "mended too")
    ledger.record_arrivals([arrival("/a")])
    with pytest.raises(NotFoundError, match=f"arrival {torn.id} is not the newest"):
        ledger.release_arrival(torn.id, "Bob", "mended too")


@pytest.mark.parametrize(("state", "reason"), [(ArrivalState.ACCEPTED, "why"), (QUARANTINED, None)])
def test_a_reason_is_given_exactly_when_it_is_not_accepted(state: ArrivalState, reason: str | None) -> None:
    with pytest.raises(ValueError, match="give a reason exactly when"):
        arrival("/a", state, reason)


def test_what_an_experiment_expects_is_superseded_never_edited(ledger: Ledger, ledger_url: str) -> None:
    assert ledger.expected_plates("E1") is None
    first = ledger.record_expected_plates("E1", ["P2", "P1"], False, "digest 1")
    assert ledger.experiments() == ("E1",)
    assert (first.plates, first.closed, first.digest) == (("P2", "P1"), False, "digest 1")
    assert ledger.record_expected_plates("E1", ["P2", "P1"], False, "digest 1") == first
    assert n_rows(ledger_url, schema.expected_plates) == 1
    closed = ledger.record_expected_plates("E1", ["P2", "P1"], True, "digest 2")
    assert ledger.expected_plates("E1") == closed
    assert n_rows(ledger_url, schema.expected_plates) == 2
    with pytest.raises(BadInputError, match=r"plate name '\.\.' cannot be used"):
        ledger.record_expected_plates("E1", [".."], True, "digest 3")
