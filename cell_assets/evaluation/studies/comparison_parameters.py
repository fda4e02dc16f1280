"""What decides a comparison of trainings; free of anything that is slow to import."""

from pydantic import BaseModel, ConfigDict, JsonValue


class ComparisonParameters(BaseModel):
    """As it is recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    """Of the resamples."""
    n_resamples: int
    reports: tuple[str, ...]
    """Digests, in the order in which the trainings were first reported."""
    trainings: tuple[dict[str, JsonValue], ...]
    """What each was trained with."""
