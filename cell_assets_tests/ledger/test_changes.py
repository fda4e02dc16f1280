"""Which experiments something happened to: every kind of record names its own experiment, and a scrub none."""

from collections.abc import Callable

import pytest

from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArrivalDraft, ArrivalState, PlateDraft, WellDraft
from cell_assets_tests.ledger.making import make


def plate_draft(plate: str, experiment: str) -> PlateDraft:
    return PlateDraft(experiment, plate, "src", "ctc", (WellDraft("A/1"),), ("A/1/000",))


def two_experiments(ledger: Ledger) -> int:
    """E1 with P1 and E2 with P2, both with a raw acquisition; the newest entry."""
    for experiment, plate in (("E1", "P1"), ("E2", "P2")):
        ledger.register_plate(plate_draft(plate, experiment))
        make(ledger, "raw_acquisition", plate, f"pixels of {plate}")
    return ledger.changes_since(None).newest_entry


def raw_of(ledger: Ledger, plate: str) -> int:
    latest = ledger.latest("raw_acquisition", plate)
    assert latest is not None
    return latest.artifact.id


def _arrive(ledger: Ledger) -> None:
    draft = ArrivalDraft(
        "/landing/a", "0" * 64, "1", "E2", "P9", ArrivalState.QUARANTINED, "half of it is there"
    )
    ledger.record_arrivals([draft])


CHANGES: dict[str, Callable[[Ledger], object]] = {
    "a FOV": lambda ledger: make(ledger, "tracks", "P2|A/1/000", "tracks"),
    "a manifest": lambda ledger: make(ledger, "experiment_manifest", "E2", "manifest"),
    "embeddings": lambda ledger: make(ledger, "dynaclr_embeddings", "E2|P1", "features"),
    "a plate": lambda ledger: ledger.register_plate(plate_draft("P3", "E2")),
    "choices": lambda ledger: ledger.record_choices("E2", {"split": {"seed": 2}}),
    "expected plates": lambda ledger: ledger.record_expected_plates("E2", ["P2"], False, "0" * 64),
    "an arrival": _arrive,
    "a withdrawn plate": lambda ledger: ledger.withdraw({}, plate="P2", reason="contaminated"),
    "a withdrawn FOV": lambda ledger: ledger.withdraw(
        {}, plate="P2", positions=["A/1/000"], reason="out of focus"
    ),
    "an eviction": lambda ledger: ledger.record_eviction(raw_of(ledger, "P2")),
    "a withdrawn artifact": lambda ledger: ledger.withdraw({raw_of(ledger, "P2"): "wrong plate map"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_names_its_experiment_alone(ledger: Ledger, name: str) -> None:
    before = two_experiments(ledger)
    CHANGES[name](ledger)
    changes = ledger.changes_since(before)
    assert changes.experiments == ("E2",)
    assert changes.newest_entry > before
    assert ledger.changes_since(changes.newest_entry).experiments == ()


def test_what_a_scrub_found_changes_nothing(ledger: Ledger) -> None:
    before = two_experiments(ledger)
    ledger.record_verifications([(raw_of(ledger, "P1"), "verified", "", 12)])
    changes = ledger.changes_since(before)
    assert (changes.experiments, changes.newest_entry) == ((), before + 1)


def test_the_first_look_sees_every_experiment(ledger: Ledger) -> None:
    assert (ledger.changes_since(None).newest_entry, ledger.changes_since(None).experiments) == (0, ())
    two_experiments(ledger)
    assert ledger.changes_since(None).experiments == ("E1", "E2")
    assert ledger.changes_since(0).experiments == ("E1", "E2")
