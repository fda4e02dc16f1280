"""The same layers behind summaries that are fixed: what supervision gives, without learning what to sum.

A set is summarised first, and φ and ρ of the same widths follow; drawn, trained and applied as CytoSummaryNet is.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cell_assets.methods.cytosummary.network import (
    CytoSummaryNet,
    NetworkConfig,
    require_profilable,
)
from cell_assets.methods.cytosummary.parameters import Summary
from cell_assets.methods.cytosummary.summed_cells import NEGATIVE_SLOPE, Counts
from cell_assets.methods.processor import Precision

SKETCH = 40
"""Random directions whose covariances are taken, since a set has fewer cells than features have pairs."""


class SummaryNet(nn.Module):
    """Sets of cells → their summary → profiles."""

    def __init__(self, config: NetworkConfig, summary: Summary, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.summary = summary
        directions = np.random.default_rng(seed).normal(size=(config.features, SKETCH)) / np.sqrt(
            config.features
        )
        self.directions: Tensor
        self.register_buffer("directions", torch.from_numpy(directions.astype(np.float32)))
        width = config.features
        if summary is Summary.MOMENTS:
            width = 2 * config.features + SKETCH * (SKETCH + 1) // 2
        self.head = CytoSummaryNet(config.model_copy(update={"features": width}))

    def forward(self, cells: Tensor, counts: Counts) -> Tensor:
        """As `CytoSummaryNet.forward`."""
        return self.of_summaries(self.summaries(cells.float(), counts.dense()))

    def of_summaries(self, summaries: Tensor) -> Tensor:
        """(S, W) → profiles (S, P)."""
        return self.head.of_sums(F.leaky_relu(self.head.phi(summaries), NEGATIVE_SLOPE))

    def summaries(self, cells: Tensor, counts: Tensor) -> Tensor:
        """(S, W) of sets over cells (U, D), by how often (S, U) they hold each."""
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ cells
        if self.summary is Summary.MEAN:
            return mean
        sd = (share @ cells.square() - mean.square()).clamp_min(0).sqrt()
        along = cells @ self.directions
        of_sets = along.new_empty(len(share), SKETCH, SKETCH)
        for place, own in enumerate(share):
            held = own > 0
            around = along[held] - (mean[place] @ self.directions)
            of_sets[place] = (around * own[held, None]).T @ around
        upper = torch.triu_indices(SKETCH, SKETCH, device=cells.device)
        return torch.cat([mean, sd, of_sets[:, upper[0], upper[1]]], 1)

    @torch.no_grad()
    def profiles_of(
        self, features: NDArray[np.float32], starts: NDArray[np.int64], _: Precision = Precision.FLOAT32
    ) -> NDArray[np.float32]:
        """As `CytoSummaryNet.profiles_of`, but well by well and always in float32."""
        require_profilable(features, starts, self.config)
        device = self.directions.device
        found = []
        for start, end in pairwise(starts):
            cells = torch.from_numpy(np.ascontiguousarray(features[start:end])).to(device)
            found.append(self.summaries(cells, torch.ones(1, len(cells), device=device)))
        return self.of_summaries(torch.cat(found)).cpu().numpy()
