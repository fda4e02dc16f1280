"""What a person may choose about a report; apart from the study itself, which imports scikit-learn."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class StudyParameters(BaseModel):
    """How an embedding is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    horizon_min: float | None = Field(default=None, gt=0)
    """How soon "about to divide" is; None: one interval between frames, so the last frame before the division."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of tracks."""
    max_lag: int = Field(default=10, ge=1)
    """Longest lag of the smoothness curve, in frames."""
    seed: int = Field(default=0, ge=0)
    """Of folds, resamples and projections."""
    independent_plates: tuple[str, ...] = ()
    """Plates of other experiments that the model and its probes are applied to as they are (paper, section 3.2: one
    filmed every 2 h instead of 30 min); nothing is learned from them."""

    @field_validator("independent_plates")
    @classmethod
    def _named_once(cls, plates: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(plates)) < len(plates):
            raise ValueError("a plate is named twice; name each once")
        return plates
