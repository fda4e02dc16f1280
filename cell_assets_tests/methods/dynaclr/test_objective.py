"""Objectives by hand, against PyTorch's own where it has one, and at the ends of number ranges."""

import math

import pytest
import torch
from torch import Tensor

from cell_assets.methods.dynaclr.objective import BatchLoss, nt_xent, triplet_loss
from cell_assets.methods.dynaclr.parameters import Distance, TrainingParameters

ANCHOR = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
POSITIVE = torch.tensor([[0.6, 0.8], [1.0, 1.0], [0.0, 0.5]])
NEGATIVE = torch.tensor([[0.0, 0.5], [1.0, 3.0], [0.5, 0.0]])
ALL = torch.tensor([True, True, True])


def test_squared_distances_margin_and_mean() -> None:
    # Triplet 1: 1.0 - 0.25 + 0.5 = 1.25; triplet 2: 0 - 4 + 0.5 < 0; triplet 3: 0.25 - 0.25 + 0.5 = 0.5.
    loss = triplet_loss(ANCHOR, POSITIVE, NEGATIVE, ALL, margin=0.5)
    torch.testing.assert_close(loss.terms, torch.tensor([1.25, 0, 0.5]))
    torch.testing.assert_close(loss.mean, torch.tensor((1.25 + 0 + 0.5) / 3))
    torch.testing.assert_close(loss.active_share, torch.tensor(2 / 3))


def test_plain_distances() -> None:
    # Triplet 1: 1.0 - 0.5 + 0.5 = 1; triplet 2: 0 - 2 + 0.5 < 0; triplet 3: 0.5 - 0.5 + 0.5 = 0.5.
    loss = triplet_loss(ANCHOR, POSITIVE, NEGATIVE, ALL, 0.5, Distance.PLAIN)
    torch.testing.assert_close(loss.terms, torch.tensor([1, 0, 0.5]))
    theirs = torch.nn.TripletMarginLoss(margin=0.5)(ANCHOR, POSITIVE, NEGATIVE)
    torch.testing.assert_close(loss.mean, theirs, atol=1e-5, rtol=1e-5)


def test_a_triplet_that_fills_up_the_batch_counts_for_nothing() -> None:
    anchor = ANCHOR.clone().requires_grad_()
    loss = triplet_loss(anchor, POSITIVE, NEGATIVE, torch.tensor([True, True, False]), margin=0.5)
    torch.testing.assert_close(loss.mean, torch.tensor(1.25 / 2))
    loss.mean.backward()
    assert anchor.grad is not None
    assert anchor.grad[2].abs().sum() == 0


# Two triplets on the unit circle, of different lengths, so that cosines are 1, 0, -1, 0.6 and 0.8 alone.
A = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
P = torch.tensor([[3.0, 4.0], [0.0, 3.0]])
N = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
STRANGERS = torch.tensor([0, 1, 0, 1, 2, 3])


def by_hand(near: float, far: list[float], concentration: float = 0.0) -> float:
    """One view's term from its cosines at temperature 0.5."""
    near, far = near / 0.5, [s / 0.5 for s in far]
    total = sum(math.exp(concentration * s) for s in far)
    weights = [len(far) * math.exp(concentration * s) / total for s in far]
    return -math.log(
        math.exp(near) / (math.exp(near) + sum(w * math.exp(s) for w, s in zip(weights, far, strict=True)))
    )


# Cosines of each view with A2/A1, P2/P1, N1, N2; its own positive first.
VIEWS = (
    (0.6, [0.0, 0.0, 0.0, -1.0]),  # A1 = (1, 0)
    (1.0, [0.0, 0.8, 1.0, 0.0]),  # A2 = (0, 1)
    (0.6, [0.8, 0.8, 0.8, -0.6]),  # P1 = (.6, .8)
    (1.0, [0.0, 0.8, 1.0, 0.0]),  # P2 = (0, 1)
)


@pytest.mark.parametrize("concentration", [0.0, 0.5, 2.0])
def test_nt_xent_by_hand(concentration: float) -> None:
    loss = nt_xent(A, P, N, STRANGERS, torch.tensor([True, True]), 0.5, concentration)
    expected = [by_hand(near, far, concentration) for near, far in VIEWS]
    torch.testing.assert_close(loss.terms, torch.tensor(expected))
    torch.testing.assert_close(loss.mean, torch.tensor(sum(expected) / 4))
    # Only P1 has a negative (.8) nearer than its positive (.6).
    assert loss.active.tolist() == [False, False, True, False]


def test_without_concentration_it_is_a_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    a, p, n = torch.randn(3, 7, 5, generator=generator)
    loss = nt_xent(
        a, p, n, torch.arange(7).repeat(3) + torch.tensor([0] * 14 + [100] * 7), ALL.repeat(3)[:7], 0.3
    )
    images = torch.nn.functional.normalize(torch.cat([a, p, n]), dim=-1)
    logits = images[:14] @ images.T / 0.3
    logits[torch.arange(14), torch.arange(14)] = -math.inf
    target = (torch.arange(14) + 7) % 14
    torch.testing.assert_close(loss.mean, torch.nn.functional.cross_entropy(logits, target))


def test_concentration_moves_weight_to_the_hardest_negative() -> None:
    terms = [
        nt_xent(A, P, N, STRANGERS, torch.tensor([True, True]), 0.5, beta).terms[2] for beta in (0, 1, 4, 50)
    ]
    assert terms == sorted(terms)
    # In the limit all n negatives weigh as the hardest: n e^s.
    torch.testing.assert_close(terms[-1], torch.tensor(by_hand(0.6, [0.8] * 4)), atol=1e-4, rtol=0)


def test_kin_is_no_negative_but_the_one_that_was_drawn_is() -> None:
    # Both triplets are of one lineage, and so is the drawn negative of the first.
    kin = torch.tensor([0, 0, 0, 0, 0, 9])
    loss = nt_xent(A, P, N, kin, torch.tensor([True, True]), 0.5)
    expected = [
        by_hand(0.6, [0.0, -1.0]),  # A1 against N1 (its own) and N2
        by_hand(1.0, [0.0]),  # A2 against N2
        by_hand(0.6, [0.8, -0.6]),
        by_hand(1.0, [0.0]),
    ]
    torch.testing.assert_close(loss.terms, torch.tensor(expected))


def test_what_fills_up_the_batch_is_no_negative_either() -> None:
    counted = torch.tensor([True, False])
    loss = nt_xent(A, P, N, STRANGERS, counted, 0.5)
    torch.testing.assert_close(loss.terms, torch.tensor([by_hand(0.6, [0.0]), by_hand(0.6, [0.8])]))


def every_objective(a: Tensor, p: Tensor, n: Tensor) -> list[BatchLoss]:
    counted = torch.ones(len(a), dtype=torch.bool)
    kin = torch.arange(3 * len(a))
    return [
        triplet_loss(a, p, n, counted, 0.5),
        triplet_loss(a, p, n, counted, 0.5, Distance.PLAIN),
        nt_xent(a, p, n, kin, counted, 0.05),
        nt_xent(a, p, n, kin, counted, 0.05, 3.0),
    ]


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_finite(dtype: torch.dtype, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    given = [(scale * torch.randn(6, 8, generator=generator)).to(dtype).requires_grad_() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        losses = every_objective(*given)
    for loss in losses:
        assert loss.mean.dtype is torch.float32
        assert torch.isfinite(loss.mean)
        gradients = torch.autograd.grad(loss.mean, given)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        if scale == 1.0:
            assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    given = torch.randn(3, 4, 3, generator=generator)
    step = torch.randn(3, 4, 3, generator=generator)
    at = given.clone().requires_grad_()
    for i, loss in enumerate(every_objective(*at)):
        (gradient,) = torch.autograd.grad(loss.mean, at)
        up, down = (every_objective(*(given + sign * 1e-3 * step))[i].mean for sign in (1, -1))
        torch.testing.assert_close((gradient * step).sum(), (up - down) / 2e-3, atol=0.02, rtol=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concentration": 1.0}, "concentration is of objective=nt-xent"),
        ({"objective": "nt-xent", "distance": "plain"}, "distance is of objective=triplet"),
    ],
)
def test_a_value_of_the_other_objective_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingParameters.model_validate(changes)
