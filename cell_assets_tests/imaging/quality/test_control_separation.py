"""Z′ and SSMD: a table worked by hand, the plate of a real dose response, and plates that lack controls."""

import math

import numpy as np
import pandas as pd
import pytest

from cell_assets.imaging.quality.control_separation import (
    UNTREATED,
    control_groups,
    control_separation,
    separation,
)
from cell_assets.ledger.records import WellDraft


def control(name: str, perturbation: str | None, dose: float | None = None) -> WellDraft:
    return WellDraft(name, "compound", perturbation, dose, "µM" if dose is not None else None, None, True)


def test_by_hand() -> None:
    """10, 12, 14 (mean 12, sd 2, MAD 2) against 50, 53, 56 (mean 53, sd 3, MAD 3)."""
    found = separation([10, 12, 14], [50, 53, 56])
    assert found.z_prime == pytest.approx(1 - 15 / 41)
    assert found.robust_z_prime == pytest.approx(1 - 3 * 1.4826 * 5 / 41)
    assert found.ssmd == pytest.approx(-41 / math.sqrt(13))
    assert found.robust_ssmd == pytest.approx(-41 / (1.4826 * math.sqrt(13)))


def test_one_wild_well_moves_only_the_plain_scores() -> None:
    calm, wild = (
        separation([10, 11, 12, 13, 14], [50, 51, 52, 53, 54]),
        separation([10, 11, 12, 13, 90], [50, 51, 52, 53, 54]),
    )
    assert wild.robust_z_prime == calm.robust_z_prime
    assert wild.z_prime is not None and calm.z_prime is not None
    assert wild.z_prime < 0 < calm.z_prime


def test_where_a_score_has_no_meaning() -> None:
    assert separation([1, 3], [0, 4]).z_prime is None
    assert separation([5, 5], [9, 9]).ssmd is None
    assert separation([5, 5], [9, 9]).z_prime == 1.0


def test_controls_are_told_apart_by_perturbation_and_dose() -> None:
    wells = [
        control("A/1", "DMSO"),
        control("A/2", "drug", 10.0),
        control("A/3", "drug", 1.0),
        control("A/4", None),
        control("A/5", "DMSO"),
        WellDraft("A/6", "compound", "other", is_control=False),
        WellDraft("A/7"),
    ]
    assert control_groups(wells) == {
        "DMSO": ("A/1", "A/5"),
        "drug 1 µM": ("A/3",),
        "drug 10 µM": ("A/2",),
        UNTREATED: ("A/4",),
    }


def values(**by_well: float) -> pd.DataFrame:
    wells = [f"{name[0]}/{name[1:]}" for name in by_well]
    return pd.DataFrame({"channel": "DNA", "well": wells, "signal": list(by_well.values())})


def test_a_table_of_pairs() -> None:
    wells = [control(f"A/{k}", "DMSO" if k < 4 else "drug") for k in range(1, 7)]
    table = control_separation(values(A1=10, A2=12, A3=14, A4=50, A5=53, A6=56), ["signal"], wells)
    (row,) = table.to_dict("records")
    assert (row["control"], row["other_control"]) == ("DMSO", "drug")
    assert (row["n_wells"], row["n_other_wells"]) == (3, 3)
    assert pd.isna(row["why_missing"])
    assert row["z_prime"] == pytest.approx(1 - 15 / 41)


@pytest.mark.parametrize(
    ("wells", "why"),
    [
        ([WellDraft("A/1"), WellDraft("A/2", is_control=False)], "names no control wells"),
        ([control("A/1", "DMSO"), control("A/2", "DMSO")], "one sort of control, DMSO"),
        ([control("A/1", "DMSO"), control("A/2", "drug"), control("A/3", "drug")], r"DMSO has 1 well\(s\)"),
        ([control("A/1", "DMSO"), control("A/9", "DMSO"), control("A/2", "drug")], r"DMSO has 1 well\(s\)"),
    ],
)
def test_a_plate_without_controls_says_why(wells: list[WellDraft], why: str) -> None:
    table = control_separation(values(A1=1.0, A2=2.0, A3=4.0), ["signal"], wells)
    assert table["why_missing"].str.contains(why).all() and len(table) == 1
    assert table[["z_prime", "robust_z_prime", "ssmd", "robust_ssmd"]].isna().to_numpy().all()


def test_wells_without_a_value_do_not_count() -> None:
    wells = [control(f"A/{k}", "DMSO" if k < 3 else "drug") for k in range(1, 6)]
    table = control_separation(values(A1=1.0, A2=2.0, A3=8.0, A4=np.nan, A5=9.0), ["signal"], wells)
    assert table["n_other_wells"].tolist() == [2]
