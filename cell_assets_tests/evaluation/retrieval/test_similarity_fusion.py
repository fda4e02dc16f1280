"""Fused similarities: snfpy's numbers, what any fusion must keep, and ranks from a similarity as copairs has them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.fused_profiles import FusedProfiles
from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import Question, ranked_queries, similarity_precision
from cell_assets.evaluation.retrieval.similarity_fusion import affinity, fused_similarity
from cell_assets.evaluation.units import FloatArray

COMPOUND, MOA = "Metadata_Compound", "Metadata_MoA"
DEGREES = ((0, 10, 25, 90, 100, 130), (0, 40, 15, 80, 120, 95), (5, 0, 60, 70, 140, 110))
"""Directions of six profiles of three kinds."""


def cosine_distances(degrees: tuple[int, ...]) -> FloatArray:
    angles = np.radians(degrees)
    return np.asarray(1 - np.cos(angles[:, None] - angles[None, :]))


def drawn(n: int, seed: int = 0) -> list[Profiles]:
    """Noise of three kinds of n profiles, of compounds with two profiles each and mechanisms of two compounds each."""
    random = np.random.default_rng(seed)
    known = pd.DataFrame({COMPOUND: [f"c{i // 2}" for i in range(n)], MOA: [f"m{i // 4}" for i in range(n)]})
    return [
        Profiles(known, random.normal(size=(n, width)), tuple(f"F{i}" for i in range(width)))
        for width in (4, 6, 9)
    ]


def side_by_side(kinds: Sequence[Profiles]) -> FusedProfiles:
    ends = np.cumsum([len(one.names) for one in kinds])
    columns = np.split(np.arange(ends[-1]), ends[:-1])
    whole = Profiles(
        kinds[0].metadata, np.hstack([one.features for one in kinds]), sum((one.names for one in kinds), ())
    )
    return FusedProfiles(whole, tuple(tuple(one.tolist()) for one in columns), SimilarityFusionParameters())


def test_affinities_and_fusion_are_those_of_snfpy() -> None:
    """Golden: snfpy 0.2.2, `affinity_matrix(d, K=3, mu=0.5)` and `snf(*affinities, K=3, t=…)`."""
    distances = [cosine_distances(one) for one in DEGREES]
    np.testing.assert_allclose(
        affinity(distances[0], 3, 0.5)[0],
        [3.237921220188, 3.505333522685, 2.478998497065, 0.001881453493, 0.000858858026, 0.000548441421],
        atol=1e-11,
    )
    two_rounds = [
        [1.070775363044, 0.209579878649, 0.157116351382, 0.033644664622, 0.013882796392, 0.014239234014],
        [0.209579878649, 1.081616786506, 0.148317433047, 0.032862481886, 0.013089804588, 0.013608655308],
        [0.157116351382, 0.148317433047, 1.043408788867, 0.085972557423, 0.030878646346, 0.034657764635],
        [0.033644664622, 0.032862481886, 0.085972557423, 1.046978097116, 0.145595220325, 0.156718070951],
        [0.013882796392, 0.013089804588, 0.030878646346, 0.145595220325, 1.080300971473, 0.215223210245],
        [0.014239234014, 0.013608655308, 0.034657764635, 0.156718070951, 0.215223210245, 1.066146453367],
    ]
    fused = fused_similarity(distances, SimilarityFusionParameters(neighbours=3, iterations=2))
    np.testing.assert_allclose(fused, two_rounds, atol=1e-11)
    ten = fused_similarity(distances, SimilarityFusionParameters(neighbours=3))
    np.testing.assert_allclose(
        ten[0],
        [0.82400166663, 0.225336575097, 0.191047135026, 0.10252116512, 0.076221224749, 0.076641410594],
        atol=1e-11,
    )


def test_it_is_symmetric_and_knows_no_order_of_profiles_or_kinds() -> None:
    kinds = drawn(24)
    fused = side_by_side(kinds).similarity()
    np.testing.assert_array_equal(fused, fused.T)
    order = np.random.default_rng(1).permutation(24)
    moved = [
        Profiles(one.metadata.iloc[order].reset_index(drop=True), one.features[order], one.names)
        for one in kinds
    ]
    again = side_by_side([moved[2], moved[0], moved[1]]).similarity()
    np.testing.assert_allclose(again, fused[np.ix_(order, order)], rtol=1e-9)


def test_equal_similarities_keep_their_neighbourhoods() -> None:
    # Three groups, each far from the others in all three kinds, which are one and the same.
    random = np.random.default_rng(0)
    group = np.arange(24) % 3
    features = np.eye(3)[group] + 0.05 * random.normal(size=(24, 3))
    one = Profiles(pd.DataFrame({COMPOUND: group}), features, tuple("abc"))
    fused = side_by_side([one, one, one]).similarity()
    np.fill_diagonal(fused, -np.inf)
    nearest = np.argsort(-fused, axis=1)[:, :7]
    assert (group[nearest] == group[:, None]).all()


def test_few_or_equal_profiles_have_finite_similarities() -> None:
    two = [one.select(np.arange(24) < 2) for one in drawn(24)]
    assert np.isfinite(side_by_side(two).similarity()).all()
    same = [Profiles(one.metadata, np.ones_like(one.features), one.names) for one in drawn(12)]
    assert np.isfinite(side_by_side(same).similarity()).all()


def test_ranks_of_a_similarity_are_those_that_copairs_makes_of_vectors() -> None:
    profiles = drawn(40)[1]
    expected = ranked_queries(profiles, Question(MOA, (COMPOUND,)))
    compound, mechanism = (profiles.metadata[name].to_numpy(str) for name in (COMPOUND, MOA))
    comparable = compound[:, None] != compound[None, :]
    similarity = np.where(comparable, profiles.similarity(), -np.inf)
    found = similarity_precision(similarity, comparable & (mechanism[:, None] == mechanism[None, :]))
    np.testing.assert_allclose(found, expected["average_precision"], rtol=1e-6)


def test_the_own_compound_is_fused_and_never_ranked() -> None:
    found = ranked_queries(side_by_side(drawn(40)), Question(MOA, (COMPOUND,)))
    assert (found["n_ranked"] == 38).all() and (found["n_positives"] == 2).all()


def test_a_profile_that_is_0_in_one_kind_is_like_no_other_by_it() -> None:
    kinds = drawn(12)
    kinds[1].features[3] = kinds[1].features[5] = 0
    distances = [1 - cosine_similarity(one.features) for one in kinds]
    for one in distances:
        np.fill_diagonal(one, 0)
    assert (np.delete(distances[1][3], 3) == 1).all()
    np.testing.assert_allclose(
        side_by_side(kinds).similarity(), fused_similarity(distances), rtol=1e-9, atol=1e-15
    )


def test_one_kind_is_refused() -> None:
    with pytest.raises(BadInputError, match="1 kinds of features are not two or more"):
        side_by_side(drawn(8)[:1])
