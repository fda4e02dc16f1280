"""How likely average precisions as high as those found are by luck.

copairs' permutation test (Kalinin et al. 2025), with two differences that matter where few profiles are ranked, as on
one plate. A random order that is as good counts as a better one does: of 19 profiles one is nearest by luck in every
19th order, and counting only what is better than perfect would find it at the least p there is. And queries of groups
that are never compared with each other, such as plates, each have luck of their own, so that several plates say more
than one.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from cell_assets.evaluation.retrieval.retrieval import N_ORDERS, N_POSITIVES, N_RANKED
from cell_assets.evaluation.units import FloatArray, IntArray

_KEYS_AT_ONCE = 4_000_000
_SAME = 1e-9
"""Means of average precisions that differ by less are rounded differently."""


def order_tests(
    queries: pd.DataFrame, average_precision: FloatArray, unit: str, seed: int, apart: str | None = None
) -> tuple[FloatArray, FloatArray]:
    """p and corrected p (Benjamini-Hochberg), each (U, R): of the mean average precision of every value of the column
    `unit`, in sorted order, by each of R representations.

    Under chance, queries of one group are taken to be lucky together, which is the more careful way: two wells that
    find each other are. Time is that of 10,000 orders for every pair of numbers of profiles, and of 10,000 sums for
    every unit of every group; memory that of 10,000 numbers for every pair and of a few times 4 million.

    Args:
        queries: Q that ask, with the columns `unit`, `apart`, and how many profiles of theirs are right and ranked.
        average_precision: (Q, R), Q ≥ 1.
        apart: column of groups that are not compared with each other; None where all are.
    """
    random = np.random.default_rng([seed, 11])
    sizes = list(zip(queries[N_POSITIVES].astype(int), queries[N_RANKED].astype(int), strict=True))
    luck = {size: random_precisions(*size, random) for size in sorted(set(sizes))}
    found = []
    for rows in _rows_of(queries[unit]):
        total = np.zeros(N_ORDERS)
        for group in [rows] if apart is None else [rows[own] for own in _rows_of(queries[apart].iloc[rows])]:
            alike = Counter(sizes[row] for row in group)
            together = np.sum([n * luck[size] for size, n in alike.items()], axis=0)
            total += together if apart is None else random.permutation(together)
        as_good = total[:, None] / len(rows) >= average_precision[rows].mean(0) - _SAME
        found.append((1 + as_good.sum(0)) / (1 + N_ORDERS))
    p = np.array(found)
    return p, np.asarray(false_discovery_control(p, axis=0))


def random_precisions(n_positives: int, n_ranked: int, random: np.random.Generator) -> FloatArray:
    """Ascending average precisions (10000,) of random orders of `n_ranked` profiles, `n_positives` ≥ 1 of them
    right."""
    at_once = max(1, _KEYS_AT_ONCE // n_ranked)
    parts = []
    for first in range(0, N_ORDERS, at_once):
        keys = random.random((min(at_once, N_ORDERS - first), n_ranked))
        places = np.sort(keys.argpartition(n_positives - 1, axis=1)[:, :n_positives], axis=1) + 1
        parts.append((np.arange(1, n_positives + 1) / places).mean(1))
    return np.sort(np.concatenate(parts))


def _rows_of(values: pd.Series) -> Iterator[IntArray]:
    """Places of each different value, in sorted order of these."""
    codes, different = pd.factorize(values.astype(str), sort=True)
    for code in range(len(different)):
        yield np.flatnonzero(codes == code)
