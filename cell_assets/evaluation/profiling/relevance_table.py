"""How a method publishes how much every cell has to say in its well's profile; names alone, which decide bytes."""

from enum import StrEnum

from cell_assets.imaging.feature_tables.columns import METADATA
from cell_assets.imaging.track_tables import Column

RELEVANCE_PARQUET = "relevance.parquet"
"""Beside a method's profiles of one plate: a row for every cell that has a relevance, well by well."""
ROW = "row"
"""Row of the cell in the feature table of its plate."""
FOV_NAME, TRACK_ID, TIME = (f"{METADATA}{name}" for name in (Column.FOV_NAME, Column.TRACK_ID, Column.T))
FILMED_CELL = (FOV_NAME, TRACK_ID, TIME)
"""What names a cell of a filmed plate at one time point."""


class RelevanceScore(StrEnum):
    """How much a cell has to say, from 0 (least of its well) to 1 (most)."""

    COMBINED = "combined"
    """Sensitivity and activation together (paper): the more of one makes up for the less of the other."""
    SENSITIVITY = "sensitivity"
    """How far the loss moves with the cell's features."""
    ACTIVATION = "activation"
    """How large the cell is to the network."""
    LESSER_RANK = "lesser_rank"
    """The lower of the ranks by sensitivity and by activation: high only where both are."""
