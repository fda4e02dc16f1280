"""What is held out of a well manifest and learned from all the same."""

import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_leakage import find_well_leakage
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DIGEST,
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


def test_a_plate_that_comes_twice_is_found_where_its_copy_is_held_out(wells: pd.DataFrame) -> None:
    own = wells["Metadata_Plate"] == "P2"
    wells.loc[own, DIGEST] = wells.loc[wells["Metadata_Plate"] == "P0", DIGEST].to_numpy()
    learned = len(rows_of(wells, Split.TRAIN, "P0")) + len(rows_of(wells, Split.VAL, "P0"))
    assert len(find_well_leakage(wells).copies) == learned


def test_wells_without_cells_and_controls_are_no_copies(wells: pd.DataFrame) -> None:
    controls = wells["Metadata_IsControl"].to_numpy(bool)
    wells.loc[controls, DIGEST] = "the same"
    assert not find_well_leakage(wells).leaks
