"""Relevance of cells: against autograd through the whole plate, and on cells whose part in a profile is known."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.objective import supcon_loss
from cell_assets.methods.cytosummary.parameters import Denominator
from cell_assets.methods.cytosummary.relevance import cell_relevance
from cell_assets.methods.cytosummary.summed_cells import Counts

STARTS = np.array([0, 5, 25, 28, 60])
COMPOUND = np.array([0, 1, 0, 1])


def plate() -> tuple[CytoSummaryNet, np.ndarray]:
    torch.manual_seed(0)
    network = CytoSummaryNet(NetworkConfig(features=4, cell_width=16, hidden_width=8, profile_width=12))
    return network, np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)


def scaled(score: np.ndarray) -> np.ndarray:
    parts = [score[a:b] for a, b in pairwise(STARTS)]
    return np.concatenate([(part - part.min()) / (part.max() - part.min()) for part in parts])


@pytest.mark.parametrize("denominator", list(Denominator))
@pytest.mark.parametrize("cells_at_once", [7, 4096])
def test_against_autograd_through_all_cells(denominator: Denominator, cells_at_once: int) -> None:
    network, features = plate()
    cells = torch.from_numpy(features).requires_grad_()
    members = torch.zeros(4, 60)
    for well, (start, end) in enumerate(pairwise(STARTS)):
        members[well, start:end] = 1
    supcon_loss(network(cells, Counts.of(members)), torch.from_numpy(COMPOUND), 0.1, denominator).backward()
    assert cells.grad is not None
    found = cell_relevance(network, features, STARTS, COMPOUND, 0.1, denominator, cells_at_once)
    sensitivity = scaled(cells.grad.abs().sum(1).double().numpy())
    activation = scaled(network.of_cells(torch.from_numpy(features)).abs().sum(1).detach().double().numpy())
    np.testing.assert_allclose(found.sensitivity, sensitivity, atol=1e-4)
    np.testing.assert_allclose(found.activation, activation, atol=1e-5)
    np.testing.assert_allclose(found.combined, scaled(sensitivity + activation), atol=1e-4)
    ranks = [
        np.minimum(*(rankdata(score[a:b]) for score in (sensitivity, activation)))
        for a, b in pairwise(STARTS)
    ]
    np.testing.assert_allclose(found.lesser_rank, scaled(np.concatenate(ranks)))


def test_a_cell_that_phi_answers_most_has_the_highest_activation() -> None:
    network, features = plate()
    features[30] *= 100
    found = cell_relevance(network, features, STARTS, COMPOUND)
    assert found.activation[28:].argmax() == 2 and found.activation[30] == 1
    assert all(
        score.min() >= 0 and score.max() == 1
        for score in (found.sensitivity, found.activation, found.combined, found.lesser_rank)
    )


def test_cells_that_are_all_alike_have_none_above_another() -> None:
    network, features = plate()
    features[:5] = features[0]
    found = cell_relevance(network, features, STARTS, COMPOUND)
    assert (found.combined[:5] == 0).all() and (found.lesser_rank[:5] == 0).all()


def test_a_well_of_one_cell_is_named() -> None:
    network, features = plate()
    with pytest.raises(BadInputError, match="wells at places 1 have fewer than two cells"):
        cell_relevance(network, features, np.array([0, 59, 60]), np.array([0, 1]))
