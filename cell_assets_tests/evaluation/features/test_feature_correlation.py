"""Rank correlations against scipy, under weights and gaps; the cells at a component's ends."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cell_assets.evaluation.features.cell_features import CellFeatures, ratio_baselines
from cell_assets.evaluation.features.feature_correlation import (
    FeatureCorrelations,
    correlate_features,
    extreme_rows,
    rank_correlations,
)
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, study_embeddings
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets_tests.evaluation.movies import track_table


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 40), levels=st.integers(2, 30))
def test_weights_are_repeated_rows_and_ties_share_their_rank(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, levels, (n, 2)).astype(float), rng.normal(size=(n, 3)).round(1)
    weights = rng.integers(0, 4, (2, n)).astype(float)
    found = rank_correlations(first, second, weights)
    assert found.shape == (2, 3, 2)
    for b, f, k in np.ndindex(found.shape):
        rows = np.repeat(np.arange(n), weights[b].astype(int))
        x, y = first[rows, k], second[rows, f]
        if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
            assert np.isnan(found[b, f, k])
        else:
            assert found[b, f, k] == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


def embedded(n_tracks: int = 60) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Cells, an embedding whose first direction is large, and features that follow it, oppose it, or do neither."""
    cells = track_table(n_tracks=n_tracks)
    rng = np.random.default_rng(4)
    embedding = rng.normal(size=(len(cells), 8))
    embedding[:, 2] *= 20
    features = pd.DataFrame(
        {
            "Nuclei_AreaShape_Area": np.exp(embedding[:, 2] / 10),
            "Nuclei_AreaShape_Solidity": -embedding[:, 2] + rng.normal(0, 10, len(cells)),
            "Nuclei_Intensity_MeanIntensity_Phase": rng.normal(size=len(cells)),
            "Cytoplasm_Intensity_MeanIntensity_Phase": 3.0,
            "Nuclei_Ring_Ratio_mCherry": np.where(cells["infection_state"] == "infected", 2.0, 1.0),
        }
    )
    return cells, embedding, features


def correlated(cells: pd.DataFrame, embedding: np.ndarray, features: pd.DataFrame) -> FeatureCorrelations:
    measured = CellFeatures(features, {"Phase": "Phase", "mCherry": "mCherry"})
    return correlate_features(embedding, cells, measured, test_split="test", seed=1, n_resamples=200)


def test_the_strongest_feature_of_a_component_is_found_on_test_cells_with_an_interval_over_tracks() -> None:
    cells, embedding, features = embedded()
    test = (cells["split"] == "test").to_numpy()
    features.loc[~test, "Nuclei_AreaShape_Area"] = 0.0  # what is not tested on must not count
    found = correlated(cells, embedding, features)
    best = found.strongest(0)
    assert best is not None and found.features[best] == "Nuclei_AreaShape_Area"
    estimate = found.estimates[best][0]
    assert abs(estimate.value or 0) > 0.99
    solidity = found.estimates[1][0]
    expected = spearmanr(found.components[test, 0], features.loc[test, "Nuclei_AreaShape_Solidity"]).statistic
    assert solidity.value == pytest.approx(expected)
    assert solidity.value is not None and solidity.low is not None and solidity.high is not None
    assert solidity.low < solidity.value < solidity.high
    assert solidity.n_units == 12  # tracks, not the 96 cells
    noise = found.estimates[2][0]
    assert noise.low is not None and noise.high is not None and noise.low < 0 < noise.high


def test_what_cannot_be_correlated_says_why_and_gaps_leave_out_their_own_rows_alone() -> None:
    cells, embedding, features = embedded()
    test = (cells["split"] == "test").to_numpy()
    gaps = np.flatnonzero(test)[::3]
    features.loc[gaps, "Nuclei_AreaShape_Solidity"] = np.nan
    features["Nuclei_AreaShape_FormFactor"] = np.nan
    found = correlated(cells, embedding, features)
    kept = np.setdiff1d(np.flatnonzero(test), gaps)
    expected = spearmanr(found.components[kept, 1], features.loc[kept, "Nuclei_AreaShape_Solidity"]).statistic
    by_name = dict(zip(found.features, found.estimates, strict=True))
    assert by_name["Nuclei_AreaShape_Solidity"][1].value == pytest.approx(expected)
    assert found.n_unmeasured == 0
    constant = by_name["Cytoplasm_Intensity_MeanIntensity_Phase"][0]
    assert (constant.value, constant.why_missing) == (
        None,
        "the feature is the same in all cells that have it",
    )
    assert by_name["Nuclei_AreaShape_FormFactor"][0].why_missing == "no test cell has this feature"


def test_interquartile_ranges_are_drawn_behind_the_measured_features_and_change_nothing_of_them() -> None:
    cells, embedding, features = embedded()
    features = features.drop(columns="Nuclei_AreaShape_Area")
    before = correlated(cells, embedding, features)
    assert before.n_derived == 0
    test = (cells["split"] == "test").to_numpy()
    # The range follows the first component more closely than anything that was measured.
    spread, middle = np.exp(embedding[:, 2] / 20), np.random.default_rng(1).normal(0, 9, len(cells))
    quartiles = features.assign(
        Nuclei_Intensity_LowerQuartileIntensity_Phase=middle - spread / 2,
        Nuclei_Intensity_UpperQuartileIntensity_Phase=middle + spread / 2,
        Nuclei_Intensity_UpperQuartileIntensity_mCherry=middle,
    )
    found = correlated(cells, embedding, quartiles)
    assert found.features == (*quartiles.columns, "Nuclei_Intensity_InterquartileRange_Phase")
    assert found.estimates[: len(before.features)] == before.estimates
    for component in range(5):
        expected = spearmanr(found.components[test, component], spread[test]).statistic
        assert found.estimates[-1][component].value == pytest.approx(expected)
        best = found.strongest(component)
        assert best is not None and best < found.n_measured == len(quartiles.columns)


def test_the_ends_of_a_component_show_each_track_once() -> None:
    component = np.array([5.0, 1.0, 0.0, 9.0, 8.0, 2.0])
    tracks = np.array(["a", "a", "a", "b", "b", "c"])
    low, high = extreme_rows(component, tracks, 2)
    assert low.tolist() == [2, 5]
    assert high.tolist() == [0, 3]
    low, high = extreme_rows(component, tracks, 9)
    assert low.tolist() == [2, 5, 4]
    assert high.tolist() == [5, 0, 3]


def study(features: pd.DataFrame) -> list[tuple[str, str, float | None]]:
    cells, embedding, _ = embedded()
    found = study_embeddings(
        EmbeddedCells(embedding, cells.assign(condition="mock"), embedding[:, :2], None),
        cells[["plate", "fov_name", "track_id", "t", "infection_state"]],
        tracks=cells,
        method="dynaclr",
        split_unit=SplitUnit.TRACK,
        interval_min=30.0,
        simulated=False,
        parameters=StudyParameters(n_resamples=100),
        features=CellFeatures(features, {"Phase": "Phase", "mCherry": "mCherry"}),
    )
    return [(one.report, one.name, one.value) for one in found.evaluation.numbers]


def test_a_report_states_one_correlation_a_component_and_the_ratio_beside_the_embedding() -> None:
    _, _, features = embedded()
    numbers = study(features)
    ours = [one for one in numbers if one[0] == "dynaclr/image_features"]
    assert len(ours) == 5
    assert ours[0][1] == "rank_correlation_pc1_Nuclei_AreaShape_Area"
    by_name = {name: value for report, name, value in numbers if report == "dynaclr/infection_state"}
    assert by_name["average_precision_ratio_mCherry"] == 1.0  # the made-up ratio tells the state
    assert (by_name["average_precision_gain_over_ratio_mCherry"] or 0) < -0.3


def test_a_ratio_of_few_cells_gets_the_median_and_one_of_many_is_no_baseline() -> None:
    ratio = np.append(np.arange(1.0, 20.0), np.nan)
    values = pd.DataFrame({"Nuclei_Ring_Ratio_mCherry": ratio, "Nuclei_Ring_Ratio_GFP": np.nan})
    values["Nuclei_Ring_Ratio_CFP"] = np.where(np.arange(20) < 3, np.nan, 1.0)
    channels = {"Phase": "Phase", "mCherry": "mCherry", "GFP": "GFP", "CFP": "CFP"}
    baselines, notes = ratio_baselines(CellFeatures(values, channels))
    assert [one.name for one in baselines] == ["ratio_mCherry", "ratio_GFP", "ratio_CFP"]
    assert baselines[0].values.tolist() == [*range(1, 20), 10.0]
    assert np.isnan(baselines[1].values).all()
    assert np.isnan(baselines[2].values).sum() == 3
    (note,) = notes
    assert "not known of 1 of 20 cell images" in note


def test_the_features_of_a_channel_are_its_own() -> None:
    names = ["Nuclei_AreaShape_Area", "Nuclei_Ring_Ratio_GFP", "Nuclei_RadialDistribution_MeanFrac_GFP_1of4"]
    names += [
        "Nuclei_Texture_Contrast_GFP_3",
        "Cytoplasm_Intensity_MeanIntensity_GFP_ER",
        "Nuclei_Ring_Ratio_mGFP",
    ]
    features = CellFeatures(pd.DataFrame(columns=names), {"GFP": "GFP", "GFP ER": "GFP_ER"})
    assert features.of_channel("GFP") == tuple(names[1:4])
    assert features.of_channel("GFP ER") == (names[4],)
