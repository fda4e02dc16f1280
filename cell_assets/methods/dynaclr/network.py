"""DynaCLR's network: a 3-D stem, a ConvNeXt backbone and a projection head.

Tensors in, tensors out; no data, no loss, no training loop here. The backbone follows Liu et al. 2022 ("A
ConvNet for the 2020s"), written out so that neither torchvision nor timm is needed.
"""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

PAPER_STEM_DEPTH = 5
"""Depth of the stem's kernel and stride in the paper (appendix A.1): (5, 4, 4)."""


class NetworkConfig(BaseModel):
    """Everything needed to build the network again; the defaults are the paper's (appendix A.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(ge=1)
    """Image channels of a patch."""
    depth: int = Field(ge=1)
    """Z slices of a patch."""
    widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    """Channels of the four stages; the last is the width of the feature vector."""
    blocks: tuple[int, int, int, int] = (3, 3, 9, 3)
    """ConvNeXt blocks in each stage."""
    stem_side: int = Field(default=4, ge=1)
    """Lateral kernel and stride of the stem, pixels."""
    projection: int = Field(default=32, ge=1)
    """Width of the projection on which the loss is computed."""
    layer_scale: float = Field(default=1e-6, gt=0)
    """Initial value of the per-channel scale of every residual branch."""
    channel_gains: tuple[float, ...] = ()
    """Factor on every channel as it enters; empty where all are 1."""
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1)
    """Probability of dropping the last residual branch; earlier ones grow linearly from 0."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if min(self.widths) < 1 or min(self.blocks) < 1:
            raise ValueError("widths and blocks must be 1 or more in every stage")
        if self.channel_gains and len(self.channel_gains) != self.channels:
            raise ValueError(
                f"{len(self.channel_gains)} channel gains were given for {self.channels} channels"
            )
        return self

    @property
    def smallest_side(self) -> int:
        """Smallest patch side in pixels: after stem and three halvings one pixel is left."""
        return self.stem_side * 8


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

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, side = config.widths[0], config.stem_side
        self.shape = stem_shape(config.depth, width)
        kernel = (self.shape.kernel_depth, side, side)
        self.conv = nn.Conv3d(config.channels, width // self.shape.slabs, kernel, stride=kernel)
        gains = torch.tensor(config.channel_gains or (1.0,)).view(1, -1, 1, 1, 1)
        # Not among the weights: the configuration states it.
        self.register_buffer("gains", gains, persistent=False)
        self.gains: Tensor
        self.has_gains = any(gain != 1 for gain in config.channel_gains)

    def forward(self, patches: Tensor) -> Tensor:
        if self.has_gains:
            patches = patches * self.gains
        before, after = self.shape.pad_before, self.shape.pad_after
        if before or after:
            patches = F.pad(patches, (0, 0, 0, 0, before, after), mode="replicate")
        slabs = self.conv(patches)  # (N, width / slabs, slabs, Y/4, X/4)
        return slabs.flatten(1, 2).permute(0, 2, 3, 1)


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole samples while training, and scales the kept ones up."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return branch
        kept = 1 - self.probability
        mask = torch.empty((len(branch), 1, 1, 1), device=branch.device, dtype=branch.dtype).bernoulli_(kept)
        return branch * mask / kept


class ConvNextBlock(nn.Module):
    """(N, Y, X, C) → same: depthwise 7x7, LayerNorm, expand 4x, GELU, contract, layer scale, residual."""

    def __init__(self, width: int, layer_scale: float, drop: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.drop = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        branch = self.contract(F.gelu(self.expand(self.norm(branch))))
        return x + self.drop(self.layer_scale * branch)


class Downsample(nn.Module):
    """(N, Y, X, C) → (N, Y/2, X/2, C'): LayerNorm and a 2x2 convolution of stride 2."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(narrow, eps=1e-6)
        self.conv = nn.Conv2d(narrow, wide, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Stage(nn.Module):
    """One resolution of the backbone; every stage but the first begins by halving the image."""

    def __init__(self, entry: nn.Module, blocks: list[ConvNextBlock]) -> None:
        super().__init__()
        self.downsample = entry
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Backbone(nn.Module):
    """(N, Y, X, widths[0]) → (N, widths[3]): ConvNeXt without its own stem convolution and classifier.

    Its first LayerNorm stays, and the global average pool is followed by the LayerNorm that precedes
    ConvNeXt's classifier, so that ImageNet weights fit.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        total = sum(config.blocks)
        drops = iter([config.stochastic_depth * i / max(total - 1, 1) for i in range(total)])
        stages: list[Stage] = []
        for i, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            entry = Downsample(config.widths[i - 1], width) if i else nn.Identity()
            blocks = [ConvNextBlock(width, config.layer_scale, next(drops)) for _ in range(count)]
            stages.append(Stage(entry, blocks))
        self.stem_norm = nn.LayerNorm(config.widths[0], eps=1e-6)
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(config.widths[-1], eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.stages(self.stem_norm(x)).mean(dim=(1, 2)))


class ProjectionHead(nn.Sequential):
    """(N, features) → (N, projection): Linear, BatchNorm, ReLU, Linear, BatchNorm."""

    def __init__(self, features: int, projection: int) -> None:
        super().__init__(
            nn.Linear(features, features),
            nn.BatchNorm1d(features),
            nn.ReLU(),
            nn.Linear(features, projection),
            nn.BatchNorm1d(projection),
        )


class Encoding(NamedTuple):
    """What the network says about N patches."""

    features: Tensor
    """(N, widths[3]): the embedding that analyses use."""
    projections: Tensor
    """(N, projection): what the loss sees."""


class DynaclrNetwork(nn.Module):
    """(N, C, Z, Y, X) normalised patches → features h and projections z (appendix A.1)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = ProjectionStem(config)
        self.backbone = Backbone(config)
        self.projection = ProjectionHead(config.widths[-1], config.projection)
        self.apply(_initialise)

    def forward(self, patches: Tensor) -> Encoding:
        features = self.backbone(self.stem(patches))
        return Encoding(features, self.projection(features))


def _initialise(module: nn.Module) -> None:
    """ConvNeXt's initialisation: truncated normal of standard deviation 0.02, biases 0."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
