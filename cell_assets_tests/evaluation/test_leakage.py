"""Leakage by name and by pixels, at the level that is claimed."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.leakage import find_leakage
from cell_assets.evaluation.splits import SplitUnit


def tracks(*rows: tuple[str, str, int, int, str]) -> pd.DataFrame:
    """Rows of plate, FOV, track, lineage root, split."""
    table = pd.DataFrame(list(rows), columns=["plate", "fov_name", "track_id", "lineage_root", "split"])
    return table.assign(well=table["fov_name"].str.rpartition("/")[0])


def distinct(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    names = zip(table["plate"], table["fov_name"], strict=True)
    return {name: f"pixels of {name}" for name in names}


MOTHER_AND_DAUGHTER = tracks(("P1", "A/1/0", 1, 1, "train"), ("P1", "A/1/0", 2, 1, "test"))


@pytest.mark.parametrize(
    ("claimed", "at_fault"),
    [
        (SplitUnit.TRACK, []),
        (SplitUnit.LINEAGE, ["lineage"]),
        (SplitUnit.FOV, ["lineage", "fov"]),
        (SplitUnit.PLATE, ["lineage", "fov", "well", "plate"]),
    ],
)
def test_what_is_shared_counts_up_to_the_claim(claimed: SplitUnit, at_fault: list[str]) -> None:
    found = find_leakage(MOTHER_AND_DAUGHTER, claimed, distinct(MOTHER_AND_DAUGHTER))
    assert [level.unit.value for level in found.faults] == at_fault
    assert found.leaks == bool(at_fault)
    assert {level.unit.value: len(level.shared) for level in found.levels} == {
        "track": 0,
        "lineage": 1,
        "fov": 1,
        "well": 1,
        "plate": 1,
    }


def test_validation_is_learning_too() -> None:
    table = tracks(("P1", "A/1/0", 1, 1, "val"), ("P1", "A/1/0", 2, 2, "test"))
    assert find_leakage(table, SplitUnit.FOV, distinct(table)).leaks


def test_one_plate_under_two_names_is_one_plate() -> None:
    table = tracks(
        ("P1", "A/1/0", 1, 1, "train"),
        ("P2", "A/1/0", 1, 1, "test"),
        ("P2", "A/1/0", 7, 7, "test"),
        ("P2", "B/1/0", 1, 1, "test"),
    )
    pixels = distinct(table) | {("P2", "A/1/0"): "pixels of ('P1', 'A/1/0')"}
    assert not find_leakage(table, SplitUnit.PLATE, distinct(table)).leaks
    found = find_leakage(table, SplitUnit.TRACK, pixels)
    assert found.copies == (("P1|A/1/0", "P2|A/1/0"),)
    assert found.tracks_of_copies == ("P2|A/1/0|1", "P2|A/1/0|7")
    with pytest.raises(
        BadInputError, match=r"report claims a split by track, but 1 of 3 .*P2\|A/1/0\|7"
    ) as told:
        found.refuse("the report")
    assert "P1|A/1/0 and P2|A/1/0 show the same pixels" in str(told.value)


def test_copies_on_one_side_are_no_leak() -> None:
    table = tracks(
        ("P1", "A/1/0", 1, 1, "train"), ("P2", "A/1/0", 1, 1, "train"), ("P3", "A/1/0", 1, 1, "test")
    )
    pixels = {("P1", "A/1/0"): "same", ("P2", "A/1/0"): "same", ("P3", "A/1/0"): "other"}
    assert not find_leakage(table, SplitUnit.PLATE, pixels).leaks


def test_a_fov_without_a_digest_is_named() -> None:
    with pytest.raises(BadInputError, match=r"FOV P1\|A/1/0 has no digest of its pixels"):
        find_leakage(MOTHER_AND_DAUGHTER, SplitUnit.TRACK, {})


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["P1", "P2"]),
            st.sampled_from(["A/1/0", "A/2/0"]),
            st.integers(1, 5),
            st.sampled_from(["train", "val", "test"]),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda row: row[:3],
    )
)
def test_by_name_it_says_what_set_intersection_says(rows: list[tuple[str, str, int, str]]) -> None:
    table = tracks(*((plate, fov, track, track, split) for plate, fov, track, split in rows))
    found = {level.unit: level for level in find_leakage(table, SplitUnit.TRACK, distinct(table)).levels}
    for unit, n in ((SplitUnit.PLATE, 1), (SplitUnit.FOV, 2), (SplitUnit.TRACK, 3)):
        tested = {row[:n] for row in rows if row[3] == "test"}
        learned = {row[:n] for row in rows if row[3] != "test"}
        assert len(found[unit].shared) == len(tested & learned)
        assert found[unit].n_test == len(tested)
