"""The network against hand-counted parameters, hand-made arithmetic and its rule for depth."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.methods.dynaclr.network import ConvNextBlock, DynaclrNetwork, NetworkConfig, stem_shape

SMALL = {"widths": (8, 12, 16, 24), "blocks": (1, 1, 2, 1)}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_network_has_the_parameters_of_convnext_tiny_without_stem_and_head() -> None:
    network = DynaclrNetwork(NetworkConfig(channels=2, depth=15))
    # ConvNeXt-Tiny has 28,589,128; its stem convolution 3*4*4*96 + 96, its classifier 768*1000 + 1000.
    assert count(network.backbone) == 28_589_128 - (3 * 4 * 4 * 96 + 96) - (768 * 1000 + 1000)
    assert count(network.stem) == 2 * 5 * 4 * 4 * 32 + 32
    assert count(network.projection) == (768 * 768 + 768) + 2 * 768 + (768 * 32 + 32) + 2 * 32


@pytest.mark.parametrize(
    ("depth", "width", "expected"),
    [
        (15, 96, (5, 3, 0, 0)),
        (30, 96, (5, 6, 0, 0)),
        (5, 96, (5, 1, 0, 0)),
        (1, 96, (1, 1, 0, 0)),
        (3, 96, (3, 1, 0, 0)),
        (7, 96, (5, 2, 1, 2)),
        (25, 96, (5, 6, 2, 3)),
    ],
)
def test_stem_shape(depth: int, width: int, expected: tuple[int, int, int, int]) -> None:
    assert tuple(stem_shape(depth, width)) == expected


@given(depth=st.integers(1, 200))
def test_every_slice_is_seen_and_folds_into_the_width(depth: int) -> None:
    shape = stem_shape(depth, 96)
    assert shape.slabs * shape.kernel_depth == depth + shape.pad_before + shape.pad_after
    assert 96 % shape.slabs == 0
    assert 0 <= shape.pad_after - shape.pad_before <= 1


@pytest.mark.parametrize("depth", [1, 5, 7, 15])
def test_shapes(depth: int) -> None:
    network = DynaclrNetwork(NetworkConfig(channels=2, depth=depth, **SMALL)).eval()
    features, projections = network(torch.randn(3, 2, depth, 32, 48))
    assert features.shape == (3, 24)
    assert projections.shape == (3, 32)


def test_the_outermost_slices_reach_the_features() -> None:
    network = DynaclrNetwork(NetworkConfig(channels=1, depth=7, layer_scale=0.1, **SMALL)).eval()
    patch = torch.randn(1, 1, 7, 32, 32)
    for z in (0, 6):
        changed = patch.clone()
        changed[:, :, z] += torch.randn(32, 32)
        assert not torch.allclose(network(patch).features, network(changed).features, atol=1e-6)


def test_block_is_the_published_formula() -> None:
    torch.manual_seed(0)
    block = ConvNextBlock(6, layer_scale=0.5, drop=0.0)
    x = torch.randn(2, 6, 9, 9)
    y = F.conv2d(x, block.depthwise.weight, block.depthwise.bias, padding=3, groups=6)
    centred = y - y.mean(1, keepdim=True)
    y = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    y = F.conv2d(y, block.expand.weight[..., None, None], block.expand.bias)
    y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
    y = x + 0.5 * F.conv2d(y, block.contract.weight[..., None, None], block.contract.bias)
    torch.testing.assert_close(block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), y)


def test_stochastic_depth_drops_whole_samples_and_only_in_training() -> None:
    torch.manual_seed(0)
    block = ConvNextBlock(4, layer_scale=1.0, drop=0.5)
    x = torch.randn(64, 3, 3, 4)
    branch = block.eval()(x) - x
    kept = block.train()(x) - x
    dropped = (kept.flatten(1).abs().amax(1) == 0).float().mean()
    assert 0.3 < dropped < 0.7
    survivors = kept.flatten(1).abs().amax(1) > 0
    torch.testing.assert_close(kept[survivors], 2 * branch[survivors], atol=1e-5, rtol=1e-4)


def test_channel_gains_scale_what_enters() -> None:
    torch.manual_seed(0)
    plain = DynaclrNetwork(NetworkConfig(channels=2, depth=1, **SMALL)).eval()
    louder = DynaclrNetwork(NetworkConfig(channels=2, depth=1, channel_gains=(1.0, 4.0), **SMALL)).eval()
    louder.load_state_dict(plain.state_dict())
    patch = torch.randn(2, 2, 1, 32, 32)
    scaled = patch * torch.tensor([1.0, 4.0]).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(louder(patch).features, plain(scaled).features)
    with pytest.raises(ValueError, match="1 channel gains were given for 2 channels"):
        NetworkConfig(channels=2, depth=1, channel_gains=(4.0,))
