"""The depthwise convolution's own gradients against PyTorch's in double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cell_assets.methods.dynaclr.depthwise import DepthwiseConv2d

BFLOAT16_STEP = 2.0**-8
"""Largest relative error of one rounding to bfloat16."""


def gradients_of(layer: DepthwiseConv2d, x: Tensor, into: Tensor, half: bool) -> tuple[Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        made = layer(x)
    return (made, *torch.autograd.grad(made, (x, layer.weight, layer.bias), into.to(made.dtype)))


@pytest.mark.parametrize(("channels", "side", "kernel"), [(96, 32, 7), (8, 5, 7), (3, 1, 3)])
def test_gradients_in_bfloat16_are_those_of_the_rounded_numbers(
    channels: int, side: int, kernel: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    layer = DepthwiseConv2d(channels, kernel)
    x = torch.randn(4, channels, side, side + 1, generator=generator).bfloat16().float().requires_grad_()
    into = torch.randn(4, channels, side, side + 1, generator=generator).bfloat16()
    found = gradients_of(layer, x, into, half=True)
    exact = [part.detach().bfloat16().double().requires_grad_() for part in (x, layer.weight, layer.bias)]
    image = F.conv2d(*exact, padding=kernel // 2, groups=channels)
    expected = (image, *torch.autograd.grad(image, exact, into.double()))
    assert [part.dtype for part in found] == [torch.bfloat16, *[torch.float32] * 3]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 2 * BFLOAT16_STEP * theirs.abs().max()
    # The kernel's gradients are sums over all images, which float32 holds.
    for ours, theirs in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_float32_is_the_plain_convolution() -> None:
    layer = DepthwiseConv2d(6, 7)
    plain = torch.nn.Conv2d(6, 6, 7, padding=3, groups=6)
    plain.load_state_dict(layer.state_dict())
    x, into = torch.randn(2, 6, 9, 8, requires_grad=True), torch.randn(2, 6, 9, 8)
    found = gradients_of(layer, x, into, half=False)
    assert torch.equal(found[0], plain(x))
    expected = torch.autograd.grad(plain(x), (x, plain.weight, plain.bias), into)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found[1:], expected, strict=True))
