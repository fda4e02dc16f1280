"""The network against hand-counted parameters, hand-made arithmetic and its rule for depth."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.network import ConvNextBlock, DynaclrNetwork, NetworkConfig
from cell_assets.methods.dynaclr.stem import stem_shape

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


KINDS = (ChannelKind.FLUORESCENCE, ChannelKind.PHASE)


def adaptive(depth: int = 5, **changes: object) -> DynaclrNetwork:
    torch.manual_seed(0)
    config = {"channels": 2, "depth": depth, "kinds": KINDS, "layer_scale": 0.1, **SMALL, **changes}
    return DynaclrNetwork(NetworkConfig.model_validate(config)).eval()


@pytest.mark.parametrize("depth", [1, 5, 7])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_adaptive_stem_takes_any_number_of_channels(depth: int, channels: int) -> None:
    network = adaptive(depth)
    kinds = network.kind_codes([ChannelKind.PHASE] + [ChannelKind.FLUORESCENCE] * (channels - 1))
    assert network(torch.randn(3, channels, depth, 32, 48), kinds).features.shape == (3, 24)
    with pytest.raises(TypeError, match="needs the kinds of its channels"):
        network(torch.randn(3, channels, depth, 32, 48))


def test_channels_of_one_kind_are_a_set_and_kinds_are_told_apart() -> None:
    network = adaptive()
    kinds = network.kind_codes([ChannelKind.PHASE, ChannelKind.FLUORESCENCE, ChannelKind.FLUORESCENCE])
    patch = torch.randn(2, 3, 5, 32, 32)
    features = network(patch, kinds).features
    torch.testing.assert_close(network(patch[:, [0, 2, 1]], kinds).features, features)
    assert not torch.allclose(network(patch[:, [1, 0, 2]], kinds).features, features, atol=1e-2)
    # Adding channels up would lose which was which.
    mixed = torch.stack([patch[:, 0] + patch[:, 1], torch.zeros(2, 5, 32, 32), patch[:, 2]], 1)
    assert not torch.allclose(network(mixed, kinds).features, features, atol=1e-2)


def test_a_hidden_channel_is_as_good_as_absent() -> None:
    network = adaptive()
    both = network.kind_codes([ChannelKind.PHASE, ChannelKind.FLUORESCENCE])
    patch = torch.randn(2, 2, 5, 32, 32)
    shown = torch.tensor([[True, False], [True, True]])
    made = network(patch, both, shown).features
    alone = network(patch[:1, :1], network.kind_codes([ChannelKind.PHASE])).features
    torch.testing.assert_close(made[:1], alone)
    torch.testing.assert_close(made[1:], network(patch, both).features[1:])


def test_a_kind_that_it_was_not_made_for_has_no_code() -> None:
    network = adaptive(kinds=(ChannelKind.PHASE,))
    with pytest.raises(ValueError, match="not in tuple"):
        network.kind_codes([ChannelKind.FLUORESCENCE])
    assert DynaclrNetwork(NetworkConfig(channels=2, depth=1, **SMALL)).kind_codes(KINDS) is None


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
