"""Parameters of the laptrack backend, apart from the backend itself so that reading them does not import
laptrack.
"""

from pydantic import BaseModel, ConfigDict, Field

ELONGATION = ("elongation_y_um", "elongation_x_um")
"""Columns of an object's elongation (see `LabelGeometry`)."""


class LaptrackParameters(BaseModel):
    """What decides a tracking by laptrack; lengths in µm, times in frame intervals.

    Every link costs the square of a length: the distance between centroids, with `size_um` and `gap_um` as
    further axes at right angles to it. A daughter is expected where half of an elongated mother lies: a
    quarter of her elongation (how far the major axis exceeds the minor one) from her centroid, along it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_distance_um: float = Field(gt=0)
    """No link costs more than the square of this: how far a centroid moves between frames, or lies from its
    daughter's."""
    size_um: float = Field(ge=0)
    """Distance that a doubling of the label's size counts for; a daughter is expected at half her mother's size.

    0: sizes say nothing.
    """
    axis_weight: float = Field(default=0.25, gt=0)
    """Distance that a change of elongation counts for, per its own; a turn by a right angle changes it by
    twice its length."""
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
        divisions), distances of 60, 84 and 98 px: F1 of links 0.98, 0.97 and 0.96, and of divisions (all three
        cells right) 0.85, 0.81 and 0.73. Without elongation they are 0.94, 0.94, 0.93 and 0.49, 0.52, 0.45;
        without sizes divisions are 0.70 at each distance, and breaking at 0.5 gives 0.72, 0.59 and 0.51. A
        gap of one frame leaves 0.87 of the distance to move.
        """
        return cls(
            max_distance_um=max_distance_um,
            size_um=max_distance_um,
            gap_um=0.5 * max_distance_um,
            break_um=0.4 * max_distance_um,
        )
