"""The same layers behind summaries that are fixed: what supervision gives, without learning what to sum.

A set is summarised first, and φ and ρ of the same widths follow; drawn, trained and applied as CytoSummaryNet is.
"""

from collections.abc import Iterator

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
        """As `CytoSummaryNet.forward`, but that summaries are float32 under autocast, too."""
        return self.of_summaries(self.summaries(cells.float(), counts.dense()))

    def of_summaries(self, summaries: Tensor) -> Tensor:
        """(S, W) → profiles (S, P)."""
        return self.head.of_sums(F.leaky_relu(self.head.phi(summaries), NEGATIVE_SLOPE))

    def summaries(self, cells: Tensor, counts: Tensor) -> Tensor:
        """(S, W) in float32 of sets over cells (U, D), by how often (S, U) they hold each."""
        share = counts / counts.sum(1, keepdim=True)
        # What is left of squares after a mean's is taken off has fewer digits than bfloat16 gives them.
        with torch.autocast(cells.device.type, enabled=False):
            mean = share @ cells
            if self.summary is Summary.MEAN:
                return mean
            # For the same reason, moments are taken around a place that is near all sets.
            around, centre = cells - cells.mean(0), mean - cells.mean(0)
            sd = (share @ around.square() - centre.square()).clamp_min(0).sqrt()
            covariance = share @ _products(around @ self.directions) - _products(centre @ self.directions)
            return torch.cat([mean, sd, covariance], 1)

    @torch.no_grad()
    def profiles_of(
        self,
        features: NDArray[np.float32],
        starts: NDArray[np.int64],
        _: Precision = Precision.FLOAT32,
        cells_at_once: int = 4096,
    ) -> NDArray[np.float32]:
        """As `CytoSummaryNet.profiles_of`, but always in float32, and memory holds a well as a whole."""
        require_profilable(features, starts, self.config)
        device = self.directions.device
        found = []
        for wells in _whole_wells(starts, cells_at_once):
            own = starts[wells.start : wells.stop + 1]
            cells = torch.from_numpy(np.ascontiguousarray(features[own[0] : own[-1]])).to(device)
            members = torch.block_diag(*(torch.ones(1, n, device=device) for n in np.diff(own).tolist()))
            found.append(self.summaries(cells, members))
        return self.of_summaries(torch.cat(found)).cpu().numpy()


def _products(values: Tensor) -> Tensor:
    """(N, K) → (N, K (K + 1) / 2) of every column with itself and those after it."""
    one, other = torch.triu_indices(values.shape[1], values.shape[1], device=values.device)
    return values[:, one] * values[:, other]


def _whole_wells(starts: NDArray[np.int64], cells_at_once: int) -> Iterator[range]:
    """Places of wells that hold so many cells together, or one that holds more."""
    first = 0
    while first < len(starts) - 1:
        end = int(np.searchsorted(starts, starts[first] + cells_at_once, side="right")) - 1
        yield range(first, max(first + 1, end))
        first = max(first + 1, end)
