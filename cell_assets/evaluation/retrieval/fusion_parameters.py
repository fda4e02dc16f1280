"""How similarities are fused; free of numerical libraries."""

from pydantic import BaseModel, ConfigDict, Field


class SimilarityFusionParameters(BaseModel):
    """How similarities of several kinds become one by similarity network fusion (Wang et al. 2014). Defaults are those
    that Rohban et al. (2019) fused profiles with; Wang et al. advise 10 to 30 neighbours and 10 to 20 rounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    neighbours: int = Field(default=7, ge=1)
    """K: nearest neighbours by which the reach of a profile is measured, and over which similarity diffuses. Of fewer
    profiles, all others are."""
    mu: float = Field(default=0.5, gt=0)
    """Width of the kernel in units of that reach; Wang et al. advise 0.3 to 0.8."""
    iterations: int = Field(default=10, ge=1)
    """T: rounds of diffusion."""
