"""Experiments, plates and annotations."""

from dataclasses import replace
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.names import check_name
from cell_assets.ledger.records import PlateDraft, WellDraft

PLATE = PlateDraft(
    experiment="E1",
    name="P1",
    source_uri="data/plate 1",
    source_format="ome-zarr",
    wells=(
        WellDraft("B/2", "compound", "nocodazole", 0.5, "µM", "microtubule inhibitor", False),
        WellDraft("A/1", "compound", "DMSO", 0.0, "µM", None, True),
        WellDraft("A/2"),
        WellDraft("C/1", "compound", "DMSO", 0.0, "µM", None, True),
    ),
    positions=("B/2/001", "A/1/000", "B/2/000", "C/1/000"),
    ingest_options={"channels": ["GFP", "phase"], "interval_min": 5.0},
)


def test_a_plate_comes_back_as_it_was_registered_in_its_order(ledger: Ledger) -> None:
    registered = ledger.register_plate(PLATE)
    assert registered.draft == PLATE
    assert not registered.tombstoned
    assert ledger.plate("P1") == registered
    assert ledger.register_plate(PLATE) == registered
    assert ledger.plates() == (registered,)
    assert ledger.experiments() == ("E1",)
    assert ledger.plate("P2") is None


def test_a_plate_without_map_or_positions_can_be_registered(ledger: Ledger) -> None:
    bare = PlateDraft("E1", "P9", "src", "ctc", (), ())
    assert ledger.register_plate(bare).draft == bare


def test_plates_are_listed_by_experiment(ledger: Ledger) -> None:
    first = ledger.register_plate(PLATE)
    second = ledger.register_plate(replace(PLATE, name="P2", experiment="E2"))
    ledger.register_experiment("E3")
    ledger.register_experiment("E3")
    assert ledger.experiments() == ("E1", "E2", "E3")
    assert ledger.plates("E1") == (first,)
    assert ledger.plates("E2") == (second,)
    assert ledger.plates("E3") == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ingest_options": {"interval_min": 6.0}}, "ingest_options"),
        ({"positions": PLATE.positions[::-1]}, "positions"),
        ({"wells": (*PLATE.wells, WellDraft("H/12"))}, "wells"),
        ({"experiment": "E2"}, "experiment"),
        ({"source_uri": "elsewhere"}, "source_uri"),
    ],
)
def test_a_plate_never_changes(ledger: Ledger, change: dict[str, object], named: str) -> None:
    registered = ledger.register_plate(PLATE)
    with pytest.raises(BadInputError, match=f"plate P1 is registered already with other {named}"):
        ledger.register_plate(replace(PLATE, **change))
    assert ledger.plates() == (registered,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../P1"}, r"plate name '../P1' cannot be used"),
        ({"name": "P1|x"}, "cannot be used"),
        ({"name": "a/b"}, "cannot be used"),
        ({"name": "a..b"}, "cannot be used"),
        ({"name": ""}, "cannot be used"),
        ({"name": ".hidden"}, "cannot be used"),
        ({"name": "P1\n"}, "cannot be used"),
        ({"name": "x" * 101}, "at most 100"),
        ({"experiment": "E|1"}, "experiment name"),
        ({"wells": (WellDraft("A1"),)}, "well 'A1' is not of the form row/column"),
        ({"wells": (*PLATE.wells, WellDraft("A/1"))}, "well A/1 is listed more than once"),
        ({"positions": ("A/1/000", "A/1/000")}, "position A/1/000 is listed more than once"),
        ({"positions": ("A/1",)}, "position 'A/1' is not of the form"),
        ({"positions": ("H/12/000",)}, "position H/12/000 lies in well H/12, which the plate does not list"),
        ({"ingest_options": {"x": float("inf")}}, "ingest options of plate P1 hold inf"),
    ],
)
def test_a_bad_plate_is_refused_before_anything_is_written(
    ledger: Ledger, change: dict[str, object], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        ledger.register_plate(replace(PLATE, **change))
    assert ledger.plates() == ()
    assert ledger.experiments() == ()


@given(st.text(max_size=12))
def test_accepted_names_stay_one_folder_and_one_key(name: str) -> None:
    try:
        check_name("plate", name)
    except BadInputError:
        return
    assert not set(name) & set('/\\|\0\n%:*?"<>')
    assert name not in ("", ".", "..")


def test_a_withdrawn_plate_says_so(ledger: Ledger) -> None:
    ledger.register_plate(PLATE)
    ledger.withdraw({}, plate="P1", reason="contaminated")
    ledger.withdraw({}, plate="P1", reason="still contaminated")
    found = ledger.plate("P1")
    assert found is not None and found.tombstoned
    (tombstone,) = ledger.tombstones()
    assert (tombstone.plate, tombstone.artifact_id, tombstone.reason) == ("P1", None, "contaminated")
    with pytest.raises(NotFoundError, match="plate 'P7'"):
        ledger.withdraw({}, plate="P7", reason="unknown")


def test_annotation_sets_are_versions(ledger: Ledger) -> None:
    ledger.register_plate(PLATE)
    first = ledger.record_annotation_set("P1", "infection", "d1", "labels.csv", 100)
    assert ledger.record_annotation_set("P1", "infection", "d1", "labels.csv", 100) == first
    second = ledger.record_annotation_set("P1", "infection", "d2", "labels.csv", 120)
    assert ledger.annotation_sets("P1") == (first, second)
    assert ledger.annotation_sets("P2") == ()
    with pytest.raises(NotFoundError, match="plate 'P2'"):
        ledger.record_annotation_set("P2", "infection", "d1", "labels.csv", 100)


def test_one_plate_registered_by_many_at_once_is_one_plate(ledger: Ledger) -> None:
    plates = [replace(PLATE, name=f"P{index % 3}") for index in range(12)]
    together = Barrier(len(plates))
    faults: list[Exception] = []

    def register(plate: PlateDraft) -> None:
        together.wait()
        try:
            ledger.register_plate(plate)
        except Exception as error:  # noqa: BLE001 - whatever a thread meets is shown by the test
            faults.append(error)

    threads = [Thread(target=register, args=(plate,)) for plate in plates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    found = {plate.draft.name: plate.draft for plate in ledger.plates()}
    assert found == {plate.name: plate for plate in plates}
    assert len(ledger.plates()) == 3


def test_the_newest_choices_hold(ledger: Ledger) -> None:
    ledger.register_experiment("E1")
    assert ledger.choices("E1") == {}
    ledger.record_choices("E1", {"preset": "paper", "seed": 1})
    ledger.record_choices("E1", {"preset": "quick", "seed": 1})
    assert ledger.choices("E1") == {"preset": "quick", "seed": 1}
    with pytest.raises(NotFoundError, match="experiment 'E2' is not in the ledger"):
        ledger.record_choices("E2", {})
