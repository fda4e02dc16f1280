"""The 2-D U-Net (Ronneberger et al. 2015), with group normalisation, which does not depend on the batch."""

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

N_CLASSES = 3
"""Background, the one state, the other."""
_GROUPS = 8


class UNetConfig(BaseModel):
    """What the network is built from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int
    """Of the image."""
    base_width: int
    depth: int


class UNet(nn.Module):
    """Images (N, C, Y, X), sides multiples of 2^depth, to logits (N, 3, Y, X)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.base_width * 2**level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(
            _double_convolution(entering, leaving)
            for entering, leaving in zip([config.channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            # What comes from below is upsampled and joined with what was seen at this resolution on the way down.
            _double_convolution(below + here, here)
            for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], N_CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = []
        x = images
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            seen.append(x)
        seen.pop()
        for block in self.up:
            x = block(torch.cat([seen.pop(), F.interpolate(x, scale_factor=2, mode="nearest")], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _double_convolution(entering: int, leaving: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (entering, leaving):
        layers += [nn.Conv2d(width, leaving, 3, padding=1), nn.GroupNorm(_GROUPS, leaving), nn.ReLU()]
    return nn.Sequential(*layers)
