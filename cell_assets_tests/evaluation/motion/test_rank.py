import numpy as np
import pytest

from cell_assets.evaluation.motion.rank import feature_spectrum


def test_rank_of_a_known_subspace():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 4)) @ rng.normal(size=(4, 30))).astype(np.float32)
    spectrum = feature_spectrum(features)
    assert feature_spectrum(features.astype(np.float64)).matrix_rank == 4  # the rounding error stays behind
    assert spectrum.matrix_rank == np.linalg.matrix_rank(features - features.mean(axis=0)) == 4
    assert spectrum.explained.sum() == pytest.approx(1)


def test_equal_directions_have_full_effective_rank_and_unequal_ones_less():
    square = np.vstack([np.eye(6), -np.eye(6)])
    assert feature_spectrum(square).effective_rank == pytest.approx(6)
    assert feature_spectrum(square).components_95 == 6
    stretched = square * np.array([100, 1, 1, 1, 1, 1])
    assert feature_spectrum(stretched).effective_rank < 2
    assert feature_spectrum(stretched).components_95 == 1


def test_constant_features_have_no_spectrum():
    assert feature_spectrum(np.full((5, 3), 0.1, dtype=np.float32)) is None
