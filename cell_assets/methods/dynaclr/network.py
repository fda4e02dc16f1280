"""DynaCLR's network: a 3-D stem, a ConvNeXt backbone and a projection head.

Tensors in, tensors out; no data, no loss, no training loop here. The backbone follows Liu et al. 2022 ("A
ConvNet for the 2020s"), written out so that neither torchvision nor timm is needed.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.depthwise import DepthwiseConv2d
from cell_assets.methods.dynaclr.stem import ChannelAdaptiveStem, ProjectionStem, stem_shape


class NetworkConfig(BaseModel):
    """Everything needed to build the network again; the defaults are the paper's (appendix A.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(ge=1)
    """Image channels of a patch in training."""
    kinds: tuple[ChannelKind, ...] = ()
    """Kinds that the channel-adaptive stem was trained to tell apart; empty for the fixed stem."""
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
    """Factor on every channel as it enters, or on every one of `kinds`; empty where all are 1."""
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1)
    """Probability of dropping the last residual branch; earlier ones grow linearly from 0."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if min(self.widths) < 1 or min(self.blocks) < 1:
            raise ValueError("widths and blocks must be 1 or more in every stage")
        entries = len(self.kinds) or self.channels
        if self.channel_gains and len(self.channel_gains) != entries:
            raise ValueError(f"{len(self.channel_gains)} channel gains were given for {entries} channels")
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds of channels must be named once each")
        return self

    @property
    def smallest_side(self) -> int:
        """Smallest patch side in pixels: after stem and three halvings one pixel is left."""
        return self.stem_side * 8


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
        self.depthwise = DepthwiseConv2d(width, 7)
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
        shape, gains = stem_shape(config.depth, config.widths[0]), config.channel_gains or (1.0,)
        self.stem: ProjectionStem | ChannelAdaptiveStem
        if config.kinds:
            self.stem = ChannelAdaptiveStem(
                len(config.kinds), shape, config.widths[0], config.stem_side, gains
            )
        else:
            self.stem = ProjectionStem(config.channels, shape, config.widths[0], config.stem_side, gains)
        self.backbone = Backbone(config)
        self.projection = ProjectionHead(config.widths[-1], config.projection)
        for part in (self.backbone, self.projection):
            part.apply(_initialise)

    def forward(self, patches: Tensor, kinds: Tensor | None = None, shown: Tensor | None = None) -> Encoding:
        """Args beyond `patches` are of the channel-adaptive stem alone.

        Args:
            kinds: (C,) as of `kind_codes`.
            shown: (N, C) bool; all channels by default.
        """
        if isinstance(self.stem, ProjectionStem):
            entered = self.stem(patches)
        elif kinds is None:
            raise TypeError("the channel-adaptive stem needs the kinds of its channels")
        else:
            entered = self.stem(patches, kinds, shown)
        features = self.backbone(entered)
        return Encoding(features, self.projection(features))

    def kind_codes(self, kinds: Sequence[ChannelKind]) -> Tensor | None:
        """(C,) places in `config.kinds`, as `forward` takes them; None for the fixed stem.

        Raises:
            ValueError: there is a kind that the network was not made for.
        """
        if not self.config.kinds:
            return None
        return torch.tensor([self.config.kinds.index(kind) for kind in kinds])


def _initialise(module: nn.Module) -> None:
    """ConvNeXt's initialisation: truncated normal of standard deviation 0.02, biases 0."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
