"""Who is affected by a bad well, and what a tombstone does to everything that rests on it."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cell_assets.audit.impact import impact_of, to_json, to_text, withdraw
from cell_assets.audit.subjects import find_subject
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger import recording
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState, Commit, NumberDraft, PlateDraft, WellDraft
from cell_assets_tests.ledger.making import make


@pytest.fixture
def lab(ledger: Ledger) -> Ledger:
    """Two plates; the model is trained on both, and each has a report of its own."""
    wells, positions = (WellDraft("A/1"), WellDraft("A/2")), ("A/1/000", "A/2/000")
    for plate in ("P1", "P2"):
        ledger.register_plate(PlateDraft("E1", plate, plate, "ctc", wells, positions))
        raw = make(ledger, "raw_acquisition", plate, plate)
        for position in positions:
            make(ledger, "tracks", f"{plate}|{position}", f"{plate} {position}", [raw])
    tracks = ledger.artifacts("tracks")
    first = make(
        ledger, "report_of_P1", "E1", "1", tracks[:2], [NumberDraft("r1", "a", "test", 0.1, 3)], "E1"
    )
    model = make(ledger, "checkpoint", "E1", "m", tracks)
    ledger.record_model_version(model.artifact.id, "E1.model", "1")
    make(ledger, "report", "E1", "2", [model], [NumberDraft("r2", "b", "test", 0.2, 3)], "E1")
    assert first.artifact.asset == "report_of_P1"
    return ledger


def assets(ledger: Ledger, subject: str) -> list[str]:
    found = impact_of(ledger, find_subject(ledger, subject))
    return [f"{one.asset} {one.partition}" for one in found.artifacts]


def test_everything_below_is_found_and_nothing_beside(lab: Ledger) -> None:
    assert assets(lab, "P2") == [
        "raw_acquisition P2",
        "tracks P2|A/1/000",
        "tracks P2|A/2/000",
        "checkpoint E1",
        "report E1",
    ]
    assert assets(lab, "P1|A/1") == ["tracks P1|A/1/000", "report_of_P1 E1", "checkpoint E1", "report E1"]
    found = impact_of(lab, find_subject(lab, "P2"))
    assert [number.draft.name for number in found.numbers] == ["b"]
    assert [model.registered_name for model in found.models] == ["E1.model"]
    assert found.reports == ("r2",)
    assert "E1 r2 b, test = 0.2" in to_text(found)
    assert [one["name"] for one in json.loads(to_json(found))["numbers"]] == ["b"]


def test_a_withdrawn_well_takes_everything_with_it_and_refuses_what_is_built_on_it(lab: Ledger) -> None:
    (beside,) = [one for one in lab.artifacts("tracks") if one.partition == "P1|A/2/000"]
    found = withdraw(lab, find_subject(lab, "P1|A/1"), "contaminated")
    assert {one.state for one in found.artifacts} == {ArtifactState.TOMBSTONED}
    assert lab.artifact(beside.id).state is ArtifactState.PRESENT
    reasons = {one.artifact_id: one.reason for one in lab.tombstones()}
    assert reasons[found.artifacts[0].id] == "contaminated"
    assert reasons[found.artifacts[-1].id] == "made from P1|A/1: contaminated"
    with pytest.raises(BadInputError, match="has been withdrawn"):
        make(lab, "report", "E1", "3", [found.artifacts[0]])
    assert lab.check_chain().faults == ()


def test_a_withdrawn_well_leaves_its_plate_whether_or_not_it_was_looked_at(lab: Ledger) -> None:
    wells, positions = (WellDraft("A/1"), WellDraft("B/1")), ("A/1/000", "A/1/001", "B/1/000")
    lab.register_plate(PlateDraft("E1", "P3", "P3", "ctc", wells, positions))
    assert withdraw(lab, find_subject(lab, "P3|A/1"), "contaminated").artifacts == ()
    withdraw(lab, find_subject(lab, "P1|A/2/000"), "out of focus")
    withdraw(lab, find_subject(lab, "P1|A/2/000"), "again")
    one, _, three = lab.plates("E1")
    assert (three.living_positions, one.living_positions) == (("B/1/000",), ("A/1/000",))
    assert dict(three.withdrawn) == {"A/1/000": "contaminated", "A/1/001": "contaminated"}
    assert dict(one.withdrawn) == {"A/2/000": "out of focus"}
    assert not three.tombstoned


def test_a_position_that_the_plate_lacks_cannot_be_withdrawn(lab: Ledger) -> None:
    with pytest.raises(NotFoundError, match="plate P1 has no position C/9/000"):
        lab.withdraw({}, plate="P1", positions=["A/1/000", "C/9/000"], reason="wrong")
    plate = lab.plate("P1")
    assert plate is not None
    assert dict(plate.withdrawn) == {}


def test_a_withdrawn_plate_leaves_its_experiment(lab: Ledger) -> None:
    withdraw(lab, find_subject(lab, "P2"), "wrong dye")
    assert [plate.draft.name for plate in lab.plates("E1") if not plate.tombstoned] == ["P1"]
    assert {lab.artifact(one.artifact_id).state for one in lab.numbers("E1", "r2")} == {
        ArtifactState.TOMBSTONED
    }


def test_a_second_withdrawal_keeps_the_first_reason(lab: Ledger) -> None:
    withdraw(lab, find_subject(lab, "P1|A/1"), "contaminated")
    withdraw(lab, find_subject(lab, "P1"), "all of it")
    reasons = {one.artifact_id: one.reason for one in lab.tombstones()}
    (first,) = find_subject(lab, "P1|A/1").artifact_ids
    assert reasons[first] == "contaminated"


def test_what_cannot_be_withdrawn(lab: Ledger) -> None:
    with pytest.raises(BadInputError, match="number 1 is only stated by an artifact"):
        withdraw(lab, find_subject(lab, "1"), "wrong")
    with pytest.raises(BadInputError, match="--why is empty"):
        withdraw(lab, find_subject(lab, "P1"), " ")
    assert lab.tombstones() == ()


def test_nothing_that_is_recorded_meanwhile_escapes(lab: Ledger) -> None:
    """Somebody builds on a plate while it is withdrawn: refused, or withdrawn with it."""
    (raw,) = [one for one in lab.artifacts("raw_acquisition") if one.partition == "P1"]
    done = threading.Event()

    def build(writer: int) -> int:
        made = 0
        while not done.is_set():
            try:
                make(lab, "tracks", f"P1|{writer}/{made}", f"{writer} {made}", [Commit(raw, 1, False)])
            except BadInputError:
                return made
            made += 1
        return made

    with ThreadPoolExecutor(4) as threads:
        builders = [threads.submit(build, writer) for writer in range(4)]
        time.sleep(0.3)
        withdraw(lab, find_subject(lab, "P1"), "contaminated")
        time.sleep(0.1)
        done.set()
    assert sum(one.result() for one in builders) > 0
    below = impact_of(lab, find_subject(lab, "P1")).artifacts
    assert {one.state for one in below} == {ArtifactState.TOMBSTONED}


def test_withdrawing_waits_for_what_is_being_recorded(lab: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    (raw,) = [one for one in lab.artifacts("raw_acquisition") if one.partition == "P1"]
    has_edges, append_numbers = threading.Event(), recording._append_numbers

    def slowly(*arguments: Any) -> None:
        has_edges.set()
        time.sleep(1)
        append_numbers(*arguments)

    monkeypatch.setattr(recording, "_append_numbers", slowly)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(make, lab, "tracks", "P1|late", "late", [Commit(raw, 1, False)])
        assert has_edges.wait(10)
        found = withdraw(lab, find_subject(lab, "P1"), "contaminated")
    assert late.result().artifact.id in {one.id for one in found.artifacts}
    assert lab.artifact(late.result().artifact.id).state is ArtifactState.TOMBSTONED
