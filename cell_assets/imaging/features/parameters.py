"""What a person may choose about the features of single cells."""

from pydantic import BaseModel, ConfigDict, Field


class FeatureParameters(BaseModel):
    """How features are measured; every value is recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ring_width_um: float = Field(default=3.0, gt=0)
    """Width of the cytoplasmic ring around a label, µm, between pixel centres."""
    background_percentile: float = Field(default=5.0, ge=0, lt=50)
    """Of all pixels of one channel at one time point of the FOV: the grey value that counts as no light. Too high a
    value where cells cover more of the field than the rest."""
    radial_rings: int = Field(default=4, ge=2)
    """Rings of equal width between a label's centroid and its farthest pixel."""
    texture_distance_px: int = Field(default=3, ge=1)
    """Distance of the pairs of pixels whose grey values a texture compares, pixels (CellProfiler's default)."""
    texture_levels: int = Field(default=16, ge=2, le=256)
    """Grey levels of a texture, between the least and the greatest value within the label."""
    phase_channels: tuple[str, ...] | None = None
    """Channels that are phase, of which no ratio of nucleus to ring and no area of fluorescence is made; None: those
    whose names say so."""
    neighbour_radius_um: float = Field(default=50.0, gt=0)
    """Within what distance of a cell's centroid others count as neighbours, µm."""
