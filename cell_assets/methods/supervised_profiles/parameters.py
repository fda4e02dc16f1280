"""Every value that decides supervised profiles; free of torch."""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cell_assets.evaluation.profiling.well_representations import Representation


class HeadPreset(StrEnum):
    """A preset of `methods.cytosummary.parameters.PRESETS`."""

    PAPER = "paper"
    QUICK = "quick"


class SupervisedProfilesParameters(BaseModel):
    """How profiles without learning go through the head of CytoSummaryNet."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    representations: tuple[Representation, ...] = Field(default=(Representation.MEAN,), min_length=1)
    """Which profiles without learning; each has heads of its own."""
    folds: int = Field(default=3, ge=2)
    """Parts of the compounds. The head of a part learns from all others, and the part's wells ask with it."""
    max_epochs: int = Field(default=60, ge=1)
    """An epoch goes through all compounds once. The weights of the last are kept: nothing chooses among them."""
    preset: HeadPreset = HeadPreset.QUICK
    """Widths, learning rate and loss: those of this preset of CytoSummaryNet's training. Arithmetic is float32."""
    seed: int = Field(default=0, ge=0)
    """Of the folds, of first weights and of every draw."""

    @model_validator(mode="after")
    def _no_representation_twice(self) -> Self:
        if len(set(self.representations)) < len(self.representations):
            raise ValueError("a representation is named twice; name each once")
        return self
