"""What training makes small: the paper's triplet hinge (Eq. 1), or NT-Xent with or without hard negatives.

Everything is computed in float32, whatever the projections come in.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cell_assets.methods.dynaclr.parameters import Distance


@dataclass(frozen=True)
class BatchLoss:
    """The objective of one batch, term by term; Eq. 1 sums over the batch, and a mean keeps the learning rate
    independent of its size."""

    terms: Tensor
    """(M,): one for every counted triplet, or for every counted view of NT-Xent."""
    active: Tensor
    """(M,) bool. Triplet: its margin is not yet met, so that it gives a gradient. NT-Xent: a negative is nearer
    than the positive."""

    @property
    def mean(self) -> Tensor:
        """Scalar."""
        return self.terms.mean()

    @property
    def active_share(self) -> Tensor:
        """Scalar."""
        return self.active.float().mean()

    def share_of_mean(self, n: int, devices: int) -> Tensor:
        """Scalar whose average over `devices` is the mean over all their `n` terms, however unequal their shares.

        Where each of them has all terms, and gradients of its own images alone, that of the gradients is the mean's.
        """
        return self.terms.sum() * (devices / n)


def triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    counted: Tensor,
    margin: float,
    distance: Distance = Distance.SQUARED,
) -> BatchLoss:
    """max(d(a, p) - d(a, n) + margin, 0) for every counted triplet (Eq. 1).

    Args:
        anchor, positive, negative: (N, D) projections.
        counted: (N,) bool; a triplet that only fills up a batch is not counted.
        margin: α of Eq. 1.
        distance: d, squared in Eq. 1.
    """
    a, p, n = (part[counted].float() for part in (anchor, positive, negative))
    if distance is Distance.SQUARED:
        near, far = (a - p).square().sum(-1), (a - n).square().sum(-1)
    else:
        # The gradient at distance 0 is 0 here; that of a plain square root is not finite.
        near, far = torch.linalg.vector_norm(a - p, dim=-1), torch.linalg.vector_norm(a - n, dim=-1)
    hinge = (near - far + margin).clamp_min(0)
    return BatchLoss(hinge, hinge > 0)


def nt_xent(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    kin: Tensor,
    counted: Tensor,
    temperature: float,
    concentration: float = 0.0,
) -> BatchLoss:
    """-log(e^s⁺ / (e^s⁺ + Σ_j w_j e^s_j)) for both views of every counted triplet (Chen et al. 2020, Eq. 1).

    s are cosine similarities over `temperature`. The two views of a triplet are its anchor and its positive. The
    negatives of a view are all counted images of the batch that are no kin of it, and the negative that was drawn
    for its triplet. Their weights are w_j = n e^(β s_j) / Σ_k e^(β s_k) over the view's n negatives, β being the
    `concentration`: importance sampling from q_β ∝ e^(β s) p (Robinson et al. 2021, section 3, with a class prior τ⁺
    of 0, since kin is left out by name). β = 0 makes every weight 1, which is NT-Xent itself.

    Args:
        anchor, positive, negative: (N, D) projections.
        kin: (3 N,) codes of the anchors, positives and negatives; equal codes are never negatives of each other.
        counted: (N,) bool; a triplet that only fills up a batch is neither a view nor a negative.
    """
    chosen = counted.repeat(3)
    n = len(chosen[chosen]) // 3
    images = F.normalize(torch.cat([anchor, positive, negative])[chosen].float(), dim=-1)
    codes = kin[chosen]
    with torch.autocast(images.device.type, enabled=False):
        similarity = images[: 2 * n] @ images.T / temperature  # (2 n, 3 n)
    views = torch.arange(2 * n, device=images.device)
    own_positive, own_negative = (views + n) % (2 * n), views % n + 2 * n
    candidate = codes[: 2 * n, None] != codes[None]
    candidate[views, own_positive] = False
    candidate[views, own_negative] = True

    near = similarity[views, own_positive]
    # log Σ w e^s = log n + log Σ e^((1 + β) s) - log Σ e^(β s), which never leaves float32's range.
    far = (
        candidate.sum(-1).log()
        + _log_sum_exp((1 + concentration) * similarity, candidate)
        - _log_sum_exp(concentration * similarity, candidate)
    )
    nearest = similarity.masked_fill(~candidate, -math.inf).amax(-1)
    return BatchLoss(F.softplus(far - near), nearest > near)


def _log_sum_exp(values: Tensor, chosen: Tensor) -> Tensor:
    return values.masked_fill(~chosen, -math.inf).logsumexp(-1)
