"""Which doses may be learned from, and what would let a held-out one train all the same."""

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.learned_doses import (
    DoseParameters,
    LearnedDoses,
    StatedDose,
    comparable_doses,
)
from cell_assets.evaluation.profiling.well_leakage import find_well_leakage
from cell_assets.evaluation.profiling.well_manifest import (
    COMPOUND,
    COMPOUND_SPLIT,
    DIGEST,
    DOSE,
    DOSE_SPLIT,
    DOSE_UNIT,
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

SERIES = {
    "a": [(10.0, "µM"), (3.33, "µM"), (1.0, "µM")],
    "b": [(3.33, "µM"), (500.0, "nM")],
    "c": [(10.0, "µM"), (3.3333, "\N{GREEK SMALL LETTER MU}M")],
    "d": [(1.0, "µM")],
    "e": [(10000.0, "nM"), (1.0, "µM")],
    "f": [(10.0, "µM")],
}
HIGHEST = DoseParameters(learned=LearnedDoses.HIGHEST)
THREE_MICROMOLAR = DoseParameters(
    learned=LearnedDoses.STATED, stated_doses=(StatedDose(value=3.33, unit="uM"),)
)


def series(plates: tuple[str, ...] = ("P0", "P1")) -> pd.DataFrame:
    """Every dose of six compounds on every plate, and a control."""
    treatments = [(name, dose, unit) for name, doses in SERIES.items() for dose, unit in doses]
    drafts = [
        WellDraft(f"A/{n + 1}", "compound", name, dose, unit, "m", False)
        for n, (name, dose, unit) in enumerate(treatments)
    ]
    drafts.append(WellDraft("B/1", "compound", "DMSO", is_control=True))
    cells = {one.name: 5 for one in drafts}
    return pd.concat(
        [wells_table(plate, drafts, cells, {name: f"{plate} {name}" for name in cells}) for plate in plates],
        ignore_index=True,
    )


def split(doses: DoseParameters, wells: pd.DataFrame | None = None, **more: object) -> pd.DataFrame:
    parameters = WellSplitParameters.model_validate(
        {"val_fraction": 0, "test_fraction": 0, "doses": doses, **more}
    )
    return split_wells(series() if wells is None else wells, parameters)


def treatments_of(wells: pd.DataFrame) -> set[tuple[str, float]]:
    return set(wells[[COMPOUND, DOSE]].itertuples(index=False, name=None))


def test_molar_doses_are_compared_in_one_unit() -> None:
    found = comparable_doses(
        pd.Series([1.0, 1.0, 2.0, 5.0, float("nan")]),
        pd.Series(["µM", "\N{GREEK SMALL LETTER MU}M", "mM", "MOI", None], dtype="string"),
    )
    assert found["value"].tolist()[:4] == [1000, 1000, 2e6, 5]
    assert found["unit"].tolist()[:4] == ["nM", "nM", "nM", "MOI"]
    assert found.iloc[4].isna().all()


def test_by_default_every_dose_is_learned_from() -> None:
    wells = split(DoseParameters())
    assert learned_from(wells).sum() == 2 * 11
    assert set(wells[DOSE_SPLIT].dropna()) == {"learned"}
    assert wells.loc[wells[DOSE_SPLIT].isna(), COMPOUND].tolist() == ["DMSO", "DMSO"]


def test_of_each_compound_the_highest_dose_teaches_whatever_its_unit() -> None:
    wells = split(HIGHEST)
    assert treatments_of(wells[learned_from(wells)]) == {
        ("a", 10.0), ("b", 3.33), ("c", 10.0), ("d", 1.0), ("e", 10000.0), ("f", 10.0),
    }  # fmt: skip
    assert (wells[DOSE_SPLIT] == "held out").sum() == 2 * 5


def test_the_highest_dose_is_that_of_plates_to_learn_from() -> None:
    wells = series()
    wells.loc[(wells[PLATE] == "P1") & (wells[COMPOUND] == "d"), DOSE] = 30.0
    found = split(HIGHEST, wells, held_out_plates=("P1",))
    own = found[found[COMPOUND] == "d"].set_index(PLATE)[DOSE_SPLIT]
    assert own.to_dict() == {"P0": "learned", "P1": "held out"}
    # On the other plate is what would have been the highest.
    assert split(HIGHEST, wells).query(f"{COMPOUND} == 'd'")[DOSE_SPLIT].tolist() == ["held out", "learned"]


def test_stated_doses_alone_teach_and_compounds_without_one_test() -> None:
    wells = split(THREE_MICROMOLAR)
    assert treatments_of(wells[learned_from(wells)]) == {("a", 3.33), ("b", 3.33), ("c", 3.3333)}
    by_compound = wells.groupby(COMPOUND)[COMPOUND_SPLIT].first()
    assert by_compound[["d", "e", "f"]].tolist() == ["test"] * 3
    assert by_compound[["a", "b", "c"]].tolist() == ["train"] * 3


def test_validation_wells_are_of_learned_doses_too() -> None:
    wells = split(HIGHEST, val_fraction=0.34)
    validating = wells[learned_from(wells, Split.VAL)]
    assert validating[COMPOUND].nunique() == 2 and set(validating[DOSE_SPLIT]) == {"learned"}


@pytest.mark.parametrize(
    ("wells", "doses", "said"),
    [
        ({DOSE: None}, HIGHEST, "2 wells have no dose, such as one of d"),
        ({DOSE_UNIT: "mg/l"}, HIGHEST, None),
        ({}, THREE_MICROMOLAR.model_copy(update={"stated_doses": (StatedDose(value=7, unit="µM"),)}),
         "no well has 7 µM; there are 500 nM, 1000 nM, 3330 nM"),
    ],
)  # fmt: skip
def test_doses_that_cannot_be_told_apart_are_named(
    wells: dict[str, object], doses: DoseParameters, said: str | None
) -> None:
    screen = series()
    for column, value in wells.items():
        screen.loc[screen[COMPOUND] == "d", column] = value
    if said is None:
        # Units of different compounds need not agree.
        assert learned_from(split(doses, screen)).sum() == 12
        return
    with pytest.raises(BadInputError, match=said):
        split(doses, screen)


def test_a_compound_whose_units_do_not_compare_has_no_highest_dose() -> None:
    screen = series()
    screen.loc[(screen[COMPOUND] == "a") & (screen[DOSE] == 1.0), DOSE_UNIT] = "mg/l"
    with pytest.raises(BadInputError, match="doses of a are in mg/l and nM, of which none is the highest"):
        split(HIGHEST, screen)


def test_doses_are_stated_where_they_are_asked_for_and_nowhere_else() -> None:
    with pytest.raises(ValidationError, match="learned is 'stated' and stated_doses names 0 doses"):
        DoseParameters(learned=LearnedDoses.STATED)
    with pytest.raises(ValidationError, match="learned is 'all' and stated_doses names 1 doses"):
        DoseParameters(stated_doses=(StatedDose(value=1, unit="µM"),))


def test_too_few_compounds_at_the_stated_dose_are_counted() -> None:
    only = DoseParameters(learned=LearnedDoses.STATED, stated_doses=(StatedDose(value=0.5, unit="µM"),))
    with pytest.raises(BadInputError, match="1 of 6 compounds are left to learn from"):
        split(only)


def test_a_split_by_dose_leaks_nothing_and_counts_what_it_holds_out() -> None:
    found = find_well_leakage(split(HIGHEST))
    assert not found.leaks
    assert found.n_held_out_doses == 5


@pytest.mark.parametrize("learned", [Split.TRAIN, Split.VAL])
def test_a_held_out_dose_that_is_learned_from_under_another_name_is_found(learned: Split) -> None:
    screen = series()
    # Its own highest dose, as A is another compound by its name.
    screen.loc[screen[COMPOUND] == "d", [COMPOUND, DOSE, DOSE_UNIT]] = [" A", 3330.0, "nM"]
    wells = split(HIGHEST, screen)
    wells.loc[wells[COMPOUND] == " A", COMPOUND_SPLIT] = learned.value
    found = find_well_leakage(wells)
    assert found.doses == ("a 3.33 µM",)
    with pytest.raises(BadInputError, match=r"1 held-out doses are learned from too \(a 3.33 µM\)"):
        found.refuse("the well manifest of E")


def test_cells_of_a_held_out_dose_that_are_learned_from_are_found() -> None:
    wells = split(HIGHEST)
    wells.loc[2, DIGEST] = wells.loc[0, DIGEST]
    assert (wells.loc[2, DOSE_SPLIT], wells.loc[0, DOSE_SPLIT]) == ("held out", "learned")
    assert find_well_leakage(wells).copies == (("P0|A/3", "P0|A/1"),)


def test_a_manifest_is_read_back_and_one_of_the_version_before_learns_from_all(tmp_path: Path) -> None:
    parameters = WellSplitParameters(val_fraction=0, test_fraction=0, doses=HIGHEST)
    wells = split_wells(series(), parameters)
    write_well_manifest("E", wells, {"P0": "0", "P1": "1"}, parameters, tmp_path)
    record, again = read_well_manifest(tmp_path)
    assert record.parameters.doses == HIGHEST and record.version == 2
    pd.testing.assert_frame_equal(again, wells, check_dtype=False)
    json = tmp_path / "well_manifest.json"
    before = record.model_dump(mode="json") | {"version": 1}
    del before["parameters"]["doses"]
    json.write_text(pd.Series(before).to_json(), encoding="utf-8")
    wells.drop(columns=DOSE_SPLIT).to_parquet(tmp_path / "wells.parquet")
    _, old = read_well_manifest(tmp_path)
    assert learned_from(old).sum() == 22 and old[DOSE_SPLIT].isna().sum() == 2
    assert old[WELL].tolist() == wells[WELL].tolist()
