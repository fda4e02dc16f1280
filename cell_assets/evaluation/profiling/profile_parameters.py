"""How profiles are compared and reported; free of scikit-learn and pycytominer, which definitions must not wait for."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


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
    """By plate, the batch in which it was made, such as its week. Default: nobody says it."""
    seed: int = Field(default=0, ge=0)
    """Of resamples, permutations and UMAP."""
    n_resamples: int = Field(default=1000, ge=100)
    """Of whole compounds, for intervals."""
    umap: bool = True
    """Whether wells are laid out by UMAP, for figures; takes a millisecond a well, after seconds of compiling."""
    simulated: bool = False
    """Whether the cells are from a simulation, which every number then says."""


class ProfileReportParameters(BaseModel):
    """How a report on profiles is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    study: ProfileStudyParameters = ProfileStudyParameters()
    """What is asked of the profiles."""
    selection: ProfileSelectionParameters = ProfileSelectionParameters()
    """Which features of profiles without learning are compared."""
