"""How profiles are compared and reported; free of scikit-learn and pycytominer, which definitions must not wait for."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.ledger.records import JsonValue

LEAST_RELEVANT = 0.2
"""Share of a well's cells that counts as its least relevant."""


class SelectionStep(StrEnum):
    """An operation of pycytominer's `feature_select`."""

    MISSING = "drop_na_columns"
    BLOCKLIST = "blocklist"
    VARIANCE = "variance_threshold"
    CORRELATION = "correlation_threshold"


class ProfileSelectionParameters(BaseModel):
    """Which features of profiles are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: tuple[SelectionStep, ...] = (
        SelectionStep.MISSING,
        SelectionStep.BLOCKLIST,
        SelectionStep.VARIANCE,
        SelectionStep.CORRELATION,
    )
    """In this order; none keeps all common features."""
    max_correlation: float = Field(default=0.9, gt=0, le=1)
    """Of two features whose Pearson correlation is greater, the one goes that is more like all others."""
    max_correlated_features: int = Field(default=3000, ge=2)
    """Beyond, correlations are left as they are: every pair is held, and 3,000 features have 4.5 million."""


class ProfileStudyParameters(BaseModel):
    """How profiles are studied."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    reference: str = "mean"
    """The representation that the others are compared with."""
    batch_of_plate: dict[str, str] = Field(default_factory=dict)
    """By plate, the batch in which it was made, such as its week. Default: as the well manifest says."""
    seed: int = Field(default=0, ge=0)
    """Of resamples, permutations and UMAP."""
    n_resamples: int = Field(default=1000, ge=100)
    """Of whole compounds, for intervals."""
    umap: bool = True
    """Whether wells are laid out by UMAP, for figures; takes a millisecond a well, after seconds of compiling."""
    simulated: bool = False
    """Whether the cells are from a simulation, which every number then says."""


class RuleParameters(BaseModel):
    """How a rule is distilled."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    least_relevant: float = Field(default=LEAST_RELEVANT, gt=0, lt=1)
    """Share of every well's cells that is to be foretold."""
    max_depth: int = Field(default=2, ge=1, le=2)
    """Conditions that a cell is left out by; two of them make three features at most in all."""
    min_precision: float = Field(default=0.5, gt=0, lt=1)
    """A leaf is of the rule when more than this share of its cells is to be foretold."""
    min_leaf: float = Field(default=0.01, gt=0, lt=0.5)
    """Share of the cells that a leaf holds at least, so that no rule is made for a handful."""
    max_cells: int = Field(default=20_000, ge=100)
    """Cells that the tree sees, drawn evenly: every one of them is sorted by every feature."""
    seed: int = Field(default=0, ge=0)
    """Of that draw."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.min_precision <= self.least_relevant:
            raise ValueError(
                f"min_precision={self.min_precision:g} is no more than least_relevant={self.least_relevant:g}, which "
                "leaving out any cell reaches; raise it"
            )
        return self


class RelevanceParameters(BaseModel):
    """How it is studied what the relevance of cells means."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    features_shown: int = Field(default=5, ge=1)
    """Features whose rank correlation with relevance is the highest, and as many of the lowest, that the page shows."""
    wells_shown: int = Field(default=3, ge=0)
    """Wells of filmed plates whose cells the page shows; 0 shows none."""
    cells_shown: int = Field(default=6, ge=1)
    """Of each of these wells, least relevant cells and most relevant ones."""
    rule: RuleParameters = RuleParameters()
    """How relevance becomes a rule of quality control. Its `least_relevant` is also the share of every well's cells
    without which mean profiles are made."""


class ProfileReportParameters(BaseModel):
    """How a report on profiles is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    study: ProfileStudyParameters = ProfileStudyParameters()
    """What is asked of the profiles."""
    selection: ProfileSelectionParameters = ProfileSelectionParameters()
    """Which features of profiles without learning are compared."""
    similarity_fusion: SimilarityFusionParameters | None = SimilarityFusionParameters()
    """How similarities of medians, dispersions and covariances are fused, as a representation of its own beside the
    others, where all plates have `fusion` profiles; None fuses none. Fusing 1,000 profiles that are ranked together
    took 0.8 s of one core, and 2,000 took 4.5 s; 8,000, which are the most, hold 13 matrices of 0.5 GB."""
    relevance: RelevanceParameters | None = RelevanceParameters()
    """What is asked of the relevance of cells, where a method says how much each has to say; None asks nothing, and
    reads no cell."""

    @classmethod
    def of_record(cls, recorded: Mapping[str, JsonValue]) -> Self:
        """By which a report was made, as its run states them; where that says nothing of fusing similarities, none were
        fused."""
        return cls.model_validate({"similarity_fusion": None, **recorded})
