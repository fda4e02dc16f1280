import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from cell_assets.evaluation.motion.neighbours import identity_hits, state_votes


def cloud(n_rows: int = 90, n_features: int = 5, seed: int = 0):
    """Features, a state that they half tell, and three FOVs of unequal size."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n_rows) < 0.4
    features = rng.normal(size=(n_rows, n_features)) + 1.2 * positive[:, None]
    fovs = rng.choice(["P1|A/1/0", "P1|A/2/0", "P2|A/1/0"], size=n_rows, p=[0.5, 0.3, 0.2])
    return features, positive, fovs


@pytest.mark.parametrize("k", [1, 7, 20])
def test_votes_are_what_scikit_learn_predicts_from_the_other_fovs(k):
    features, positive, fovs = cloud()
    votes = state_votes(features, positive, fovs, k)
    assert votes.asked.all() and votes.k == k
    for fov in np.unique(fovs):
        inside = fovs == fov
        reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
        reference.fit(features[~inside], positive[~inside])
        np.testing.assert_array_equal(votes.positive[inside], reference.predict(features[inside]))
    assert 0.2 < (votes.positive == positive).mean() < 1


@settings(max_examples=20)
@given(seed=st.integers(0, 999), powers=st.lists(st.integers(-8, 8), min_size=60, max_size=60))
def test_neither_the_order_of_rows_nor_their_length_changes_a_vote_or_a_hit(seed, powers):
    features, positive, fovs = cloud(60, seed=seed)
    tracks = np.array([f"{fov}|{k % 6}" for k, fov in enumerate(fovs)])
    t = np.random.default_rng(seed).permutation(60)
    order = np.random.default_rng(seed + 1).permutation(60)
    scaled = features * 2.0 ** np.array(powers)[:, None]
    votes = state_votes(features, positive, fovs, 5)
    again = state_votes(scaled[order], positive[order], fovs[order], 5)
    np.testing.assert_array_equal(votes.positive[order], again.positive)
    hits = identity_hits(features, tracks, t, fovs, 3)
    other = identity_hits(scaled[order], tracks[order], t[order], fovs[order], 3)
    for name in ("hit", "chance", "asked"):
        np.testing.assert_array_equal(getattr(hits, name)[order], getattr(other, name))


def test_blocks_of_any_size_give_the_same():
    features, positive, fovs = cloud()
    tracks, t = np.array([f"T{k % 9}" for k in range(90)]), np.arange(90) // 9
    small, large = (state_votes(features, positive, fovs, 7, block_elements=n) for n in (70, 10**6))
    np.testing.assert_array_equal(small.positive, large.positive)
    small, large = (identity_hits(features, tracks, t, fovs, 2, block_elements=n) for n in (70, 10**6))
    np.testing.assert_array_equal(small.hit, large.hit)
    np.testing.assert_array_equal(small.chance, large.chance)


def test_fewer_cells_than_neighbours_all_vote_and_one_fov_has_nobody_to_ask():
    features = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    positive = np.array([False, True, True, False])
    votes = state_votes(features, positive, np.array(["a", "b", "b", "b"]), 20)
    assert votes.k == 1
    # Row 0 asks all three of b, of which two are positive; each of b asks row 0 alone.
    assert list(votes.positive) == [True, False, False, False]
    assert not state_votes(features, positive, np.array(["a"] * 4), 20).asked.any()


def test_identity_by_hand():
    # Two cells in one FOV at t 0, 1, 5; the second looks like the first at t 5. A third cell is in another FOV.
    angle = np.array([0.0, 0.1, 0.2, 1.0, 1.1, 0.22, 0.0])
    features = np.column_stack([np.cos(angle), np.sin(angle)]) * 3.0
    tracks = np.array(["a", "a", "a", "b", "b", "b", "c"])
    t = np.array([0, 1, 5, 0, 1, 5, 0])
    found = identity_hits(features, tracks, t, np.array(["f"] * 6 + ["g"]), gap_frames=4)
    # At t 0 and 1 there are a5 (0.2) and b5 (0.22) to choose from; at t 5 a0, a1, b0, b1.
    assert list(found.asked) == [True] * 6 + [False]
    assert list(found.hit) == [1, 1, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(found.chance[:6], 0.5)
