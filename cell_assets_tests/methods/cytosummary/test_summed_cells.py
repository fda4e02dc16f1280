"""Sums over sets and their gradients in one go, against PyTorch's own operations one after another."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cell_assets.methods.cytosummary import summed_cells as module
from cell_assets.methods.cytosummary.summed_cells import NEGATIVE_SLOPE, Counts, summed_cells

U, D, W, S = 50, 7, 9, 6


def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells, counts (the last set holds none of them, and some cells are in no set), weight and bias."""
    random = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 4, (S, U), generator=random).float() * (
        torch.rand(S, U, generator=random) < 0.3
    )
    counts[S - 1], counts[:, 10:14] = 0, 0
    cells, weight = torch.randn(U, D, generator=random), torch.randn(W, D, generator=random)
    return cells, counts, weight, torch.randn(W, generator=random)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 2e-2)])
@pytest.mark.parametrize("cells_at_once", [1, 4, 16, 1000])
def test_sums_and_gradients_are_those_of_plain_operations(
    cells_at_once: int, half: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.CELLS_AT_ONCE, "cpu", cells_at_once)
    cells, counts, weight, bias = drawn()
    pull = torch.randn(S, W, generator=torch.Generator().manual_seed(1))

    def gradients(summed: Tensor, given: list[Tensor]) -> list[Tensor]:
        return [summed, *torch.autograd.grad((summed * pull).sum(), given)]

    given = [one.clone().requires_grad_() for one in (cells, weight, bias)]
    plain = counts @ F.leaky_relu(given[0] @ given[1].T + given[2], NEGATIVE_SLOPE)
    expected = gradients(plain, given)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        summed = summed_cells(given[0], Counts.of(counts), given[1], given[2])
    assert summed.dtype == torch.float32
    for found, wanted in zip(gradients(summed, given), expected, strict=True):
        assert found.dtype == wanted.dtype
        scale = float(wanted.abs().max())
        torch.testing.assert_close(found / scale, wanted / scale, atol=tolerance, rtol=0)


def test_a_gradient_that_nobody_asks_for_is_not_made() -> None:
    cells, counts, weight, bias = drawn()
    summed_cells(cells, Counts.of(counts), weight.requires_grad_(), bias.requires_grad_()).sum().backward()
    assert cells.grad is None and weight.grad is not None and bias.grad is not None


def test_counts_are_those_of_the_matrix() -> None:
    counts = drawn()[1]
    found = Counts.of(counts)
    assert torch.equal(found.dense(), counts)
    assert (found.times > 0).all() and len(found.times) == int((counts > 0).sum())
    sets, held = found.between(10, 20)
    assert torch.equal(held, counts[sets, 10:20])
    rest = [one for one in range(S) if one not in sets.tolist()]
    assert S - 1 in rest and not counts[rest, 10:20].any()
    none, empty = found.between(10, 14)
    assert len(none) == 0 and empty.shape == (0, 4)
