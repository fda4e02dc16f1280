"""Relevance: debris in pairs counted by hand, scipy's rank correlation, and cells whose place is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.relevance_study import (
    debris_found,
    kept_cells,
    means_of_kept,
    paired_retrieval,
    randomly_kept_cells,
    relevance_correlations,
)
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import Question, retrieve

STARTS = np.array([0, 4, 9])


def many_wells(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relevance of 12 wells, debris among it, and starts: debris scores lower by one standard deviation."""
    random = np.random.default_rng(seed)
    starts = np.arange(13) * 50
    debris = random.random(600) < 0.2
    return random.normal(size=600) - debris, debris, starts


def test_debris_is_counted_in_pairs_within_wells() -> None:
    relevance = np.array([0.1, 0.5, 0.4, 0.9, 0.3, 0.3, 0.8, 0.2, 0.6])
    debris = np.array([1, 0, 1, 0, 1, 0, 0, 0, 0], bool)
    cells = ~debris
    cells[8] = False
    found = debris_found({"relevance": relevance, "none": np.zeros(9)}, debris, cells, STARTS)
    # Well 0: both pieces below both cells. Well 1: 0.3 beside 0.3 (half), 0.8 (one) and 0.2 (none); 0.6 is neither.
    assert found["relevance"].auroc.value == pytest.approx((1 + 0.5) / 2)
    assert found["none"].auroc.value == 0.5
    assert found["relevance"].gain["none"].value == pytest.approx(0.25)
    assert found["relevance"].auroc.low is None and found["relevance"].auroc.n_units == 2


def test_debris_that_scores_lower_is_found_with_an_interval_over_wells() -> None:
    relevance, debris, starts = many_wells()
    found = debris_found({"relevance": relevance, "turned": -relevance}, debris, ~debris, starts)
    auroc, gain = found["relevance"].auroc, found["relevance"].gain["turned"]
    assert auroc.value is not None and auroc.low is not None and auroc.high is not None
    # Normal scores one standard deviation apart: Φ(1/√2) = .760.
    assert auroc.low < 0.76 < auroc.high and auroc.n_units == 12
    assert auroc.high - auroc.low < 0.15
    assert found["turned"].auroc.value == pytest.approx(1 - auroc.value)
    assert gain.value == pytest.approx(2 * auroc.value - 1) and gain.low is not None and gain.low > 0.3


def test_scaling_scores_within_wells_changes_nothing() -> None:
    relevance, debris, starts = many_wells()
    scaled = relevance * np.repeat(np.arange(1, 13), 50) + np.repeat(np.arange(12), 50)
    found = debris_found({"one": relevance, "other": scaled}, debris, ~debris, starts)
    assert found["one"].auroc == found["other"].auroc


def test_rank_correlations_are_scipys_mean_over_wells_and_ordered() -> None:
    random = np.random.default_rng(3)
    starts = np.arange(9) * 30
    relevance = random.random(240)
    features = random.normal(size=(240, 4)).astype(np.float32)
    features[:, 1] += 3 * relevance
    features[:, 2] -= 3 * relevance
    features[:, 3] = 7
    features[:30, 0] = 1
    found = relevance_correlations(relevance, features, ("noise", "up", "down", "constant"), starts)
    assert [one.feature for one in found] == ["up", "noise", "down", "constant"]
    by_name = {one.feature: one.correlation for one in found}
    for place, name in enumerate(("noise", "up", "down")):
        rows = [slice(a, a + 30) for a in starts[:-1] if not (name == "noise" and a == 0)]
        expected = np.mean([spearmanr(relevance[row], features[row, place]).statistic for row in rows])
        assert by_name[name].value == pytest.approx(expected, abs=1e-6)
        assert by_name[name].n_units == len(rows)
    up = by_name["up"]
    assert up.low is not None and up.high is not None and 0.4 < up.low < up.value < up.high < 0.9
    assert by_name["constant"].value is None and by_name["constant"].why_missing is not None
    noise = by_name["noise"]
    assert noise.low is not None and noise.high is not None and noise.low < 0 < noise.high


def test_wells_lose_their_own_least_relevant_cells() -> None:
    relevance = np.array([0.9, 0.1, 0.5, 0.2, 0.3, 0.3, 0.8, 0.2, 0.6])
    # A quarter of four cells is one, of five one.
    assert np.flatnonzero(~kept_cells(relevance, STARTS, 0.25)).tolist() == [1, 7]
    # A fifth of four cells is none.
    assert np.flatnonzero(~kept_cells(relevance, STARTS)).tolist() == [7]
    assert kept_cells(relevance, STARTS, 0).all()
    # Ties go in order, and a well keeps one cell whatever the share.
    assert np.flatnonzero(kept_cells(np.zeros(9), STARTS, 0.99)).tolist() == [3, 8]
    with pytest.raises(BadInputError, match="a share of 1 cannot be dropped"):
        kept_cells(relevance, STARTS, 1)


def test_a_random_share_is_as_large_in_every_well_and_seeded() -> None:
    relevance, _, starts = many_wells()
    kept = kept_cells(relevance, starts)
    drawn, again, other = (randomly_kept_cells(kept, starts, seed=seed) for seed in (1, 1, 2))
    assert drawn.reshape(12, 50).sum(1).tolist() == [40] * 12
    assert np.array_equal(drawn, again) and not np.array_equal(drawn, other)
    assert not np.array_equal(drawn[:50], drawn[50:100])


def test_means_are_of_kept_cells_and_a_well_without_any_is_named() -> None:
    features = np.arange(18, dtype=np.float32).reshape(9, 2)
    kept = np.array([1, 0, 0, 1, 0, 1, 1, 0, 0], bool)
    np.testing.assert_array_equal(means_of_kept(features, kept, STARTS), [[3, 4], [11, 12]])
    kept[:4] = False
    with pytest.raises(BadInputError, match="wells at places 0 have no cell left"):
        means_of_kept(features, kept, STARTS)


def retrieved(noise: float, seed: int) -> Profiles:
    """Six mechanisms of three compounds of two treatments."""
    random = np.random.default_rng(seed)
    moa = np.repeat(np.arange(6), 6)
    metadata = pd.DataFrame(
        {
            "Metadata_Compound": [f"c{i}" for i in np.arange(36) // 2],
            "Metadata_MoA": [f"m{i}" for i in moa],
        }
    )
    features = random.normal(size=(6, 20))[moa] + noise * np.random.default_rng([seed, 1]).normal(
        size=(36, 20)
    )
    return Profiles(metadata, features, tuple(f"f{i}" for i in range(20)))


def test_pairs_are_of_the_same_compounds() -> None:
    question = Question("Metadata_MoA", apart=("Metadata_Compound",))
    clean, noisy = retrieved(0.5, 1), retrieved(3.0, 1)
    found = paired_retrieval(clean, noisy, question)
    assert found.one == retrieve(clean, question).mean_average_precision
    assert found.other == retrieve(noisy, question).mean_average_precision
    assert found.one.value is not None and found.other.value is not None and found.gain.low is not None
    assert found.gain.value == pytest.approx(found.one.value - found.other.value)
    assert found.gain.low > 0 and found.gain.n_units == 18
    assert found.chance == pytest.approx(retrieve(clean, question).chance)
    same = paired_retrieval(clean, clean, question).gain
    assert (same.value, same.low, same.high) == (0, 0, 0)
    turned = Profiles(noisy.metadata.iloc[::-1].reset_index(drop=True), noisy.features, noisy.names)
    with pytest.raises(BadInputError, match="the two kinds of profiles differ in rows"):
        paired_retrieval(clean, turned, question)


def test_what_does_not_fit_is_named() -> None:
    ones, none = np.ones(9, bool), np.zeros(9, bool)
    with pytest.raises(BadInputError, match="score short: is of 8 cells, and the wells hold 9"):
        debris_found({"short": np.zeros(8)}, ones, none, STARTS)
    with pytest.raises(BadInputError, match="9 rows are debris and cells at once"):
        debris_found({"all": np.zeros(9)}, ones, ones, STARTS)
    with pytest.raises(BadInputError, match="none of 2 wells holds debris and cells"):
        debris_found({"all": np.zeros(9)}, none, ones, STARTS)
    with pytest.raises(BadInputError, match="features have 2 columns and 1 names"):
        relevance_correlations(np.zeros(9), np.zeros((9, 2), np.float32), ("one",), STARTS)
