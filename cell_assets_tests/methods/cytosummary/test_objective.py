"""SupCon against a sum by hand, and the pairs that may count."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import Denominator

COMPOUND = torch.tensor([0, 0, 1, 1, 1, 2])


def profiles(n: int = 6) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


def by_hand(given: Tensor, compound: list[int], denominator: Denominator, group: list[int]) -> float:
    unit = given.numpy() / np.linalg.norm(given.numpy(), axis=1, keepdims=True)
    terms: dict[int, list[float]] = {}
    for i in range(len(unit)):
        others = [a for a in range(len(unit)) if a != i and group[a] == group[i]]
        positive = [a for a in others if compound[a] == compound[i]]
        if not positive:
            continue
        held = others if denominator is Denominator.ALL_OTHERS else [a for a in others if a not in positive]
        total = np.log(sum(np.exp(unit[i] @ unit[a] / 0.1) for a in held))
        term = float(np.mean([total - unit[i] @ unit[p] / 0.1 for p in positive]))
        terms.setdefault(group[i], []).append(term)
    return float(np.mean([np.mean(of_group) for of_group in terms.values()]))


@pytest.mark.parametrize("denominator", list(Denominator))
def test_against_sums_by_hand(denominator: Denominator) -> None:
    found = supcon_loss(profiles(), COMPOUND, 0.1, denominator)
    assert float(found) == pytest.approx(
        by_hand(profiles(), COMPOUND.tolist(), denominator, [0] * 6), rel=1e-5
    )


@pytest.mark.parametrize("denominator", list(Denominator))
def test_sets_of_other_plates_are_not_compared(denominator: Denominator) -> None:
    group = [0, 0, 0, 0, 1, 1, 1, 1, 1]
    compound = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1, 1])
    given = profiles(9)
    found = supcon_loss(given, compound, 0.1, denominator, torch.tensor(group))
    assert float(found) == pytest.approx(by_hand(given, compound.tolist(), denominator, group), rel=1e-5)
    moved = given.clone()
    moved[4:] *= -1
    again = supcon_loss(moved, compound, 0.1, denominator, torch.tensor(group))
    assert float(again) == pytest.approx(float(found), rel=1e-5)


def test_length_does_not_count_and_likeness_lowers_it() -> None:
    given = profiles()
    assert float(supcon_loss(given * 7, COMPOUND)) == pytest.approx(
        float(supcon_loss(given, COMPOUND)), rel=1e-5
    )
    alike = torch.eye(4)[COMPOUND] + 0.01 * given
    assert float(supcon_loss(alike, COMPOUND)) < float(supcon_loss(given, COMPOUND))


@pytest.mark.parametrize("compound", [[0, 1, 2], [0, 0, 0]])
def test_a_batch_that_teaches_nothing_is_named(compound: list[int]) -> None:
    with pytest.raises(BadInputError, match="two sets of one compound, and beside them a set of another"):
        supcon_loss(profiles(3), torch.tensor(compound))
