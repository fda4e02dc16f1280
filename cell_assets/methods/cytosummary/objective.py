"""What training makes small: sets of one compound are alike, and unlike those of any other (SupCon).

Everything is computed in float32, whatever the profiles come in.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.parameters import Denominator


def supcon_loss(
    profiles: Tensor,
    compound: Tensor,
    temperature: float = 0.1,
    denominator: Denominator = Denominator.ALL_OTHERS,
    group: Tensor | None = None,
) -> Tensor:
    """Scalar: the mean over anchors of - mean over positives p of log(exp(s_p / τ) / Σ exp(s_a / τ)), s cosines.

    Anchors without a positive have no term.

    Args:
        profiles: (S, P).
        compound: (S,) codes; sets of one code are positives of each other.
        group: (S,) codes, for example of plates: only sets of one group are compared, and the result is the mean over
            groups.

    Raises:
        BadInputError: no set has a positive, or one that has none to be told from, so nothing can be learned.
    """
    unit = F.normalize(profiles.float(), dim=1)
    similarity = unit @ unit.T / temperature
    others = ~torch.eye(len(profiles), dtype=torch.bool, device=profiles.device)
    if group is not None:
        others &= group[:, None] == group[None, :]
    positive = others & (compound[:, None] == compound[None, :])
    negative = others & ~positive
    counted = positive.any(1)
    if not counted.any() or not negative[counted].any(1).all():
        raise BadInputError(
            "a batch needs two sets of one compound, and beside them a set of another, within every group that is "
            "compared; draw more sets or more compounds"
        )
    held_against = others if denominator is Denominator.ALL_OTHERS else negative
    total = similarity.masked_fill(~held_against, -torch.inf).logsumexp(1, keepdim=True)
    terms = -((similarity - total) * positive).sum(1)[counted] / positive.sum(1)[counted]
    if group is None:
        return terms.mean()
    of_group = group[counted] == group[counted].unique()[:, None]
    return (of_group * terms).sum(1).div(of_group.sum(1)).mean()
