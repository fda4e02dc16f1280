"""Every value that decides a CytoSummaryNet checkpoint's bytes, and the presets; free of torch.

Where the paper states no value, the published code's is taken (van Dijk et al. 2024, `main11.py`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from cell_assets.imaging.feature_tables.selection import SelectionParameters
from cell_assets.methods.cytosummary.sets import SetParameters
from cell_assets.methods.processor import Device, Precision


class Denominator(StrEnum):
    """Which similarities a positive pair's is held against."""

    ALL_OTHERS = "all-others"
    """Those of the anchor to every other set, its positives too: SupCon (Khosla et al. 2020, Eq. 2), and what the
    published CytoSummaryNet was trained with."""
    NEGATIVES = "negatives"
    """Those to sets of other compounds alone, as the paper prints it."""


class Summary(StrEnum):
    """What the cells of a set are summarised by."""

    LEARNED = "learned"
    """The sum of φ over them: CytoSummaryNet."""
    MEAN = "mean"
    """Their mean, before φ: a control that shows what supervision gives alone."""
    MOMENTS = "mean, standard deviation and covariance"
    """These, before φ: a control that sees heterogeneity without learning where to look."""


class Conditioning(StrEnum):
    """What of a plate's own negative controls its cells are held against, after they are standardised."""

    NONE = "none"
    """Nothing, as in the paper: controls count as cells of the plate and no more."""
    SCALED = "scaled by controls"
    """Control cells have zero mean and unit variance in every feature."""
    WHITENED = "whitened by controls"
    """Control cells have zero mean and, beside what noise is left, no correlations."""
    LEARNED = "learned from controls"
    """Cells are scaled, and what φ makes of them is scaled and shifted by a summary of up to 1024 of the plate's
    scaled control cells that is learned with it (FiLM, Perez et al. 2018)."""


class Positives(StrEnum):
    """Where a set looks for its likes."""

    WITHIN_PLATE = "within-plate"
    """On its own plate: replicates lie on every plate, and what a plate does to all its wells teaches nothing."""
    WITHIN_BATCH = "within-batch"
    """On all plates of its own batch, such as a week or a dataset: replicates lie on different plates, and what tells
    batches apart teaches nothing. The well manifest says the batch of each plate."""
    ACROSS_PLATES = "across-plates"
    """On all plates: replicates lie on different ones."""


class TrainingParameters(BaseModel):
    """One training run. The defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: str = "paper"
    """Which values hold for every field that is not stated."""
    selection: SelectionParameters = SelectionParameters()
    """Which features of the cells are used."""
    conditioning: Conditioning = Conditioning.NONE
    """What of a plate's own controls its cells are held against."""
    summary: Summary = Summary.LEARNED
    """What the cells of a set are summarised by; all but the first are controls."""
    cell_width: int = Field(default=2048, ge=1)
    """Features that φ makes of a cell."""
    hidden_width: int = Field(default=512, ge=1)
    """Between the two layers of ρ."""
    profile_width: int = Field(default=2048, ge=1)
    """Features of a profile."""
    sets: SetParameters = SetParameters()
    """How sets of cells are drawn."""
    compounds_per_batch: int = Field(default=18, ge=2)
    """Compounds whose sets are compared at once."""
    positives: Positives = Positives.WITHIN_PLATE
    """Whether sets of other plates are compared too, and of which."""
    temperature: float = Field(default=0.1, gt=0)
    """τ of the loss."""
    denominator: Denominator = Denominator.ALL_OTHERS
    """Of the loss."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Of AdamW."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Of AdamW."""
    max_epochs: int = Field(default=100, ge=1)
    """An epoch goes once through all compounds of every plate, or of all plates that are compared, that holds two. The
    weights of the epoch that retrieves replicates of validation compounds best are kept, or the last where there are
    none."""
    seed: int = Field(default=0, ge=0)
    """Of every random draw of the training."""
    threads: int = Field(default=2, ge=1)
    """Threads of one operation on the CPU."""
    device: Device = Device.CPU
    """Kind of processor that trains; results differ between kinds."""
    devices: int = Field(default=1, ge=1)
    """Processes that train together, one on each device, over all machines. They share the compounds of every batch
    that one alone would have, and sets are compared over all of it: other numbers differ in how sums are rounded
    alone."""
    num_nodes: int = Field(default=1, ge=1, exclude=True)
    """Machines that train together, each with as many of the devices; the step is on the first, and waits until
    `cell-assets train-beside` runs on the others. It decides no byte, so nothing is recorded of it."""
    precision: Precision = Precision.BFLOAT16
    """Arithmetic of the forward pass; parameters, sums over blocks and optimizer are always float32."""

    @field_validator("summary")
    @classmethod
    def _is_conditioned(cls, summary: Summary, others: ValidationInfo) -> Summary:
        if others.data.get("conditioning") is Conditioning.LEARNED and summary is not Summary.LEARNED:
            raise ValueError(
                f"conditioning={Conditioning.LEARNED} is of φ of single cells; take summary={Summary.LEARNED}"
            )
        return summary

    @model_serializer(mode="wrap")
    def _one_device_goes_without_saying(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        """A training of one device is told by parameters without this field, and its bytes stay what they are."""
        said: dict[str, object] = serialise(self)
        return {name: value for name, value in said.items() if name != "devices" or value != 1}

    @classmethod
    def paper(cls) -> Self:
        """The paper's values."""
        return cls()

    @classmethod
    def quick(cls) -> Self:
        """Minutes on two cores: a narrower network, smaller sets, fewer epochs at a higher rate."""
        return cls(
            preset="quick",
            cell_width=256,
            hidden_width=128,
            profile_width=256,
            sets=SetParameters(mean_cells=300, sd_cells=100, min_cells=50),
            learning_rate=1e-3,
            max_epochs=40,
            threads=1,
            precision=Precision.FLOAT32,
        )


PRESETS: Mapping[str, TrainingParameters] = {
    "paper": TrainingParameters.paper(),
    "quick": TrainingParameters.quick(),
}
