"""The cells that a training run may draw from: patch-table rows joined with the manifest's tracks.

Flat integer arrays, one entry per cell and time point, over all patch tables of an experiment; the samplers
work on these alone. No pixels here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import EXCLUDED, UNLISTED, FrozenCells
from cell_assets.evaluation.splits import Split

SPLITS = tuple(split.value for split in Split)
UNLISTED_CODE, EXCLUDED_CODE = -1, -2
"""Split codes of a cell whose track the manifest does not list, and of one that it leaves out."""

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class TableCells:
    """One patch table's cells as the samplers need them."""

    plate: str
    fov_name: str
    interval_min: float | None
    """Minutes between frames; None for data of one time point."""
    cells: pd.DataFrame
    """Rows of `cells.parquet`: at least `row, track_id, t, parent_track_id`."""


@dataclass(frozen=True)
class CellIndex:
    """All cells of several patch tables; every array has one entry per cell and time point.

    Track and lineage codes are unique over all tables. `minutes` is the time since a movie's first frame.
    """

    table: IntArray
    """Index of the patch table."""
    row: IntArray
    """Row in that table's patches."""
    track: IntArray
    t: IntArray
    minutes: NDArray[np.float64]
    split: IntArray
    """Index into `SPLITS`, `UNLISTED_CODE` or `EXCLUDED_CODE`."""
    lineage_of_track: IntArray
    """For every track code, its lineage's code; ascending, so that a lineage is one range of track codes."""
    parent_of_track: IntArray
    """For every track code, its parent's code or -1."""
    interval_of_table: NDArray[np.float64]
    """Minutes between frames of every table; NaN where a table has no interval."""
    name_of_table: tuple[str, ...]
    """Plate and FOV of every table, for messages."""

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def build(cls, tables: Sequence[TableCells], manifest: FrozenCells) -> Self:
        """Joins `tables` with the manifest's lineages and splits.

        Cells that the manifest leaves out are here, too: who descends from whom does not depend on them.

        Raises:
            BadInputError: a table lacks a column, or holds the same track twice at one time point.
        """
        if not tables:
            raise BadInputError("there is no patch table to train on; materialise patch_table first")
        frames = [_one_table(i, table) for i, table in enumerate(tables)]
        cells = pd.concat(frames, ignore_index=True)
        key = ["plate", "fov_name", "track_id"]
        listed = manifest.tracks[[*key, "lineage_root"]]
        cells = cells.merge(listed, on=key, how="left", validate="many_to_one", sort=False)
        cells["lineage_root"] = cells["lineage_root"].fillna(cells["track_id"]).astype(np.int64)

        cells["lineage"] = cells.groupby(["table", "lineage_root"], sort=True).ngroup()
        tracks = cells.drop_duplicates(["table", "track_id"]).sort_values(["lineage", "track_id"])
        codes = pd.MultiIndex.from_frame(tracks[["table", "track_id"]])
        track = codes.get_indexer(pd.MultiIndex.from_frame(cells[["table", "track_id"]]))
        parents = pd.MultiIndex.from_arrays([tracks["table"], tracks["parent_track_id"]])
        codes_of_splits = {name: code for code, name in enumerate(SPLITS)}
        codes_of_splits |= {UNLISTED: UNLISTED_CODE, EXCLUDED: EXCLUDED_CODE}
        split = manifest.split_of(cells).map(codes_of_splits).to_numpy()
        intervals = np.array([np.nan if t.interval_min is None else t.interval_min for t in tables], float)
        table = cells["table"].to_numpy(np.int64)
        t = cells["t"].to_numpy(np.int64)
        return cls(
            table=table,
            row=cells["row"].to_numpy(np.int64),
            track=track.astype(np.int64),
            t=t,
            minutes=t * np.nan_to_num(intervals)[table],
            split=split.astype(np.int64),
            lineage_of_track=tracks["lineage"].to_numpy(np.int64),
            parent_of_track=codes.get_indexer(parents).astype(np.int64),
            interval_of_table=intervals,
            name_of_table=tuple(f"{one.plate} {one.fov_name}" for one in tables),
        )

    def in_split(self, split: str) -> BoolArray:
        """Which cells belong to tracks of `split`."""
        return self.split == SPLITS.index(split)


def _one_table(index: int, table: TableCells) -> pd.DataFrame:
    name = f"patch table of {table.plate} {table.fov_name}"
    for column in ("row", "track_id", "t", "parent_track_id"):
        if column not in table.cells.columns:
            raise BadInputError(f"the {name} lacks the column {column!r}; make it again with this version")
    twice = table.cells.duplicated(["track_id", "t"])
    if twice.any():
        first = table.cells.loc[twice].iloc[0]
        raise BadInputError(
            f"the {name} holds track {first['track_id']} twice at t={first['t']}; correct the tracks"
        )
    cells = table.cells[["row", "track_id", "t", "parent_track_id"]].astype(np.int64)
    return cells.assign(table=index, plate=table.plate, fov_name=table.fov_name)
