"""What a person may choose about a report; apart from the study itself, which imports scikit-learn."""

from pydantic import BaseModel, ConfigDict, Field


class DisruptionParameters(BaseModel):
    """False tracking errors that are put into tracks taken as true, to see whether they would be found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share_of_tracks: float = Field(default=0.5, gt=0, le=1)
    """Share of tracks that take part in one injected error of a kind, each in at most one."""
    max_distance_um: float = Field(default=30.0, gt=0)
    """Centroids of the two cells are at most so far apart in the frame of the error: trackers confuse neighbours."""
    nearest: int = Field(default=3, ge=1)
    """The partner is drawn among the so many cells that come nearest to the track's."""
    max_merged_frames: int = Field(default=3, ge=1)
    """A merged track is its neighbour for 1 to so many frames."""


class StudyParameters(BaseModel):
    """How an embedding is evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_min: float | None = Field(default=None, gt=0)
    """How soon "about to divide" is; None: one interval between frames, so the last frame before the division."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of tracks."""
    max_lag: int = Field(default=10, ge=1)
    """Longest lag of the smoothness curve, in frames."""
    seed: int = Field(default=0, ge=0)
    disruptions: DisruptionParameters = DisruptionParameters()
    """How tracking errors are put in."""
