"""Track tables: their columns, and what makes one sound.

No images, no files and no tracking. One row is one cell at one time point; columns follow Ultrack and VisCy.
A track is one cell's life between divisions, so a parent is another track; no parent is -1. Centroids are
floats in voxels, pixel centres at whole numbers, and stay floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError

NO_PARENT = -1


class Column(StrEnum):
    """Columns of a track table, in Ultrack's names."""

    FOV_NAME = "fov_name"
    TRACK_ID = "track_id"
    T = "t"
    ID = "id"
    """Names one row within its FOV."""
    PARENT_TRACK_ID = "parent_track_id"
    PARENT_ID = "parent_id"
    """`id` of the row that this one continues: the one before in its track, or the parent track's last."""
    Z = "z"
    Y = "y"
    X = "x"


TRACK_COLUMNS: tuple[str, ...] = tuple(column.value for column in Column)
"""The order in which every track table is kept."""

_CENTROID = (Column.Z, Column.Y, Column.X)


@dataclass(frozen=True)
class ImageExtent:
    """What a track table is checked against: time points and voxels of one FOV."""

    t: int
    z: int
    y: int
    x: int

    @classmethod
    def of(cls, shape: Sequence[int]) -> "ImageExtent":
        """From an image's shape (T, C, Z, Y, X)."""
        t, _, z, y, x = shape
        return cls(t, z, y, x)


def check_tracks(
    table: pd.DataFrame,
    source: str,
    extent: ImageExtent | None = None,
    lines: NDArray[np.int64] | None = None,
) -> None:
    """Refuse a track table of one FOV that is not sound; `source` (and `lines`, per row) name it in the
    message.

    Sound: no (track_id, t) and no id twice; finite centroids, inside `extent` when given; one parent a track,
    which exists, is no descendant of the track and ends before the track begins; `parent_id` names an earlier
    row of the same or the parent track.

    Raises:
        BadInputError: the first fault found, in one sentence.
    """
    place = _RowNames(source, lines)
    if table.empty:
        return
    _check_cells(table, place, extent)
    _check_parents(table, place)


def division_count(table: pd.DataFrame) -> int:
    """Tracks with at least two child tracks."""
    per_track = table.drop_duplicates(Column.TRACK_ID)
    parents = per_track.loc[per_track[Column.PARENT_TRACK_ID] != NO_PARENT, Column.PARENT_TRACK_ID]
    return int((parents.value_counts() >= 2).sum())


def linked_by_cells(table: pd.DataFrame) -> pd.DataFrame:
    """A sound table, by track and time, whose `parent_id` is the cell before in the track or the mother's last.

    A table may leave links to its track ids, or name an earlier cell; in a graph, edges alone make a track.
    """
    ordered = table.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)
    track, ids = ordered[Column.TRACK_ID].to_numpy(np.int64), ordered[Column.ID].to_numpy(np.int64)
    last = ordered.drop_duplicates(Column.TRACK_ID, keep="last").set_index(Column.TRACK_ID)[Column.ID]
    mothers = ordered[Column.PARENT_TRACK_ID].map(last).fillna(NO_PARENT).to_numpy(np.int64)
    continues = np.append(False, track[1:] == track[:-1])[: len(track)]
    return ordered.assign(**{Column.PARENT_ID: np.where(continues, np.roll(ids, 1), mothers)})


def lineage_roots(table: pd.DataFrame) -> "pd.Series[int]":
    """Per row of a sound table, the track_id of its lineage's founder: its own when it has no parent."""
    per_track = table.drop_duplicates(Column.TRACK_ID)
    track = per_track[Column.TRACK_ID].to_numpy()
    order = np.argsort(track, kind="stable")
    above = _parent_rows(track, per_track[Column.PARENT_TRACK_ID].to_numpy())
    while True:  # pointer doubling: as many rounds as log2 of the longest lineage
        further = above[above]
        if np.array_equal(further, above):
            break
        above = further
    rows = order[np.searchsorted(track[order], table[Column.TRACK_ID].to_numpy())]
    return pd.Series(track[above[rows]], index=table.index, name="lineage_root")


@dataclass(frozen=True)
class _RowNames:
    """How a message names a row: file and line where there is one, else the table's own keys."""

    source: str
    lines: NDArray[np.int64] | None

    def at(self, row: int) -> str:
        return self.source if self.lines is None else f"{self.source}, line {self.lines[row]}"


@dataclass(frozen=True)
class Families:
    """One entry per track: who its parent is and when it lives, with the line that says so (0 = unknown)."""

    source: str
    track: NDArray[np.int64]
    parent: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    line: NDArray[np.int64] | None

    def at(self, row: int) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line[row]}"


def _check_cells(table: pd.DataFrame, place: _RowNames, extent: ImageExtent | None) -> None:
    track, t = table[Column.TRACK_ID].to_numpy(), table[Column.T].to_numpy()
    if (row := first_true(table.duplicated([Column.TRACK_ID, Column.T]))) is not None:
        raise BadInputError(f"{place.at(row)}: track {track[row]} is given twice at t={t[row]}; keep one row")
    if (row := first_true(table.duplicated([Column.ID]))) is not None:
        raise BadInputError(
            f"{place.at(row)}: id {table[Column.ID].iloc[row]} is given twice; each row needs its own"
        )
    if (row := first_true(track < 0)) is not None:
        raise BadInputError(f"{place.at(row)}: track_id is {track[row]}; track ids start at 0")
    ends = {} if extent is None else {Column.Z: extent.z, Column.Y: extent.y, Column.X: extent.x}
    if (row := first_true((t < 0) | (extent is not None and t >= extent.t))) is not None:
        span = "times start at 0" if extent is None else f"the image has t 0 to {extent.t - 1}"
        raise BadInputError(f"{place.at(row)}: track {track[row]} has t={t[row]}, outside the image ({span})")
    for axis in _CENTROID:
        value = table[axis].to_numpy(np.float64)
        if (row := first_true(~np.isfinite(value))) is not None:
            raise BadInputError(
                f"{place.at(row)}: track {track[row]} at t={t[row]} has "
                f"{axis.value}={value[row]}; give a number"
            )
        outside = (value < -0.5) | (value > ends[axis] - 0.5) if axis in ends else value < -0.5
        if (row := first_true(outside)) is not None:
            raise BadInputError(
                f"{place.at(row)}: track {track[row]} at t={t[row]} has "
                f"{axis.value}={value[row]:g}, outside the "
                f"image{f' ({axis.value} 0 to {ends[axis] - 1})' if axis in ends else ''}"
            )


def _check_parents(table: pd.DataFrame, place: _RowNames) -> None:
    track, t = table[Column.TRACK_ID].to_numpy(), table[Column.T].to_numpy()
    parent = table[Column.PARENT_TRACK_ID].to_numpy()
    lowest_parent = table.groupby(Column.TRACK_ID)[Column.PARENT_TRACK_ID].transform("first").to_numpy()
    if (row := first_true(parent != lowest_parent)) is not None:
        raise BadInputError(
            f"{place.at(row)}: track {track[row]} has parent_track_id {parent[row]} here and "
            f"{lowest_parent[row]} in an earlier row; a track has one parent"
        )
    lives = table.assign(_row=np.arange(len(table))).groupby(Column.TRACK_ID, sort=False)
    first_row = lives["_row"].first().to_numpy()
    check_families(
        Families(
            source=place.source,
            track=track[first_row],
            parent=parent[first_row],
            begin=lives[Column.T].min().to_numpy(),
            end=lives[Column.T].max().to_numpy(),
            line=None if place.lines is None else place.lines[first_row],
        )
    )
    _check_parent_ids(table, place, track, t, parent)


def _check_parent_ids(
    table: pd.DataFrame,
    place: _RowNames,
    track: NDArray[np.int64],
    t: NDArray[np.int64],
    parent: NDArray[np.int64],
) -> None:
    ids, parent_id = table[Column.ID].to_numpy(), table[Column.PARENT_ID].to_numpy()
    before = _parent_rows(ids, parent_id, missing=-1)
    has = parent_id != NO_PARENT
    if (row := first_true(has & (before < 0))) is not None:
        raise BadInputError(
            f"{place.at(row)}: parent_id {parent_id[row]} of track {track[row]} at t={t[row]} is "
            "no id of the table"
        )
    if (row := first_true(has & (t[before] >= t))) is not None:
        raise BadInputError(
            f"{place.at(row)}: parent_id {parent_id[row]} of track {track[row]} at t={t[row]} names a row at "
            f"t={t[before[row]]}; it must be earlier"
        )
    if (row := first_true(has & (track[before] != track) & (track[before] != parent))) is not None:
        raise BadInputError(
            f"{place.at(row)}: parent_id {parent_id[row]} of track {track[row]} at t={t[row]} is "
            "a row of track "
            f"{track[before[row]]}, which is neither the track nor its parent"
        )


def check_families(families: Families) -> None:
    track, parent = families.track, families.parent
    if (row := first_true(pd.Series(track).duplicated())) is not None:
        raise BadInputError(f"{families.at(row)}: track {track[row]} is given twice; keep one line per track")
    above = _parent_rows(track, parent, missing=-1)
    has = parent != NO_PARENT
    if (row := first_true(has & (above < 0))) is not None:
        raise BadInputError(
            f"{families.at(row)}: parent {parent[row]} of track {track[row]} does not exist in the table"
        )
    if (cycle := _find_cycle(above)) is not None:
        row = cycle[0]
        path = " → ".join(str(track[member]) for member in (*cycle, row))
        raise BadInputError(f"{families.at(row)}: the parents of track {track[row]} form a cycle ({path})")
    if (row := first_true(has & (families.end[above] >= families.begin))) is not None:
        raise BadInputError(
            f"{families.at(row)}: track {track[row]} begins at t={families.begin[row]}, but its parent "
            f"{parent[row]} still lives at t={families.end[above[row]]}; a parent ends before its "
            "child begins"
        )


def _find_cycle(above: NDArray[np.int64]) -> list[int] | None:
    """Rows of one cycle along `above` (row of the parent, -1 = none), lowest row first; None without one."""
    state = np.zeros(len(above), np.int8)  # 0 unseen, 1 on the walk in progress, 2 leads to no cycle
    for start in range(len(above)):
        walk: list[int] = []
        row = start
        while row >= 0 and state[row] == 0:
            state[row] = 1
            walk.append(row)
            row = int(above[row])
        if row >= 0 and state[row] == 1:
            cycle = walk[walk.index(row) :]
            lowest = cycle.index(min(cycle))
            return cycle[lowest:] + cycle[:lowest]
        state[walk] = 2
    return None


def _parent_rows(
    keys: NDArray[np.int64], parents: NDArray[np.int64], missing: int | None = None
) -> NDArray[np.int64]:
    """Row of each parent among `keys` (unique); `missing`, or the row itself, where it has none there."""
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], parents), len(keys) - 1)
    found = keys[order[at]] == parents if len(keys) else np.zeros(0, bool)
    fallback = np.arange(len(keys)) if missing is None else np.full(len(keys), missing)
    return np.where(found & (parents != NO_PARENT), order[at], fallback)


def first_true(mask: "NDArray[np.bool_] | pd.Series[bool]") -> int | None:
    """Position of the first True, None without one: the row that an error names."""
    flags = np.asarray(mask)
    at = int(flags.argmax()) if flags.size else 0
    return at if flags.size and flags[at] else None
