"""Plate maps: every form that is read, and every fault with its line."""

from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.plate_map import read_plate_map
from cell_assets.ledger.records import WellDraft

WELLS = ("A/1", "A/2", "B/1", "B/12")


def read(tmp_path: Path, text: str) -> tuple[WellDraft, ...]:
    path = tmp_path / "map.csv"
    path.write_text(text, encoding="utf-8")
    return read_plate_map(path, WELLS)


def test_compounds_with_dose(tmp_path: Path) -> None:
    wells = read(
        tmp_path,
        "well,compound,dose,dose_unit,moa,is_control\n"
        "A1,DMSO,,,,yes\n"
        "B12,taxol,0.3,µM,tubulin stabiliser,no\n"
        "A02,,,,,\n",
    )
    assert wells == (
        WellDraft("A/1", "compound", "DMSO", is_control=True),
        WellDraft("A/2"),
        WellDraft("B/1"),
        WellDraft("B/12", "compound", "taxol", 0.3, "µM", "tubulin stabiliser", False),
    )


def test_moi_is_a_dose_with_its_own_unit(tmp_path: Path) -> None:
    wells = read(tmp_path, "well,virus,moi,dose_unit\nA/1,DENV,5,MOI\na/2,DENV,0,\n")
    assert wells[0] == WellDraft("A/1", "virus", "DENV", 5.0, "MOI")
    assert wells[1] == WellDraft("A/2", "virus", "DENV", 0.0, "MOI")


def test_type_and_name_in_two_columns(tmp_path: Path) -> None:
    wells = read(tmp_path, "well,perturbation_type,perturbation\nA/1,Gene,TP53\nA/2,guide,TP53_g1\n")
    assert wells[0] == WellDraft("A/1", "gene", "TP53")
    assert wells[1] == WellDraft("A/2", "guide", "TP53_g1")


def test_a_byte_order_mark_and_spaces_and_empty_lines_are_read_over(tmp_path: Path) -> None:
    wells = read(tmp_path, "\ufeffWell, Compound\n A1 , water \n\n,\n")
    assert wells[0] == WellDraft("A/1", "compound", "water")


@pytest.mark.parametrize("name", ["A1", "A01", "a1", "A/1", "A/01", "A 1", "A001"])
def test_names_of_one_well(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"well,gene\n{name},X\n")[0].perturbation == "X"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("well,compound\nC3,x\n", "line 2: well 'C3' is not on the plate, which has A/1, A/2, B/1, B/12"),
        ("well,compound\nA1,x\nA01,y\n", "line 3: well 'A01' is already given in line 2"),
        ("well,drug\nA1,x\n", "line 1: unknown column 'drug'"),
        ("compound\nx\n", "line 1: column 'well' is missing"),
        ("", "line 1: column 'well' is missing"),
        ("well,moa,moa\nA1,x,y\n", "line 1: column 'moa' is given twice"),
        ("well,compound,dose,dose_unit\nA1,x,1O,µM\n", "line 2: dose is '1O'; give a number"),
        ("well,compound,dose,dose_unit\nA1,x,-1,µM\n", "line 2: dose is '-1'; give a number from 0"),
        ("well,compound,dose,dose_unit\nA1,x,nan,µM\n", "line 2: dose is 'nan'; give a number from 0"),
        ("well,compound,dose,dose_unit\nA1,x,1,\n", "line 2: dose '1' has no unit"),
        ("well,compound,dose\nA1,x,1\n", "line 2: dose '1' has no unit"),
        ("well,virus,moi,dose_unit\nA1,x,1,µM\n", "line 2: dose_unit is 'µM', but the unit of moi is MOI"),
        ("well,virus,moi,dose,dose_unit\nA1,x,1,2,µM\n", "line 2: both dose '2' and moi '1' are given"),
        (
            "well,compound,gene\nA1,x,y\n",
            "line 2: a well has one perturbation, but compound 'x' and gene 'y'",
        ),
        ("well,perturbation_type\nA1,gene\n", "line 2: perturbation_type is 'gene' and perturbation is ''"),
        (
            "well,perturbation_type,perturbation\nA1,drug,x\n",
            "line 2: perturbation_type is 'drug'; give one of compound, gene, guide, virus",
        ),
        ("well,is_control\nA1,maybe\n", "line 2: is_control is 'maybe'; give true or false"),
        ("well,compound\nA1\n", "line 2: 1 fields, but the header has 2"),
    ],
)
def test_faults_name_file_line_field_and_value(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'map.csv'}, {expected}")


def test_a_map_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_bytes(b"well,compound\nA1,\xff\xfe\n")
    with pytest.raises(BadInputError, match="cannot be read as UTF-8 text"):
        read_plate_map(path, WELLS)
