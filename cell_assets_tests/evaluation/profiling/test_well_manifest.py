"""Which wells may be learned from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    COUNT,
    MOA,
    PLATE_SPLIT,
    PlateSplit,
    WellSplitParameters,
    learned_from,
    read_well_manifest,
    split_wells,
    wells_table,
    write_well_manifest,
)
from cell_assets.evaluation.splits import Split
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.ledger.records import WellDraft


def screen(n_plates: int = 2, n_compounds: int = 10) -> pd.DataFrame:
    """Two compounds of each mechanism, one well each on every plate, a control and an empty well."""
    drafts = [
        WellDraft(f"A/{n + 1}", "compound", f"c{n}", 1.0, "µM", f"m{n // 2}", False)
        for n in range(n_compounds)
    ]
    drafts += [WellDraft("B/1", "compound", "DMSO", is_control=True), WellDraft("B/2")]
    cells = {one.name: 7 for one in drafts[:-1]}
    return pd.concat(
        [
            wells_table(f"P{n}", drafts, cells, {well: f"{n} {well}" for well in cells})
            for n in range(n_plates)
        ],
        ignore_index=True,
    )


def compounds_by_split(wells: pd.DataFrame) -> dict[str, set[str]]:
    return {split.value: set(wells.loc[wells[COMPOUND_SPLIT] == split.value, COMPOUND]) for split in Split}


def test_a_well_without_cells_has_none() -> None:
    wells = screen(1)
    assert wells[COUNT].tolist() == [7] * 11 + [0]
    assert wells[WELL].tolist()[-2:] == ["B/1", "B/2"]


@given(seed=st.integers(0, 10_000), n=st.integers(4, 30))
def test_no_compound_is_on_two_sides_on_any_plate(seed: int, n: int) -> None:
    parts = compounds_by_split(split_wells(screen(3, n), WellSplitParameters(seed=seed)))
    assert sum(map(len, parts.values())) == n
    assert set.union(*parts.values()) == {f"c{k}" for k in range(n)}
    assert len(parts["test"]) == len(parts["val"]) == round(0.2 * n)


def test_controls_and_wells_of_unknown_treatment_are_in_no_split() -> None:
    wells = split_wells(screen(), WellSplitParameters())
    assert wells.loc[wells[COMPOUND_SPLIT].isna(), WELL].tolist() == ["B/1", "B/2"] * 2


def test_held_out_compounds_are_spread_over_mechanisms() -> None:
    for seed in range(20):
        wells = split_wells(screen(1, 20), WellSplitParameters(test_fraction=0.5, val_fraction=0, seed=seed))
        assert wells.loc[wells[COMPOUND_SPLIT] == "test", MOA].nunique() == 10


def test_learned_from_are_wells_with_cells_of_compounds_and_plates_that_are_not_held_out() -> None:
    wells = screen(3)
    wells.loc[(wells[PLATE] == "P0") & (wells[COMPOUND] == "c1"), COUNT] = 0
    split = split_wells(wells, WellSplitParameters(held_out_plates=("P2",)))
    parts = compounds_by_split(split)
    chosen = split[learned_from(split)]
    assert set(chosen[COMPOUND]) <= parts["train"]
    assert set(chosen[PLATE]) == {"P0", "P1"}
    assert len(chosen) == 2 * len(parts["train"]) - ("c1" in parts["train"])
    assert set(split.loc[split[PLATE_SPLIT] == PlateSplit.HELD_OUT.value, PLATE]) == {"P2"}
    assert set(split[learned_from(split, Split.VAL)][COMPOUND]) == parts["val"]


def fig_8() -> WellSplitParameters:
    """A plate of each kind beside P0 and P4, which are learned from."""
    return WellSplitParameters(
        validation_plates=("P1",), held_out_plates=("P2",), out_of_distribution_plates=("P3",)
    )


def test_plates_and_compounds_are_stratified_as_in_fig_8() -> None:
    split = split_wells(screen(5), fig_8())
    assert split.groupby(PLATE)[PLATE_SPLIT].unique().map(list).to_dict() == {
        "P0": ["learned"],
        "P1": ["validation"],
        "P2": ["held out"],
        "P3": ["out-of-distribution"],
        "P4": ["learned"],
    }
    parts = compounds_by_split(split)
    learned, validates, tested = (
        split[learned_from(split, part)] for part in (Split.TRAIN, Split.VAL, Split.TEST)
    )
    # Weights are learned from training compounds on training plates alone; the epoch is chosen by validation
    # compounds on these and on validation plates; nothing else is used.
    assert {PLATE: set(learned[PLATE]), COMPOUND: set(learned[COMPOUND])} == {
        PLATE: {"P0", "P4"},
        COMPOUND: parts["train"],
    }
    assert {PLATE: set(validates[PLATE]), COMPOUND: set(validates[COMPOUND])} == {
        PLATE: {"P0", "P1", "P4"},
        COMPOUND: parts["val"],
    }
    assert set(tested[PLATE]) == {"P0", "P4"}


def test_what_names_no_further_plates_is_written_as_before() -> None:
    assert set(WellSplitParameters().model_dump(mode="json")) == {
        "val_fraction", "test_fraction", "held_out_plates", "doses", "batch_of_plate", "seed",
    }  # fmt: skip
    stated = fig_8().model_dump(mode="json")
    assert stated["validation_plates"] == ["P1"] and stated["out_of_distribution_plates"] == ["P3"]
    assert WellSplitParameters.model_validate(stated) == fig_8()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"held_out_plates": ["P1"], "validation_plates": ["P1"]}, "plate P1 is in two of held_out_plates"),
        ({"validation_plates": ["P1"], "val_fraction": 0}, "names P1, of which nothing validates"),
    ],
)
def test_a_plate_that_is_for_two_things_or_none_is_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WellSplitParameters.model_validate(fields)


@pytest.mark.parametrize(
    ("familiar", "said"),
    [
        ("P0", "is of batch 2, as is P0, a learned plate"),
        ("P1", "is of batch 2, as is P1, a validation plate"),
    ],
)
def test_out_of_distribution_plates_are_of_no_batch_that_trains_or_validates(
    familiar: str, said: str
) -> None:
    apart = {"P0": "1", "P1": "1", "P2": "2", "P3": "2", "P4": "1"}
    allowed = fig_8().model_copy(update={"batch_of_plate": apart})
    assert split_wells(screen(5), allowed)[PLATE_SPLIT].nunique() == 4
    shared = fig_8().model_copy(update={"batch_of_plate": apart | {familiar: "2"}})
    with pytest.raises(BadInputError, match=f"out_of_distribution_plates: P3 {said}; name it in held_out"):
        split_wells(screen(5), shared)


def test_same_seed_same_bytes_and_read_back(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        parameters = WellSplitParameters(seed=3)
        digests = {"P0": "d0", "P1": "d1"}
        write_well_manifest("E", split_wells(screen(), parameters), digests, parameters, folder)
    assert {f.name: f.read_bytes() for f in folders[0].iterdir()} == {
        f.name: f.read_bytes() for f in folders[1].iterdir()
    }
    record, wells = read_well_manifest(folders[0])
    pd.testing.assert_frame_equal(
        wells, split_wells(screen(), WellSplitParameters(seed=3)), check_dtype=False
    )
    assert {split: set(names) for split, names in record.compounds.items()} == {
        Split(name): found for name, found in compounds_by_split(wells).items()
    }
    assert np.array_equal(
        learned_from(wells), learned_from(split_wells(screen(), WellSplitParameters(seed=3)))
    )


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (WellSplitParameters(held_out_plates=("P9",)), "P9 is not one of P0, P1"),
        (WellSplitParameters(held_out_plates=("P0", "P1")), "names every plate"),
        (WellSplitParameters(test_fraction=0.9), "1 of 10 compounds are left"),
        (
            WellSplitParameters(out_of_distribution_plates=("P9",)),
            "out_of_distribution_plates: P9 is not one of P0, P1",
        ),
        (
            WellSplitParameters(held_out_plates=("P0",), out_of_distribution_plates=("P1",)),
            "held_out_plates and out_of_distribution_plates name every plate",
        ),
    ],
)
def test_what_leaves_nothing_to_learn_from_is_named(parameters: WellSplitParameters, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        split_wells(screen(), parameters.model_copy(update={"val_fraction": 0.0}))


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"well_manifest.json: cannot be read"):
        read_well_manifest(tmp_path)
