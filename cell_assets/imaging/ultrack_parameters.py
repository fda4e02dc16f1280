"""Parameters of the Ultrack backend, apart from the backend itself so that reading them does not import
Ultrack.
"""

from pydantic import BaseModel, ConfigDict, Field


class UltrackParameters(BaseModel):
    """What decides a tracking by Ultrack; lengths in µm."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    min_size: int = Field(ge=1)
    """Smallest candidate segment, voxels."""
    max_size: int = Field(ge=2)
    """Largest candidate segment, voxels."""
    max_distance_um: float = Field(gt=0)
    """Furthest that a centroid moves between two frames, after `motion_um` is taken off."""
    motion_um: float | None = Field(default=None, gt=0)
    """Scale over which neighbours move alike: the movie is smoothed by it before its motion is estimated.

    None: cells are taken to move on their own.
    """
    max_neighbors: int = Field(default=5, ge=1)
    """Candidate links per segment."""
    min_frontier: float = Field(default=0.1, ge=0, le=1)
    """Candidates that share a weaker boundary than this are one."""
    appear_weight: float = Field(default=-0.1, le=0)
    """Cost of a track's beginning."""
    disappear_weight: float = Field(default=-0.1, le=0)
    """Cost of a track's end."""
    division_weight: float = Field(default=-0.1, le=0)
    """Cost of a division."""
    power: float = Field(default=2.0, gt=0)
    """Exponent on the overlap (IoU) of two segments that makes a link's weight."""
    time_limit_s: int = Field(default=3600, ge=1)
    """A solver that has not finished by then is an error, not a half-solved answer."""
