"""What is held out of a well manifest and learned from all the same."""

import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_leakage import find_well_leakage
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DIGEST,
    PLATE_SPLIT,
    PlateSplit,
    WellSplitParameters,
    split_wells,
)
from cell_assets.evaluation.splits import Split
from cell_assets_tests.evaluation.profiling.test_well_manifest import screen


@pytest.fixture
def wells() -> pd.DataFrame:
    return split_wells(screen(3), WellSplitParameters(held_out_plates=("P2",)))


def rows_of(wells: pd.DataFrame, split: Split, plate: str) -> list[int]:
    chosen = (wells[COMPOUND_SPLIT] == split.value) & (wells["Metadata_Plate"] == plate)
    return wells.index[chosen.fillna(False)].tolist()


def test_a_split_as_it_is_drawn_leaks_nothing(wells: pd.DataFrame) -> None:
    found = find_well_leakage(wells)
    assert not found.leaks and found.sentence() == ""
    assert (found.n_held_out_compounds, found.n_held_out_plates) == (2, 1)


def test_a_compound_under_another_spelling_is_found(wells: pd.DataFrame) -> None:
    test, train = rows_of(wells, Split.TEST, "P0")[0], rows_of(wells, Split.TRAIN, "P1")[0]
    name = str(wells.loc[train, COMPOUND])
    wells.loc[test, COMPOUND] = f" {name.upper()} "
    found = find_well_leakage(wells)
    assert found.compounds == (f" {name.upper()} ",)
    with pytest.raises(BadInputError, match="1 held-out compounds are learned from too"):
        found.refuse("the well manifest of E")


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VAL])
def test_cells_that_come_twice_are_found_whatever_they_are_called(wells: pd.DataFrame, split: Split) -> None:
    test, learned = rows_of(wells, Split.TEST, "P1")[0], rows_of(wells, split, "P0")[0]
    wells.loc[test, DIGEST] = wells.loc[learned, DIGEST]
    held, original = find_well_leakage(wells).copies[0]
    assert (
        held == f"P1|{wells.loc[test, 'Metadata_Well']}"
        and original == f"P0|{wells.loc[learned, 'Metadata_Well']}"
    )


@pytest.mark.parametrize("split", [*Split, None])
def test_a_well_that_comes_twice_is_named_whatever_both_are_used_for(
    wells: pd.DataFrame, split: Split | None
) -> None:
    """Under two compounds of one split; None for controls."""
    own = wells[COMPOUND_SPLIT].isna() if split is None else wells[COMPOUND_SPLIT] == split.value
    own = own.fillna(False) & wells[DIGEST].notna()
    original = wells.index[own & (wells["Metadata_Plate"] == "P0")][0]
    others = own & (wells["Metadata_Plate"] == "P1")
    if split is not None:
        others &= wells[COMPOUND] != wells.loc[original, COMPOUND]
    copy = wells.index[others][0]
    wells.loc[copy, DIGEST] = wells.loc[original, DIGEST]
    pair = (f"P1|{wells.loc[copy, 'Metadata_Well']}", f"P0|{wells.loc[original, 'Metadata_Well']}")
    found = find_well_leakage(wells)
    assert found.copies == (pair,) and found.leaks
    said = rf"1 wells hold the same cells as another \({pair[0]} and {pair[1]}\)".replace("|", r"\|")
    with pytest.raises(BadInputError, match=said):
        found.refuse("the well manifest of E")


def test_a_plate_that_comes_twice_is_found_well_by_well(wells: pd.DataFrame) -> None:
    own = wells["Metadata_Plate"] == "P2"
    wells.loc[own, DIGEST] = wells.loc[wells["Metadata_Plate"] == "P0", DIGEST].to_numpy()
    names = wells.loc[own & wells[DIGEST].notna(), "Metadata_Well"].tolist()
    assert len(names) == 11
    assert find_well_leakage(wells).copies == tuple((f"P2|{name}", f"P0|{name}") for name in names)


def test_a_held_out_plate_of_which_a_well_is_learned_from_is_named(wells: pd.DataFrame) -> None:
    place = rows_of(wells, Split.TRAIN, "P2")[0]
    wells.loc[place, PLATE_SPLIT] = PlateSplit.LEARNED.value
    found = find_well_leakage(wells)
    assert found.plates == ("P2",) and found.copies == ()
    with pytest.raises(BadInputError, match=r"1 held-out plates are learned from too \(P2\)"):
        found.refuse("the well manifest of E")


def test_wells_without_cells_are_no_copies(wells: pd.DataFrame) -> None:
    assert wells[DIGEST].isna().sum() == 3
    assert not find_well_leakage(wells).leaks


def test_a_validation_plate_validates_without_a_leak_and_leaks_where_a_well_of_it_trains() -> None:
    wells = split_wells(
        screen(4), WellSplitParameters(validation_plates=("P1",), out_of_distribution_plates=("P2",))
    )
    found = find_well_leakage(wells)
    assert (found.n_held_out_plates, found.plates, found.leaks) == (1, (), False)
    trains = (wells["Metadata_Plate"] == "P1") & (wells[COMPOUND_SPLIT] == "train").fillna(False)
    wells.loc[trains.idxmax(), PLATE_SPLIT] = PlateSplit.LEARNED.value
    found = find_well_leakage(wells)
    assert (found.n_held_out_plates, found.plates, found.validation_plates) == (1, (), ("P1",))
    with pytest.raises(BadInputError, match=r"1 validation plates do more than choose the epoch \(P1\)"):
        found.refuse("the well manifest of E")
