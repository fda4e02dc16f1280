"""The network: sums do not care for order, parts or multiplicity by any other means than how often a cell counts."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cell_assets.errors import BadInputError
from cell_assets.methods.cytosummary.network import CytoSummaryNet, NetworkConfig
from cell_assets.methods.cytosummary.summed_cells import Counts
from cell_assets.methods.processor import Precision

D = 7
SMALL = NetworkConfig(features=D, cell_width=16, hidden_width=8, profile_width=12)


def network(config: NetworkConfig = SMALL) -> CytoSummaryNet:
    torch.manual_seed(0)
    return CytoSummaryNet(config)


def cells(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def test_the_published_network_has_as_many_weights_as_theirs() -> None:
    # Linear layers by hand: 1324 features, φ 2048, ρ 512 and 2048.
    expected = (1324 + 1) * 2048 + (2048 + 1) * 512 + (512 + 1) * 2048
    found = sum(p.numel() for p in CytoSummaryNet(NetworkConfig(features=1324)).parameters())
    assert found == expected == 4_813_312


def test_one_set_by_hand() -> None:
    net, x = network(), cells(3)

    def leaky(values: Tensor) -> Tensor:
        return torch.where(values > 0, values, 0.01 * values)

    summed = leaky(x @ net.phi.weight.T + net.phi.bias).sum(0)
    first, second = net.rho[0], net.rho[2]
    hidden = leaky(first.weight @ summed + first.bias)
    torch.testing.assert_close(
        net(x, Counts.of(torch.ones(1, 3)))[0],
        leaky(second.weight @ hidden + second.bias),
        atol=1e-5,
        rtol=1e-5,
    )


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), sets=st.integers(1, 5))
@settings(max_examples=30)
def test_counting_cells_is_handing_them_in_as_often(seed: int, n: int, sets: int) -> None:
    net, x = network(), cells(n, seed % 1000)
    drawn = torch.randint(n, (sets, 30), generator=torch.Generator().manual_seed(seed))
    counts = torch.stack([torch.bincount(row, minlength=n) for row in drawn]).float()
    with torch.no_grad():
        one_by_one = torch.cat([net(x[row], Counts.of(torch.ones(1, 30))) for row in drawn])
        torch.testing.assert_close(net(x, Counts.of(counts)), one_by_one, atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_sets_handed_in_one_by_one() -> None:
    net, x = network(), cells(5)
    drawn = torch.tensor([[0, 0, 1], [4, 2, 4]])
    counts = torch.stack([torch.bincount(row, minlength=5) for row in drawn]).float()
    weights = torch.randn(2, 12, generator=torch.Generator().manual_seed(3))
    (net(x, Counts.of(counts)) * weights).sum().backward()
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    (torch.cat([net(x[row], Counts.of(torch.ones(1, 3))) for row in drawn]) * weights).sum().backward()
    expected = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(found) == len(expected) == 6
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [(Precision.FLOAT32, 1e-5), (Precision.BFLOAT16, 1e-2)])
@pytest.mark.parametrize("cells_at_once", [1, 7, 64, 1000])
def test_neither_order_nor_blocks_of_cells_change_a_well(
    precision: Precision, tolerance: float, cells_at_once: int
) -> None:
    net, x = network(), cells(301).numpy()
    starts = np.array([0, 1, 60, 61, 300, 301])  # two wells of many cells, three of one
    whole = net.profiles_of(x, starts, precision)
    order = np.concatenate(
        [np.random.default_rng(0).permutation(np.arange(a, b)) for a, b in pairwise(starts)]
    )
    again = net.profiles_of(x[order], starts, precision, cells_at_once)
    scale = np.abs(whole).max(1, keepdims=True)
    np.testing.assert_allclose(again / scale, whole / scale, atol=tolerance)
    with torch.no_grad():
        one_by_one = [
            net(torch.from_numpy(x[a:b]), Counts.of(torch.ones(1, b - a))) for a, b in pairwise(starts)
        ]
    np.testing.assert_allclose(whole / scale, torch.cat(one_by_one).numpy() / scale, atol=tolerance)


@pytest.mark.parametrize(
    ("config", "precision", "relative"),
    [
        (SMALL, Precision.FLOAT32, 1e-5),
        (SMALL, Precision.BFLOAT16, 1e-2),
        (NetworkConfig(features=1324), Precision.FLOAT32, 1e-5),
        (NetworkConfig(features=1324), Precision.BFLOAT16, 1e-2),
    ],
    ids=["float32", "bfloat16", "float32 as wide as the paper's", "bfloat16 as wide as the paper's"],
)
def test_halves_of_a_well_add_up_to_it(config: NetworkConfig, precision: Precision, relative: float) -> None:
    net = network(config)
    x = np.random.default_rng(1).normal(size=(50, config.features)).astype(np.float32)
    halves = net.sums_of_wells(x, np.array([0, 20, 50]), precision)
    whole = net.sums_of_wells(x, np.array([0, 50]), precision)
    with torch.no_grad():
        added, at_once = (net.of_sums(one)[0] for one in (halves.sum(0, keepdim=True), whole))
        in_training = net(torch.from_numpy(x), Counts.of(torch.ones(1, 50)))[0]
    for found, expected in ((added, at_once), (at_once, in_training)):
        assert (found - expected).norm() < relative * expected.norm()


def test_a_well_without_cells_and_other_features_are_named() -> None:
    net = network()
    with pytest.raises(BadInputError, match="wells at places 1 have no cell"):
        net.profiles_of(cells(4).numpy(), np.array([0, 2, 2, 4]))
    with pytest.raises(BadInputError, match="cells have 6 features and the network was trained on 7"):
        net.profiles_of(cells(4).numpy()[:, :6], np.array([0, 4]))
