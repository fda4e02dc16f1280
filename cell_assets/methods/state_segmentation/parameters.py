"""Every value that decides a state segmentation's bytes, and the presets; free of torch.

The paper (section 3.4.1) states a 2-D U-Net, three classes and a weighted cross entropy, and no other value.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cell_assets.errors import BadInputError
from cell_assets.methods.processor import Device, Precision


class ZRule(StrEnum):
    """How a stack becomes one plane. A cell's pixels are those that its label covers, seen the same way."""

    MEAN = "mean"
    MAX = "max"
    MIDDLE = "middle"
    """The middle plane alone; a cell that it misses gets no prediction."""


class ClassWeights(StrEnum):
    """How much a pixel of each class counts in the loss."""

    INVERSE_FREQUENCY = "inverse-frequency"
    """N / (3 n) for a class of n among the N pixels of all training frames that are not ignored."""
    EQUAL = "equal"


class StateSegmentationParameters(BaseModel):
    """One training. The defaults are `paper`; `quick()` says what it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: str = "paper"
    column: str | None = None
    """Annotation column of two states; None: the only such column that there is, which resolving fills in."""
    channels: tuple[str, ...] = ()
    """Names of the patch tables' channels that the network sees, in this order; empty for all of them."""
    z_rule: ZRule = ZRule.MEAN
    """Over the planes that the patch tables hold, so that both rivals see the same ones."""
    depth: int = Field(default=4, ge=1, le=6)
    """Poolings (Ronneberger et al. 2015, "U-Net")."""
    base_width: int = Field(default=64, ge=8, multiple_of=8)
    """Channels at full resolution (Ronneberger et al. 2015); each pooling doubles them."""
    tile_px: int = Field(default=256, ge=16)
    """Side of a training tile; frames are predicted whole."""
    batch_size: int = Field(default=16, ge=1)
    """Tiles in a step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """PyTorch's default for AdamW."""
    max_epochs: int = Field(default=100, ge=1)
    """An epoch draws one tile of every training frame."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stops earlier, even within an epoch."""
    early_stopping_patience: int | None = Field(default=10, ge=1)
    """Epochs without a lower validation loss before stopping; None never stops early. The weights that are kept are
    those of the lowest validation loss in either case."""
    class_weights: ClassWeights = ClassWeights.INVERSE_FREQUENCY
    """How much a pixel counts in the loss, by its class."""
    intensity_scale: float = Field(default=0.2, ge=0, lt=1)
    """Augmentation: each channel of a tile is multiplied by 1 + α, α in [-intensity_scale, intensity_scale], beside
    flips and quarter turns."""
    seed: int = Field(default=0, ge=0)
    """Of every random draw of the training."""
    threads: int = Field(default=2, ge=1)
    """Threads of one operation on the CPU."""
    device: Device = Device.CPU
    """Kind of processor that trains; results differ between kinds."""
    precision: Precision = Precision.FLOAT32
    """On a CPU bfloat16 does not pay: the network of `quick` took 0.07 s of processor time for two tiles of 64 px,
    forward and backward, in float32, and 1.03 s in bfloat16."""

    @model_validator(mode="after")
    def _tile_can_be_pooled(self) -> Self:
        if self.tile_px % self.stride:
            raise ValueError(
                f"tile_px={self.tile_px} is no multiple of {self.stride}, which depth={self.depth} needs"
            )
        return self

    @property
    def stride(self) -> int:
        """Pixels of a frame for one of the coarsest level; sides of what the network takes are multiples of it."""
        return int(2**self.depth)

    @classmethod
    def paper(cls) -> Self:
        """The paper's network, loss and classes; sizes are those of the U-Net that it names no other for."""
        return cls()

    @classmethod
    def quick(cls) -> Self:
        """Minutes on one core: smaller network and tiles, fewer steps.

        Measured on the simulated demo plate: 0.57 s of processor time for each of 200 steps, validation included.
        """
        return cls(
            preset="quick",
            depth=3,
            base_width=16,
            tile_px=96,
            batch_size=8,
            max_epochs=40,
            max_steps=200,
            threads=1,
        )

    @classmethod
    def presets(cls) -> dict[str, Self]:
        """By name."""
        return {"paper": cls.paper(), "quick": cls.quick()}

    @classmethod
    def named(cls, preset: str, changes: Mapping[str, object]) -> Self:
        """The preset of that name with `changes` applied.

        Raises:
            BadInputError: there is no such preset or field, or a value cannot be used.
        """
        presets = cls.presets()
        if preset not in presets:
            raise BadInputError(f"state segmentation: preset {preset!r} is not one of {', '.join(presets)}")
        try:
            return cls.model_validate({**presets[preset].model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            named = f"parameter {field}={first['input']!r}" if field else "parameters"
            raise BadInputError(f"state segmentation: {named} cannot be used: {first['msg']}") from error
