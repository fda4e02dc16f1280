"""How a patch enters the backbone: the paper's 3-D projection stem, and one that takes any channels.

Tensors in, tensors out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAPER_STEM_DEPTH = 5
"""Depth of the stem's kernel and stride in the paper (appendix A.1): (5, 4, 4)."""


class StemShape(NamedTuple):
    """How a patch of some depth is cut into slabs that the stem folds into channels."""

    kernel_depth: int
    slabs: int
    pad_before: int
    pad_after: int


def stem_shape(depth: int, width: int) -> StemShape:
    """Slabs of a patch with `depth` slices whose folded channels must make `width`.

    The paper's case is 15 slices = 3 slabs of 5, 32 channels each. The rule for other depths: the kernel is
    min(5, depth) deep, the number of slabs is the smallest divisor of `width` that covers all slices, and
    missing slices repeat the outermost ones, half on each side. No slice is dropped; 2-D data (one slice)
    is one slab of depth 1.
    """
    kernel = min(PAPER_STEM_DEPTH, depth)
    slabs = -(-depth // kernel)
    while slabs <= width and width % slabs:
        slabs += 1
    if slabs > width:
        raise ValueError(f"a patch of {depth} slices does not fold into {width} channels")
    missing = slabs * kernel - depth
    return StemShape(kernel, slabs, missing // 2, missing - missing // 2)


class ProjectionStem(nn.Module):
    """(N, C, Z, Y, X) → (N, Y/4, X/4, width): strided 3-D convolution, depth folded into channels."""

    def __init__(
        self, channels: int, shape: StemShape, width: int, side: int, gains: Sequence[float]
    ) -> None:
        super().__init__()
        self.shape = shape
        kernel = (shape.kernel_depth, side, side)
        self.conv = nn.Conv3d(channels, width // shape.slabs, kernel, stride=kernel)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(_bias(self.conv))
        # Not among the weights: the configuration states it.
        self.register_buffer("gains", torch.tensor(gains).view(1, -1, 1, 1, 1), persistent=False)
        self.gains: Tensor
        self.has_gains = any(gain != 1 for gain in gains)

    def forward(self, patches: Tensor) -> Tensor:
        if self.has_gains:
            patches = patches * self.gains
        return _folded(self.conv, self.shape, patches).permute(0, 2, 3, 1)


class ChannelAdaptiveStem(nn.Module):
    """(N, C, Z, Y, X) of any C → (N, Y/4, X/4, width): the mean over what each shown channel says alone.

    Every channel goes through the same convolution; a scale and a shift by its kind and a GELU then keep kinds apart
    in the mean. Channels of one kind are a set: their order says nothing, and one more is no new input.
    """

    def __init__(self, kinds: int, shape: StemShape, width: int, side: int, gains: Sequence[float]) -> None:
        super().__init__()
        self.shape = shape
        kernel = (shape.kernel_depth, side, side)
        self.conv = nn.Conv3d(1, width // shape.slabs, kernel, stride=kernel)
        # Values of order 1, where a GELU bends; and shifts that differ, so that kinds do from the first step.
        nn.init.normal_(self.conv.weight, std=self.conv.weight[0].numel() ** -0.5)
        nn.init.zeros_(_bias(self.conv))
        self.scale = nn.Parameter(
            torch.tensor(gains).expand(kinds).repeat_interleave(width).view(kinds, width)
        )
        self.shift = nn.Parameter(nn.init.normal_(torch.empty(kinds, width)))

    def forward(self, patches: Tensor, kinds: Tensor, shown: Tensor | None) -> Tensor:
        n, c = patches.shape[:2]
        alone = _folded(self.conv, self.shape, patches.flatten(0, 1)[:, None]).unflatten(0, (n, c))
        scale, shift = self.scale[kinds], self.shift[kinds]  # (C, width)
        said = F.gelu(alone * scale[None, :, :, None, None] + shift[None, :, :, None, None])
        weight = torch.ones(n, c, device=patches.device) if shown is None else shown.to(torch.float32)
        weight = weight / weight.sum(1, keepdim=True)
        return torch.einsum("nc,ncwyx->nyxw", weight.to(said.dtype), said)


def _folded(conv: nn.Conv3d, shape: StemShape, patches: Tensor) -> Tensor:
    """(N, C, Z, Y, X) → (N, width, Y/4, X/4)."""
    if shape.pad_before or shape.pad_after:
        patches = F.pad(patches, (0, 0, 0, 0, shape.pad_before, shape.pad_after), mode="replicate")
    return conv(patches).flatten(1, 2)


def _bias(conv: nn.Conv3d) -> Tensor:
    if conv.bias is None:
        raise TypeError("a stem's convolution has a bias")
    return conv.bias
