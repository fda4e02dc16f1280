"""The network: every cell through φ, the sum over a set's cells, and ρ of that sum (Experimental Setup, Fig. 7).

Deep Sets (Zaheer et al. 2017): whatever the order of cells, and however a set is cut into parts, the sum is the same.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.summed_cells import NEGATIVE_SLOPE, Counts, summed_cells
from cell_assets.methods.processor import Precision


class NetworkConfig(BaseModel):
    """Everything that decides the network's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(ge=1)
    """D, features of a cell."""
    cell_width: int = Field(default=2048, ge=1)
    """What φ makes of a cell."""
    hidden_width: int = Field(default=512, ge=1)
    """Between the two layers of ρ."""
    profile_width: int = Field(default=2048, ge=1)
    """P, features of a profile."""


class CytoSummaryNet(nn.Module):
    """Sets of cells → profiles."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.phi = nn.Linear(config.features, config.cell_width)
        self.rho = nn.Sequential(
            nn.Linear(config.cell_width, config.hidden_width),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Linear(config.hidden_width, config.profile_width),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )

    def forward(self, cells: Tensor, counts: Counts) -> Tensor:
        """Profiles (S, P) of S sets that are drawn with replacement from U different cells.

        φ sees each cell once, however often it was drawn, so that nothing but rounding differs and no cell costs twice.

        Args:
            cells: (U, D).
            counts: of S sets over these cells.
        """
        return self.of_sums(summed_cells(cells, counts, self.phi.weight, self.phi.bias))

    def of_cells(self, cells: Tensor) -> Tensor:
        """φ: (N, D) → (N, W)."""
        return F.leaky_relu_(self.phi(cells), NEGATIVE_SLOPE)

    def of_sums(self, sums: Tensor) -> Tensor:
        """ρ: (S, W) → (S, P)."""
        profiles: Tensor = self.rho(sums)
        return profiles

    @torch.no_grad()
    def profiles_of(
        self,
        features: NDArray[np.float32],
        starts: NDArray[np.int64],
        precision: Precision = Precision.FLOAT32,
        cells_at_once: int = 4096,
    ) -> NDArray[np.float32]:
        """Profiles (W, P) of whole wells, each of as many cells as it has: ρ of `sums_of_wells`.

        Raises:
            BadInputError: a well has no cell, and so no profile; or features are not as many as the network's.
        """
        # ρ in float32: it is a thousandth of the work, and would round what was summed so carefully.
        return self.of_sums(self.sums_of_wells(features, starts, precision, cells_at_once)).cpu().numpy()

    @torch.no_grad()
    def sums_of_wells(
        self,
        features: NDArray[np.float32],
        starts: NDArray[np.int64],
        precision: Precision = Precision.FLOAT32,
        cells_at_once: int = 4096,
    ) -> Tensor:
        """(W, cell_width) sums of φ over the cells of every well, in float32 over blocks whatever the precision.

        Memory holds φ of `cells_at_once` cells beside the sums, so `features` may be a memory map; a well may reach
        over several such blocks.

        Args:
            features: (N, D), the cells of well 0, then those of well 1 and so on; scaled as in training.
            starts: (W + 1,), where the cells of each well begin, and N.

        Raises:
            BadInputError: a well has no cell; or features are not as many as the network's.
        """
        require_profilable(features, starts, self.config)
        device = self.phi.weight.device
        sums = torch.zeros(len(starts) - 1, self.config.cell_width, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision is Precision.BFLOAT16):
            for block, wells, within in blocks(starts, cells_at_once):
                of_cells = self.of_cells(torch.from_numpy(np.ascontiguousarray(features[block])).to(device))
                # A product with zeros and ones: an `index_add_` would read φ several times from memory.
                members = torch.zeros(len(wells), len(within), device=device)
                members[torch.from_numpy(within), torch.arange(len(within))] = 1
                sums[wells.start : wells.stop] += (members @ of_cells).float()
        return sums


def require_profilable(
    features: NDArray[np.float32], starts: NDArray[np.int64], config: NetworkConfig
) -> None:
    """Refuse wells that have no profile.

    Raises:
        BadInputError: a well has no cell; or features are not as many as the network's.
    """
    empty = np.flatnonzero(np.diff(starts) < 1)
    if len(empty):
        raise BadInputError(
            f"wells at places {', '.join(map(str, empty[:5]))} have no cell and so no profile; leave them out"
        )
    if features.shape[1] != config.features:
        raise BadInputError(
            f"cells have {features.shape[1]} features and the network was trained on {config.features}; give "
            "those that its checkpoint names"
        )


def blocks(starts: NDArray[np.int64], cells_at_once: int) -> Iterator[tuple[slice, range, NDArray[np.int64]]]:
    """Cells in blocks: which cells, which wells they touch, and the place (n,) of every cell's well among these."""
    for begin in range(0, int(starts[-1]), cells_at_once):
        end = min(begin + cells_at_once, int(starts[-1]))
        well = np.searchsorted(starts, np.arange(begin, end), side="right") - 1
        first, last = int(well[0]), int(well[-1])
        yield slice(begin, end), range(first, last + 1), well - first
