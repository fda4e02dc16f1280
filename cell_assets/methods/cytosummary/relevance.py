"""How much every cell has to say in its well's profile (paper, Interpretability analysis).

Two scores: sensitivity, how far the loss moves with the cell's features (Eq. 3), and activation, how large φ of the
cell is, as in the critical points of PointNet (Qi et al. 2017). Both are scaled to 0 to 1 within each well, and so is
their sum. Bright debris has the largest φ of its well and hardly moves the loss, so that its sum is like any cell's;
the lesser of both ranks, which the paper does not have, is low for it (`benchmarks/cytosummary_relevance`).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.network import CytoSummaryNet, blocks
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import Denominator
from cell_assets.methods.cytosummary.summed_cells import NEGATIVE_SLOPE


@dataclass(frozen=True)
class Relevance:
    """Scores (N,) of N cells, each from 0 (least of its well) to 1 (most)."""

    sensitivity: NDArray[np.float64]
    activation: NDArray[np.float64]
    combined: NDArray[np.float64]
    """Of the sum of both."""
    lesser_rank: NDArray[np.float64]
    """Of the lower of the two ranks within the well; equal scores share their mean rank."""


def cell_relevance(
    network: CytoSummaryNet,
    features: NDArray[np.float32],
    starts: NDArray[np.int64],
    compound: NDArray[np.int64],
    temperature: float = 0.1,
    denominator: Denominator = Denominator.ALL_OTHERS,
    cells_at_once: int = 4096,
) -> Relevance:
    """Scores of every cell of one plate's wells, each well held against all others by the training's loss.

    Where φ was conditioned on the plate's controls, the network is that of the plate: what control cells do to it is
    held fixed.

    A well's loss reaches a cell through the well's sum alone, so one gradient of W sums is carried on to the cells
    block by block: twice the work of profiling, and memory that does not grow with the cells.

    Args:
        features: (N, D), the cells of well 0, then those of well 1 and so on.
        starts: (W + 1,).
        compound: (W,) codes.

    Raises:
        BadInputError: a well has fewer than two cells, of which none can be more relevant than another.
    """
    few = np.flatnonzero(np.diff(starts) < 2)
    if len(few):
        raise BadInputError(
            f"wells at places {', '.join(map(str, few[:5]))} have fewer than two cells, and relevance compares those "
            "of one well; leave them out"
        )
    device = network.phi.weight.device
    sums = network.sums_of_wells(features, starts, cells_at_once=cells_at_once).requires_grad_()
    loss = supcon_loss(network.of_sums(sums), torch.from_numpy(compound).to(device), temperature, denominator)
    (pull,) = torch.autograd.grad(loss, sums)
    sensitivity, activation = np.empty(len(features)), np.empty(len(features))
    with torch.no_grad():
        for block, wells, within in blocks(starts, cells_at_once):
            cells = torch.from_numpy(np.ascontiguousarray(features[block])).to(device)
            linear = network.phi(cells)
            slope = torch.where(linear > 0, 1.0, NEGATIVE_SLOPE)
            own = pull[wells.start : wells.stop][torch.from_numpy(within).to(device)]
            sensitivity[block] = ((slope * own) @ network.phi.weight).abs().sum(1).cpu().numpy()
            activation[block] = F.leaky_relu(linear, NEGATIVE_SLOPE).abs().sum(1).cpu().numpy()
    sensitivity, activation = (_within_wells(score, starts) for score in (sensitivity, activation))
    lesser = np.minimum(*(_ranks_within_wells(score, starts) for score in (sensitivity, activation)))
    return Relevance(
        sensitivity,
        activation,
        _within_wells(sensitivity + activation, starts),
        _within_wells(lesser, starts),
    )


def _ranks_within_wells(score: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    n = np.diff(starts)
    return np.asarray(pd.Series(score).groupby(np.arange(len(n)).repeat(n)).rank(), np.float64)


def _within_wells(score: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """From 0 to 1 in every well; a well whose cells all score the same has none above another, and they are 0."""
    n = np.diff(starts)
    least, most = (end.reduceat(score, starts[:-1]).repeat(n) for end in (np.minimum, np.maximum))
    return np.divide(score - least, most - least, out=np.zeros_like(score), where=most > least)
