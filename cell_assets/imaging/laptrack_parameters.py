"""Parameters of the laptrack backend, apart from the backend itself so that reading them does not import
laptrack.
"""

from pydantic import BaseModel, ConfigDict, Field


class LaptrackParameters(BaseModel):
    """What decides a tracking by laptrack; lengths in µm, times in frame intervals.

    Every link costs the square of a length: the distance between centroids, with `size_um` and `gap_um` as
    further axes at right angles to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_distance_um: float = Field(gt=0)
    """No link costs more than the square of this: how far a centroid moves between frames, or lies from its
    daughter's."""
    size_um: float = Field(ge=0)
    """Distance that a doubling of the label's size counts for; a daughter is expected at half her mother's size.

    0: sizes say nothing.
    """
    gap_um: float = Field(ge=0)
    """Distance that each missed interval counts for."""
    break_um: float = Field(gt=0)
    """Two cells of successive frames end and begin rather than be linked for more than about the square of
    this; the second problem may still join them, as mother and daughter too."""
    max_gap_intervals: int = Field(default=2, ge=1)
    """Longest step of a track, in intervals; the default bridges one frame in which a cell went unseen, as
    laptrack and TrackMate do. 1: no gaps."""
    split: bool = True
    """Whether a track may begin as a daughter of one that goes on."""

    @classmethod
    def for_objects(cls, max_distance_um: float) -> "LaptrackParameters":
        """Weights as fractions of the largest distance.

        Measured on one real E. coli colony tracked from its given labels (rods of median length 84 px, 130
        divisions), distances of 60, 84 and 98 px: sizes not weighed give LNK 0.82 and division F1 0.28;
        these fractions 0.86 to 0.88 and 0.48 to 0.54, and breaking at 0.5 instead of 0.4 0.81 to 0.85 and
        0.32 to 0.43. A gap of one frame leaves 0.87 of the distance to move.
        """
        return cls(
            max_distance_um=max_distance_um,
            size_um=max_distance_um,
            gap_um=0.5 * max_distance_um,
            break_um=0.4 * max_distance_um,
        )
