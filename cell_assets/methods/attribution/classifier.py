"""An encoder and the linear heads behind it, as one network from pixels to logits."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cell_assets.evaluation.scores.probes import LinearHead


@dataclass(frozen=True)
class PatchEncoder:
    """A method's trained network with what it looks at; what a method gives for attribution."""

    network: nn.Module
    """(N, C, Z, Y, X) normalised patches → (N, F), the features that heads are fitted on; in evaluation mode."""
    randomised: nn.Module
    """The same network with random values in place of all that was learned."""
    read: Callable[[pd.DataFrame], Tensor]
    """Cells (N rows: `plate, fov_name, row`) → (N, C, Z, Y, X) float32, normalised as for embedding."""
    channel_names: tuple[str, ...]
    side_px: int
    """Y and X of those patches; the middle of the stored ones."""
    baseline: str
    """What 0 means in them, in words."""
    arithmetic: Callable[[], AbstractContextManager[None]]
    """Sets the process up for deterministic arithmetic, and back."""


class StateClassifier(nn.Module):
    """(N, C, Z, Y, X) → (N, K): the logit of each of K heads."""

    def __init__(self, encoder: nn.Module, heads: Sequence[LinearHead]) -> None:
        super().__init__()
        self.encoder = encoder
        self.mean: Tensor
        self.scale: Tensor
        self.weight: Tensor
        self.bias: Tensor
        for name in ("mean", "scale", "weight", "bias"):
            values = np.stack([np.asarray(getattr(head, name)) for head in heads])
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))

    def forward(self, patches: Tensor) -> Tensor:
        standardised = (self.encoder(patches)[:, None] - self.mean) / self.scale  # (N, K, F)
        return (standardised * self.weight).sum(-1) + self.bias
