"""φ that sees its plate's control cells: they scale and shift what it makes of a cell (FiLM, Perez et al. 2018).

Scaling by controls mends what a plate does to each feature alone. How it mixes features, or bends them, shows in the
joint distribution of scaled control cells, which should be the same everywhere; here a network learns what to make of
it.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.summed_cells import NEGATIVE_SLOPE, Counts, summed_cells

_WIDTH = 32
"""Of the layer that sees control cells: training sees few plates, and could learn each by heart."""


class CellsOfPlate(NamedTuple):
    """Which cells of a batch are of one plate."""

    begin: int
    end: int
    controls: Tensor
    """(C, D) some of the plate's control cells, scaled by all of them as the cells are."""


class ConditionedNet(nn.Module):
    """Sets of cells, scaled by their plates' controls, and those controls → profiles.

    φ of a cell x is leaky ReLU of (1 + γ) (W x + b) + β, where γ and β (cell_width,) are of the plate. That is a linear
    layer, too: on one plate this is a `CytoSummaryNet` of other weights, and costs nothing more. Before training γ and
    β are 0 everywhere.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        # First, so that equal seeds begin with what is without conditioning.
        self.net = CytoSummaryNet(config)
        self.per_control = nn.Linear(config.features, _WIDTH)
        self.scale_and_shift = nn.Linear(_WIDTH, 2 * config.cell_width)
        nn.init.zeros_(self.scale_and_shift.weight)
        nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, cells: Tensor, counts: Counts, plates: Sequence[CellsOfPlate]) -> Tensor:
        """As `CytoSummaryNet.forward`, of cells (U, D) that lie plate by plate."""
        of_plates = [
            summed_cells(
                cells[one.begin : one.end], counts.of_cells(one.begin, one.end), *self.phi_on(one.controls)
            )
            for one in plates
        ]
        return self.net.of_sums(torch.stack(of_plates).sum(0))

    def phi_on(self, controls: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (cell_width, D) and bias (cell_width,) of φ on the plate of these control cells (C, D), in any order.

        They are summarised by a mean over them of what one layer makes of each. Means and standard deviations that
        scaling took off are not seen: they tell plates apart, and a network learns those of training by heart.
        """
        # Differences between plates are small beside what they are of, and bfloat16 would round them off.
        with torch.autocast(controls.device.type, enabled=False):
            of_each = F.leaky_relu(self.per_control(controls), NEGATIVE_SLOPE)
            scale, shift = self.scale_and_shift(of_each.mean(0)).chunk(2)
            phi = self.net.phi
            return (1 + scale)[:, None] * phi.weight, (1 + scale) * phi.bias + shift

    @torch.no_grad()
    def on_plate(self, controls: Tensor) -> CytoSummaryNet:
        """The network for all cells of the plate of these control cells."""
        network = copy.deepcopy(self.net)
        weight, bias = self.phi_on(controls.to(network.phi.weight.device))
        network.phi.weight.copy_(weight)
        network.phi.bias.copy_(bias)
        return network
