"""What people say of single cells: states such as `infected`, by cell and time point, before they are joined.

Only the words and the shape of it; reading is in `annotation_files` and `annotation_images`, finding the cells in
`annotation_joining`, what is kept in `annotation_history`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from cell_assets.imaging.track_tables import Column

FARTHEST_PX = 4.0
"""A place stands for the cell whose centroid is at most this far away, in pixels."""

JOIN = "join"
DISTANCE = "distance_px"
FILE = "file"
PLACE = "place"
REASON = "reason"
PLATE = "plate"

GIVEN_KEYS: tuple[str, ...] = tuple(
    column.value for column in (Column.TRACK_ID, Column.T, Column.Z, Column.Y, Column.X)
)
"""Columns of a given row beside its states; track, or z, y and x, are null where they were not given."""

RESERVED: frozenset[str] = frozenset(
    {
        *(column.value for column in Column),
        PLATE,
        JOIN,
        DISTANCE,
        FILE,
        PLACE,
        REASON,
        "split",
        "condition",
        "row",
    }
)
"""Names that a column of states cannot have: they mean something else beside it."""

_FILE_OF = "file:"


def file_of(state: str) -> str:
    """The column of `annotations.parquet` that numbers the file which said what stands in column `state`."""
    return _FILE_OF + state


def is_reserved(name: str) -> bool:
    """Whether a column of this name means something else than states."""
    return name in RESERVED or name.startswith(_FILE_OF)


class Join(StrEnum):
    """How a row found its cell."""

    EXACT = "exact"
    """By track and time point."""
    DIVISION = "division"
    """The track that was named lives at another time; a daughter, or its mother, is the cell then."""
    CENTROID = "centroid"
    """By the nearest centroid, or a label image's value there."""
    MASK = "mask"
    """By the value in most of the cell's mask."""
    CARRIED = "carried"
    """By the nearest centroid once more, after its tracks had been made anew."""


@dataclass(frozen=True)
class GivenAnnotations:
    """What one file says of one position."""

    source: str
    """The file, for messages."""
    states: tuple[str, ...]
    """Columns of states, sorted."""
    rows: pd.DataFrame
    """`GIVEN_KEYS`, a column for each of `states` (text, null where it says nothing), `PLACE` (such as
    `line 3`) and `JOIN` (null, unless reading told the cell by itself). Index from 0."""
    unjoined: pd.DataFrame
    """Rows of which reading knows already that they have no cell: as `rows`, with `REASON` for `JOIN`."""
    n_other_fovs: int = 0
    """Rows that speak of other plates or positions and were left aside."""


Row = dict[str, Any]
"""One row of a table, by column."""


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows of a table, in order."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
