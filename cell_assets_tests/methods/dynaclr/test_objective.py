"""Eq. 1 by hand."""

import torch

from cell_assets.methods.dynaclr.objective import triplet_loss

ANCHOR = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
POSITIVE = torch.tensor([[0.6, 0.8], [1.0, 1.0], [0.0, 0.5]])
NEGATIVE = torch.tensor([[0.0, 0.5], [1.0, 3.0], [0.5, 0.0]])


def test_squared_distances_margin_and_mean() -> None:
    # Triplet 1: 1.0 - 0.25 + 0.5 = 1.25; triplet 2: 0 - 4 + 0.5 < 0; triplet 3: 0.25 - 0.25 + 0.5 = 0.5.
    loss = triplet_loss(ANCHOR, POSITIVE, NEGATIVE, torch.tensor([True, True, True]), margin=0.5)
    torch.testing.assert_close(loss.mean, torch.tensor((1.25 + 0 + 0.5) / 3))
    torch.testing.assert_close(loss.active_share, torch.tensor(2 / 3))


def test_a_triplet_that_fills_up_the_batch_counts_for_nothing() -> None:
    anchor = ANCHOR.clone().requires_grad_()
    loss = triplet_loss(anchor, POSITIVE, NEGATIVE, torch.tensor([True, True, False]), margin=0.5)
    torch.testing.assert_close(loss.mean, torch.tensor(1.25 / 2))
    loss.mean.backward()
    assert anchor.grad is not None
    assert anchor.grad[2].abs().sum() == 0
