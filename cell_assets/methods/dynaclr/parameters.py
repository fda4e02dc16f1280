"""Every value that decides a DynaCLR checkpoint's bytes, and the presets; free of torch.

Equal parameters and equal inputs in an equal environment give equal bytes. That is why seed, thread count,
compile mode, precision and device type are parameters here and not settings.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cell_assets.methods.dynaclr.embedding_parameters import EmbeddingParameters
from cell_assets.methods.dynaclr.sampling import Relatives, SamplingStrategy
from cell_assets.methods.processor import Device, Precision


class CompileMode(StrEnum):
    """Whether the network runs through torch.compile; eager and compiled round differently."""

    EAGER = "eager"
    INDUCTOR = "inductor"


class Stem(StrEnum):
    """How the channels of a patch enter the backbone."""

    FIXED = "fixed"
    """One convolution over all channels (paper, appendix A.1); embeds plates that hold the same channels alone."""
    CHANNEL_ADAPTIVE = "channel-adaptive"
    """One convolution that every channel goes through alone, told its kind; embeds plates with other channels of the
    same kinds."""


class InitialState(StrEnum):
    """What the backbone starts from; stem and projection always start from random values."""

    SCRATCH = "scratch"
    """Random values."""
    IMAGENET = "imagenet"
    """ConvNeXt-Tiny trained on ImageNet (paper, appendix A.1), from a local file."""


LEARNING_RATES = {InitialState.IMAGENET: 2e-5, InitialState.SCRATCH: 2.5e-4}
"""The paper's (appendix A.1), which presumes ImageNet weights; and, from scratch, the 4e-3 with which Liu et al. 2022
train ConvNeXt on batches of 4096, scaled linearly to the paper's batch of 256."""


class Objective(StrEnum):
    """What training makes small."""

    TRIPLET = "triplet"
    """Hinge on the difference of two distances (paper, Eq. 1)."""
    NT_XENT = "nt-xent"
    """Cross entropy over the cosine similarities of a batch (Chen et al. 2020, "A simple framework for
    contrastive learning of visual representations"). A view's own drawn negative is as the strategy says; the others
    are whatever else the batch holds, at any time."""


class Distance(StrEnum):
    """How the triplet objective measures projections."""

    SQUARED = "squared"
    """Squared Euclidean (paper, Eq. 1)."""
    PLAIN = "plain"
    """Euclidean, as `torch.nn.TripletMarginLoss`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AugmentationParameters(_Frozen):
    """Table 2 of the paper; where it states no probability, VisCy 0.4.1's. Symbols as in the table.

    Scale, contrast and intensity follow MONAI's meaning: a scale α samples a region (1 + α) times as wide,
    γ acts on intensities rescaled to their own range, and an intensity α multiplies by (1 + α).
    """

    affine_probability: float = Field(default=0.8, ge=0, le=1)
    """Of scaling, rotation and shear together."""
    scale: float = Field(default=0.3, ge=0, lt=1)
    """α_x, α_y in [-scale, scale]."""
    rotation_rad: float = Field(default=3.141592653589793, ge=0)
    """θ_z in [0, rotation_rad]."""
    shear: float = Field(default=0.01, ge=0)
    """s_x, s_y in [0, shear]."""
    contrast_probability: float = Field(default=0.5, ge=0, le=1)
    """Of a change of contrast."""
    contrast_gamma: tuple[float, float] = (0.8, 1.2)
    """Lowest and highest γ."""
    intensity_scale: float = Field(default=0.5, ge=0, lt=1)
    """α in [-intensity_scale, intensity_scale]."""
    intensity_probability_phase: float = Field(default=0.5, ge=0, le=1)
    """Of a change of intensity, in phase channels."""
    intensity_probability_fluorescence: float = Field(default=0.7, ge=0, le=1)
    """Of a change of intensity, in fluorescence channels."""
    smooth_probability: float = Field(default=0.5, ge=0, le=1)
    """Of Gaussian smoothing."""
    smooth_sigma_px: tuple[float, float] = (0.25, 0.75)
    """σ_x, σ_y."""
    noise_probability: float = Field(default=0.5, ge=0, le=1)
    """Of Gaussian noise."""
    noise_sigma_phase: float = Field(default=0.2, ge=0)
    """Upper end of σ, in normalised intensities."""
    noise_sigma_fluorescence: float = Field(default=0.5, ge=0)
    """The same for fluorescence channels."""


class TrainingParameters(_Frozen):
    """One training run. The defaults are the paper's; `quick()` says what it changes and why."""

    preset: str = "paper"
    """Which values hold for every field that is not stated."""
    strategy: SamplingStrategy = SamplingStrategy.TIME_AND_CELL_AWARE
    """How positives and negatives are chosen (paper, section 3.1)."""
    tau_min: float = Field(default=30.0, gt=0)
    """τ, minutes from anchor to positive and negative (paper, section 3.1)."""
    tau_tolerance_min: float = Field(default=0.5, ge=0)
    """How far, in minutes, a whole number of frames may be from τ; at most a tenth of a frame."""
    relatives: Relatives = Relatives.EXCLUDE
    """Whether sisters, daughters and further relatives may be negatives; the paper does not say."""
    channels: tuple[str, ...] = ()
    """Names of the stored channels that the network sees, in this order; empty for all that are stored. With
    `strategy` this spans Fig. 4 of the paper: ("Phase",) against ("Phase", "RFP"), with τ and without."""
    patch_side_px: int = Field(default=128, ge=32)
    """Y and X of the final patch (paper, appendix A.2); cut from the middle of a larger stored patch.
    The network divides it by 32."""
    widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    """ConvNeXt-Tiny (paper, appendix A.1); the last is the number of features."""
    blocks: tuple[int, int, int, int] = (3, 3, 9, 3)
    """ConvNeXt-Tiny's residual blocks in each of its four stages."""
    stem: Stem = Stem.FIXED
    """How the channels of a patch enter the backbone."""
    channel_masking: float = Field(default=0.25, ge=0, lt=1)
    """Of the channel-adaptive stem: probability with which each channel of an image is hidden in training; one always
    stays. After Bao et al. 2024 ("Channel vision transformers"), who draw how many channels stay."""
    layer_scale: float = Field(default=1e-6, gt=0)
    """Factor on each residual branch at the start of training (ConvNeXt, Liu et al. 2022)."""
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which the last residual branch is skipped in training; earlier ones less."""
    fluorescence_gain: float = Field(default=1.0, gt=0)
    """Factor on normalised fluorescence as it enters the network, after augmentation; the paper has none."""
    projection: int = Field(default=32, ge=1)
    """Width of the projection z (paper, appendix A.1)."""
    objective: Objective = Objective.TRIPLET
    """What training makes small."""
    distance: Distance = Distance.SQUARED
    """How the triplet objective measures projections."""
    margin: float = Field(default=0.5, gt=0)
    """α of Eq. 1 (paper, appendix A.1)."""
    temperature: float = Field(default=0.2, gt=0)
    """Of NT-Xent; VisCy's later recipe."""
    concentration: float = Field(default=0.0, ge=0)
    """β of NT-Xent: how much harder negatives weigh more (Robinson et al. 2021, "Contrastive learning with hard
    negative samples"); 0 weighs all alike."""
    batch_size: int = Field(default=256, ge=2)
    """Triplets in a step (paper, appendix A.1), over all devices."""
    initial: InitialState = InitialState.SCRATCH
    """What the backbone starts from."""
    imagenet_file: Path | None = Field(default=None, exclude=True)
    """ConvNeXt weights, `.safetensors` or `.pth`, in timm's or torchvision's names. Not recorded: what it holds
    decides the checkpoint, not where it lies."""
    imagenet_blake3: str | None = None
    """BLAKE3 of that file, found when the parameters are resolved."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Of AdamW; where none is given, `LEARNING_RATES` of `initial`, which resolving fills in."""
    weight_decay: float = Field(default=0.01, ge=0)
    """PyTorch's default for AdamW; the paper states none."""
    max_epochs: int = Field(default=100, ge=1)
    """VisCy 0.4.1's recipe; the paper states none."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stops earlier, even within an epoch; sampling.json then says how many anchors were never seen."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Epochs without a lower validation loss before stopping; None never stops early."""
    augmentation: AugmentationParameters = AugmentationParameters()
    """Random changes of patches (paper, Table 2)."""
    seed: int = Field(default=0, ge=0)
    """Of every random draw of the training."""
    threads: int = Field(default=2, ge=1)
    """Threads of one operation on the CPU; the sums of compiled code depend on it."""
    device: Device = Device.CPU
    """Kind of processor that trains; results differ between kinds."""
    devices: int = Field(default=1, ge=1)
    """Processes that train together, one on each device, over all machines. They share the batches that one alone would
    have: batch normalisation and the negatives of NT-Xent are of the whole batch, whatever their number. Random
    augmentation and stochastic depth are drawn by each for its share, so that other numbers give other bytes."""
    num_nodes: int = Field(default=1, ge=1, exclude=True)
    """Machines that train together, each with as many of the devices; the step is on the first, and waits until
    `cell-assets train-beside` runs on the others. It decides no byte, so nothing is recorded of it."""
    precision: Precision = Precision.BFLOAT16
    """Arithmetic of the forward pass; parameters and optimizer are always float32."""
    compile_mode: CompileMode = CompileMode.INDUCTOR
    """Whether the network runs through torch.compile; eager and compiled round differently."""

    @property
    def rate(self) -> float:
        """The learning rate that is given or goes with `initial`."""
        return self.learning_rate or LEARNING_RATES[self.initial]

    @field_validator("channels")
    @classmethod
    def _named_once(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice; name each once")
        return channels

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        stated = self.imagenet_file is not None or self.imagenet_blake3 is not None
        if stated and self.initial is InitialState.SCRATCH:
            raise ValueError("ImageNet weights are given and initial=scratch; set initial=imagenet")
        if not stated and self.initial is InitialState.IMAGENET:
            raise ValueError("initial=imagenet needs a file of ConvNeXt weights; give it as imagenet_file")
        return self

    @model_validator(mode="after")
    def _enough_for_every_device(self) -> Self:
        if self.batch_size < 2 * self.devices:
            raise ValueError(
                f"batch_size={self.batch_size} is less than two triplets on each of {self.devices} devices"
            )
        return self

    @model_validator(mode="after")
    def _of_one_objective(self) -> Self:
        if self.concentration > 0 and self.objective is not Objective.NT_XENT:
            raise ValueError("concentration is of objective=nt-xent; leave it at 0, or choose that objective")
        if self.distance is not Distance.SQUARED and self.objective is not Objective.TRIPLET:
            raise ValueError(
                "distance is of objective=triplet; leave it at squared, or choose that objective"
            )
        return self

    @classmethod
    def paper(cls) -> Self:
        """The paper's values, each cited at its field; without its ImageNet weights, which no default can give."""
        return cls()

    @classmethod
    def quick(cls) -> Self:
        """Minutes on two cores: smaller patch, batch and network, fewer steps, a higher rate, a louder reporter.

        Measured on 2 cores, [2, 15, 64, 64], forward + backward, patches/s: ConvNeXt-Tiny 64 (float32 eager)
        and 130 (bfloat16 compiled, after 27 s of compilation); this network 720 (float32 eager) and 870
        (bfloat16 compiled, after 26 s), so that compilation does not pay within a run of a minute. One thread:
        the demo's 150 steps take 50 to 60 s of processor time alone, and two threads that must share their
        cores with other programs took 280 s of it, waiting for each other.

        The layer scale of 1e-6 was made for thousands of steps: residual branches would stay shut in a short
        run. Percentiles 50 → 0 and 99 → 1 leave fluorescence a quarter of phase's standard deviation, and a
        short run does not make up for it. Area under the ROC curve of a linear probe for infection on the
        simulated demo plate (5 folds over lineages), before → after 150 steps: without gain .69 → .56 at a rate
        of 5e-4 and .69 → .67 at 1e-4; with a gain of 4, .82 → .84 at 1e-4. So short a training shows the
        machinery; it does not make the paper's representation.
        """
        return cls(
            preset="quick",
            patch_side_px=64,
            widths=(48, 96, 192, 384),
            blocks=(1, 1, 2, 1),
            layer_scale=0.1,
            fluorescence_gain=4.0,
            batch_size=32,
            learning_rate=1e-4,
            max_epochs=20,
            max_steps=150,
            threads=1,
            precision=Precision.FLOAT32,
            compile_mode=CompileMode.EAGER,
        )

    @classmethod
    def named(cls, preset: str) -> Self:
        """The preset of that name.

        Raises:
            ValueError: there is no such preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
        return cls.model_validate(PRESETS[preset].model_dump())


PRESETS: Mapping[str, TrainingParameters] = {
    "paper": TrainingParameters.paper(),
    "quick": TrainingParameters.quick(),
}
"""By name; the definitions show them in the Launchpad."""
EMBEDDING = EmbeddingParameters
"""What decides embeddings, beside the checkpoint."""
