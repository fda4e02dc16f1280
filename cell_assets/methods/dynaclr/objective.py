"""The triplet objective of the paper (Eq. 1)."""

from typing import NamedTuple

from torch import Tensor


class TripletLoss(NamedTuple):
    """The objective of one batch and what it was made of."""

    mean: Tensor
    """Scalar. Mean over the counted triplets: Eq. 1 is a sum over the batch, and a mean keeps the learning
    rate independent of the batch size."""
    active_share: Tensor
    """Scalar. Share of counted triplets whose margin is not yet met, which alone give a gradient."""


def triplet_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, counted: Tensor, margin: float
) -> TripletLoss:
    """max(|a - p|² - |a - n|² + margin, 0) over the batch, squared Euclidean distances (Eq. 1).

    Args:
        anchor, positive, negative: (N, D) projections.
        counted: (N,) bool; a triplet that only fills up a batch is not counted.
        margin: α of Eq. 1.
    """
    near = (anchor - positive).square().sum(-1)
    far = (anchor - negative).square().sum(-1)
    hinge = (near - far + margin).clamp_min(0)
    weight = counted.to(hinge.dtype)
    n = weight.sum()
    return TripletLoss((hinge * weight).sum() / n, ((hinge > 0) * weight).sum() / n)
