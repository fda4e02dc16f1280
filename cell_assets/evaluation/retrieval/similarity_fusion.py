"""Similarity network fusion (Wang et al. 2014, Nat. Methods 11:333): one similarity from several.

The formulas are those of the authors' own SNFtool 2 (and of its port snfpy), by which Rohban et al. (2019) fused
profiles, where these differ from the paper's: the kernel is a normal density, rows are divided by their whole sum, and
1 is added to the diagonal in every round.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.evaluation.units import FloatArray


def affinity(distances: FloatArray, neighbours: int, mu: float) -> FloatArray:
    """(N, N) affinities: of two profiles, the density of their distance under a normal distribution whose standard
    deviation is `mu` times the mean of that distance and of both profiles' mean distances to their nearest neighbours.

    Args:
        distances: (N, N), symmetric, 0 on the diagonal.
        neighbours: K, less than N.
    """
    nearest = np.partition(distances, range(1, neighbours + 1), axis=1)[:, 1 : neighbours + 1]
    # Of profiles that are the same, so that the density is finite.
    tiny = np.finfo(np.float64).eps
    reach = nearest.mean(1) + tiny
    width = mu * ((reach[:, None] + reach[None, :] + distances) / 3 + tiny)
    return np.exp(-((distances / width) ** 2) / 2) / (np.sqrt(2 * np.pi) * width)


def fused_similarity(
    distances: Sequence[FloatArray], parameters: SimilarityFusionParameters | None = None
) -> FloatArray:
    """Symmetric similarity (N, N) of N profiles, from their distances of m ≥ 2 kinds.

    In each of T rounds, every kind's similarity becomes the mean of the others', diffused along the K nearest
    neighbours by its own; the mean of all is the result. The diffusing kernel has K values in a row, so that time is
    O(m T K N²), and not that of products of full matrices, O(m T N³). Memory is that of 3 m + 4 matrices of N² float64.

    Args:
        distances: m times (N, N), symmetric, 0 on the diagonal, N ≥ 2.
    """
    chosen = parameters or SimilarityFusionParameters()
    n, m = len(distances[0]), len(distances)
    k = min(chosen.neighbours, n - 1)
    full = [_symmetric(_by_row_sum(affinity(one, k, chosen.mu))) for one in distances]
    sparse = [_nearest_kernel(one, k) for one in full]
    total = np.sum(full, axis=0)
    for _ in range(chosen.iterations):
        full = [_diffused((total - own) / (m - 1), kernel) for own, kernel in zip(full, sparse, strict=True)]
        total = np.sum(full, axis=0)
    fused = _by_row_sum(total / m)
    return (fused + fused.T + np.eye(n)) / 2


def _diffused(similarity: FloatArray, kernel: csr_array) -> FloatArray:
    """S P Sᵀ + 1; P is symmetric, so that (S (S P)ᵀ)ᵀ is that, with the sparse one to the left each time."""
    found = _symmetric((kernel @ (kernel @ similarity).T).T)
    found[np.diag_indices_from(found)] += 1
    return found


def _nearest_kernel(similarity: FloatArray, k: int) -> csr_array:
    """The k largest values of each row, which sum to 1; the own one is among them. Equal ones stay together."""
    least = np.partition(similarity, -k, axis=1)[:, -k, None]
    return csr_array(_by_row_sum(np.where(similarity >= least, similarity, 0.0)))


def _by_row_sum(values: FloatArray) -> FloatArray:
    return values / values.sum(1, keepdims=True)


def _symmetric(values: FloatArray) -> FloatArray:
    return (values + values.T) / 2
