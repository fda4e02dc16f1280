"""Common features of plates, and those that pycytominer keeps."""

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.profile_selection import (
    ProfileSelectionParameters,
    SelectionStep,
    selected,
)
from cell_assets.evaluation.retrieval.profiles import Profiles

BLOCKED = "Nuclei_Correlation_Manders_AGP_DNA"


def plate(name: str, seed: int, *names: str) -> Profiles:
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"Metadata_Plate": name, **{feature: random.normal(size=30) for feature in names}},
        index=range(30),
    )
    if "Cells_Twin" in names:
        table["Cells_Twin"] = 2 * table["Cells_A"] + 0.01 * random.normal(size=30)
    if "Cells_Flat" in names:
        table["Cells_Flat"] = 0.5
    return Profiles.of_table(table)


def test_features_that_go_are_named_with_their_reason() -> None:
    names = ("Cells_A", "Cells_B", "Cells_Twin", "Cells_Flat", BLOCKED)
    found = selected(
        {"P": plate("P", 0, *names, "Cells_Own"), "Q": plate("Q", 1, *reversed(names), "Cells_Other")}
    )
    assert len(found.profiles) == 60 and set(found.profiles.metadata["Metadata_Plate"]) == {"P", "Q"}
    twin = {"Cells_A", "Cells_Twin"} - set(found.profiles.names)
    assert len(twin) == 1 and "Cells_B" in found.profiles.names
    assert found.lost == {
        "Cells_Own": "plate Q has no such feature",
        "Cells_Other": "plate P has no such feature",
        BLOCKED: "pycytominer's blocklist names it",
        "Cells_Flat": "it hardly varies between wells",
        twin.pop(): "another feature says the same",
    }
    b = found.profiles.features[:, found.profiles.names.index("Cells_B")]
    np.testing.assert_array_equal(b[30:], plate("Q", 1, *reversed(names)).features[:, 3])


def test_without_steps_all_common_features_stay() -> None:
    one = plate("P", 0, "Cells_A", "Cells_Twin")
    found = selected({"P": one}, ProfileSelectionParameters(steps=()))
    np.testing.assert_array_equal(found.profiles.features, one.features)
    assert found.lost == {} and found.notes == ()


def test_too_many_features_keep_their_correlations_and_it_is_said() -> None:
    parameters = ProfileSelectionParameters(max_correlated_features=2)
    found = selected({"P": plate("P", 0, "Cells_A", "Cells_B", "Cells_Twin")}, parameters)
    assert len(found.profiles.names) == 3
    assert "features that correlate are kept: 3 have too many pairs" in found.notes[0]


def test_nothing_left_is_named() -> None:
    with pytest.raises(BadInputError, match=r"no feature of 2 is left .*has no such feature"):
        selected({"P": plate("P", 0, "Cells_A"), "Q": plate("Q", 0, "Cells_B")})
    with pytest.raises(BadInputError, match=r"no feature of 1 is left .*hardly varies"):
        parameters = ProfileSelectionParameters(steps=(SelectionStep.VARIANCE,))
        selected({"P": plate("P", 0, "Cells_Flat")}, parameters)
    with pytest.raises(BadInputError, match="no profiles of any plate"):
        selected({})
