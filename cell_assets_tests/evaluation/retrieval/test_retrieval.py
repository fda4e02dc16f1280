"""Retrieval of profiles: real mechanisms of action, ranks by hand, an independent library, and chance."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.profiles import Profiles, read_profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import (
    Question,
    expected_average_precision,
    ranked_queries,
    retrieve,
)
from cell_assets_tests.shared_data import shared_data

COMPOUND, MOA = "Metadata_Compound", "Metadata_moa"
MECHANISM = Question(MOA, apart=(COMPOUND,))


def drawn(seed: int, n: int = 24) -> Profiles:
    """Two replicates of each of 12 compounds, of four mechanisms; the last compound is alone in its own."""
    random = np.random.default_rng(seed)
    compound = np.arange(n) % 12
    moa = np.where(compound == 11, 9, compound % 4)
    features = random.normal(size=(n, 6)) + random.normal(size=(10, 6))[moa]
    metadata = pd.DataFrame({COMPOUND: [f"c{i}" for i in compound], MOA: [f"m{i}" for i in moa]})
    return Profiles(metadata, features, tuple("abcdef"))


def bbbc021() -> Profiles:
    """Treatments of BBBC021, without the negative control."""
    wells = read_profiles(shared_data("bbbc021_profiles") / "BBBC021_feature_selected_mad_robustize.csv")
    wells.metadata["Metadata_Week"] = wells.metadata["Metadata_Plate"].str.partition("_")[0]
    treated = wells.select(wells.metadata[COMPOUND] != "DMSO")
    return treatment_profiles(treated, [COMPOUND, "Metadata_Concentration"])


def test_real_mechanisms_come_out_as_measured_by_the_fields_recipe() -> None:
    profiles = bbbc021()
    assert len(profiles) == 103 and profiles.features.shape == (103, 189)
    found = retrieve(profiles, MECHANISM)
    assert found.nearest.value == pytest.approx(0.913, abs=0.0005)
    assert found.mean_average_precision.value == pytest.approx(0.819, abs=0.005)
    assert found.prevalence == pytest.approx(0.060, abs=0.0005)
    assert len(found.without_partner) == 0
    assert found.mean_average_precision.n_units == 38
    # Random orders of these very profiles, 20 of them: .0997 ± .0014.
    assert found.chance == pytest.approx(0.0997, abs=0.003)
    assert found.by_unit.set_index(COMPOUND)["p_value"]["taxol"] < 0.001
    assert found.by_unit.set_index(COMPOUND)["p_value"]["colchicine"] > 0.9


def test_of_another_batch_alone_fewer_are_asked_and_fewer_found() -> None:
    found = retrieve(bbbc021(), Question(MOA, apart=(COMPOUND, "Metadata_Week")))
    # 92 treatments is what the field counts here (Ando et al. 2017).
    assert len(found.queries) == 92
    assert set(found.without_partner[MOA]) == {"Kinase inhibitors", "Cholesterol-lowering"}
    assert found.nearest.value == pytest.approx(68 / 92)
    assert found.mean_average_precision.value == pytest.approx(0.731, abs=0.0005)


def test_ranks_by_hand() -> None:
    # Angles in degrees from the first: the nearest two are wrong, right, the last right.
    angles = np.deg2rad([0, 10, 20, 30, 40])
    metadata = pd.DataFrame({COMPOUND: list("abcde"), MOA: ["m", "n", "m", "n", "m"]})
    profiles = Profiles(metadata, np.stack([np.cos(angles), np.sin(angles)], 1), ("x", "y"))
    queries = retrieve(profiles, MECHANISM).queries.set_index(COMPOUND)
    assert queries.loc["a", "average_precision"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert queries.loc["b", "average_precision"] == pytest.approx(1 / 3)
    assert queries.loc["a", ["n_positives", "n_ranked", "nearest_is_right"]].tolist() == [2, 4, 0]
    assert queries.loc["b", "prevalence"] == 0.25


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_against_scikit_learn(seed: int) -> None:
    profiles = drawn(seed)
    found = retrieve(profiles, MECHANISM, n_resamples=100)
    unit = profiles.features / np.linalg.norm(profiles.features, axis=1, keepdims=True)
    compound, moa = (profiles.metadata[column].to_numpy() for column in (COMPOUND, MOA))
    expected = []
    for row in range(len(profiles)):
        may = compound != compound[row]
        if (moa[may] == moa[row]).any():
            expected.append(average_precision_score(moa[may] == moa[row], (unit @ unit[row])[may]))
    assert found.queries["average_precision"].to_numpy() == pytest.approx(expected)
    assert set(found.without_partner[COMPOUND]) == {"c11"}
    alone = ranked_queries(profiles, MECHANISM).set_index(COMPOUND).loc["c11"]
    assert alone[["average_precision", "chance", "nearest_is_right"]].isna().all(axis=None)


@given(ranked=st.integers(1, 7), positives=st.integers(1, 7))
def test_chance_is_the_mean_over_all_orders(ranked: int, positives: int) -> None:
    positives = min(positives, ranked)
    orders = [np.isin(np.arange(ranked), places) for places in combinations(range(ranked), positives)]
    precision = [float(np.mean([order[: k + 1].mean() for k in np.flatnonzero(order)])) for order in orders]
    found = expected_average_precision(np.array([positives]), np.array([ranked]))
    assert found[0] == pytest.approx(np.mean(precision))


def test_profiles_of_treatments_keep_what_is_the_same_in_all_their_wells() -> None:
    metadata = pd.DataFrame(
        {COMPOUND: ["b", "a", "b", "b"], "Metadata_Well": list("1234"), MOA: ["m", "n", "m", "m"]}
    )
    wells = Profiles(metadata, np.array([[1.0, 5], [2, 6], [3, 1], [9, 2]]), ("x", "y"))
    found = treatment_profiles(wells, [COMPOUND])
    assert found.metadata.to_dict("list") == {COMPOUND: ["a", "b"], MOA: ["n", "m"]}
    assert found.features.tolist() == [[2, 6], [3, 2]]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({COMPOUND: ["a"], "x": [np.nan]}, "profile Compound a has no value of x, and 1 values are missing"),
        ({COMPOUND: ["a"], "x": [0.0]}, "profile Compound a is 0 in all 1 features"),
        ({COMPOUND: ["a"], "Well": ["A1"]}, "column Well holds no numbers"),
        ({COMPOUND: ["a"]}, "there is no column of features"),
    ],
)
def test_what_is_no_profile_is_named(table: dict[str, list[object]], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        Profiles.of_table(pd.DataFrame(table))


def test_a_question_without_an_answer_is_named(tmp_path: Path) -> None:
    alone = Question(MOA, apart=(MOA,))
    with pytest.raises(BadInputError, match="no profile has another of its Metadata_moa"):
        retrieve(drawn(0), alone)
    of_one = drawn(0).select(drawn(0).metadata[MOA] == "m1")
    with pytest.raises(BadInputError, match="all profiles that may be compared are of one Metadata_moa"):
        retrieve(of_one, MECHANISM)
    with pytest.raises(BadInputError, match="lacks the column"):
        retrieve(drawn(0), Question("Metadata_Gene"))
    with pytest.raises(BadInputError, match="cannot be read as profiles"):
        read_profiles(tmp_path / "none.csv")
