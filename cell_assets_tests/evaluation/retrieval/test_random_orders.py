"""Luck of random orders: by hand, by enumeration, beside copairs, and on noise."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from copairs.map import mean_average_precision

from cell_assets.evaluation.retrieval.random_orders import order_tests, random_precisions


def queries(units: list[str], n_positives: int, n_ranked: int, plates: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"unit": units, "plate": plates, "n_positives": n_positives, "n_ranked": n_ranked})


def test_random_orders_have_the_precisions_that_all_orders_have() -> None:
    every = [
        np.mean([(i + 1) / place for i, place in enumerate(right)]) for right in combinations(range(1, 7), 2)
    ]
    drawn = random_precisions(2, 6, np.random.default_rng(0))
    assert np.all(np.diff(drawn) >= 0) and len(drawn) == 10_000
    values, counts = np.unique(np.round(every, 9), return_counts=True)
    found = [(np.abs(drawn - value) < 1e-6).mean() for value in values]
    np.testing.assert_allclose(found, counts / len(every), atol=0.015)
    assert random_precisions(3, 3, np.random.default_rng(0)).min() == 1


def test_orders_that_are_as_good_count() -> None:
    """The nearest of 20 is right by luck in every 20th order, and one of the two nearest in every tenth."""
    tested = queries(["a", "b"], 1, 20, ["P", "P"])
    p, corrected = order_tests(tested, np.array([[1.0, 0.5], [0.5, 0.05]]), "unit", seed=0)
    np.testing.assert_allclose(p, [[0.05, 0.1], [0.1, 1.0]], atol=0.01)
    # The smaller of two p is doubled, unless the larger is less than that.
    np.testing.assert_allclose(corrected, [[p[1, 0], 2 * p[0, 1]], [p[1, 0], p[1, 1]]], rtol=1e-9)


def test_queries_that_are_compared_are_lucky_together_and_plates_apart() -> None:
    tested = queries(["a"] * 2, 1, 20, ["P", "Q"])
    both_nearest = np.ones((2, 1))
    together, _ = order_tests(tested, both_nearest, "unit", seed=0)
    apart, _ = order_tests(tested, both_nearest, "unit", seed=0, apart="plate")
    assert together[0, 0] == pytest.approx(1 / 20, abs=0.01)
    assert apart[0, 0] == pytest.approx(1 / 400, abs=0.0015)


def test_where_no_order_is_as_good_p_is_that_of_copairs(tmp_path: object) -> None:
    random = np.random.default_rng(3)
    tested = queries([f"u{n // 4:02}" for n in range(80)], 3, 200, ["P"] * 80)
    precision = random.beta(1, 12, 80)
    p, corrected = order_tests(tested, precision[:, None], "unit", seed=0)
    by_copairs = mean_average_precision(
        tested.rename(columns={"n_positives": "n_pos_pairs", "n_ranked": "n_total_pairs"}).assign(
            average_precision=precision, normalized_average_precision=0.0
        ),
        sameby=["unit"],
        null_size=10_000,
        threshold=0.05,
        seed=0,
        progress_bar=False,
        cache_dir=tmp_path,
    ).sort_values("unit")
    np.testing.assert_allclose(p[:, 0], by_copairs["p_value"], atol=0.02)
    np.testing.assert_allclose(corrected[:, 0], by_copairs["corrected_p_value"], atol=0.06)


@pytest.mark.parametrize("n_plates", [1, 3])
def test_noise_is_rarely_found(n_plates: int) -> None:
    """Ten compounds of two wells each on every plate: 200 screens, of which five in a hundred may find any."""
    random, false = np.random.default_rng(5), 0
    n = 20
    for _ in range(200):
        parts, precisions = [], []
        for plate in range(n_plates):
            distance = random.normal(size=(n, 8))
            similarity = distance @ distance.T / np.outer(*[np.linalg.norm(distance, axis=1)] * 2)
            np.fill_diagonal(similarity, -np.inf)
            order = np.argsort(-similarity, axis=1)
            twin = np.arange(n) ^ 1
            precisions.append(1 / (np.argmax(order == twin[:, None], axis=1) + 1))
            parts.append(queries([f"c{i // 2}" for i in range(n)], 1, n - 1, [f"P{plate}"] * n))
        _, corrected = order_tests(
            pd.concat(parts, ignore_index=True), np.concatenate(precisions)[:, None], "unit", 0, apart="plate"
        )
        false += bool((corrected < 0.05).any())
    assert false <= 18


def test_same_seed_same_p() -> None:
    tested = queries(["a", "b", "a"], 1, 9, ["P", "P", "Q"])
    precision = np.array([[0.5], [0.25], [0.2]])
    first, again, other = (
        order_tests(tested, precision, "unit", seed, apart="plate")[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
