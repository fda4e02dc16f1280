"""Which cell an annotation is about: by track and time, through divisions, or by the nearest centroid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import given_rows
from cell_assets.imaging.annotations import (
    DISTANCE,
    FARTHEST_PX,
    GIVEN_KEYS,
    JOIN,
    PLACE,
    REASON,
    GivenAnnotations,
    Join,
    Row,
    rows_of,
)
from cell_assets.imaging.track_tables import NO_PARENT, Column

CENTROID = (Column.Z.value, Column.Y.value, Column.X.value)
CELL = (Column.TRACK_ID.value, Column.T.value)


@dataclass(frozen=True)
class JoinedAnnotations:
    """What one file says, cell by cell."""

    states: tuple[str, ...]
    cells: pd.DataFrame
    """One row per cell and time point: `track_id, t, z, y, x` (its centroid), states, `JOIN`, `DISTANCE` (px
    between what was given and the centroid, null where no place was given). Ordered by track and time."""
    unjoined: pd.DataFrame
    """Rows that have no cell: `GIVEN_KEYS`, states, `PLACE`, `REASON`."""
    n_rows: int
    """Rows of the file that name a state, joined or not."""
    n_repeated: int
    """Rows that say of a cell what another row said already."""


@dataclass(frozen=True)
class _Found:
    """A cell that a row is about."""

    at: int
    """Row of the track table."""
    join: Join
    distance: float | None


def join_annotations(given: GivenAnnotations, tracks: pd.DataFrame) -> JoinedAnnotations:
    """Find the cell of every row of `given` in `tracks` (TRACK_COLUMNS of one position).

    A row that names track and time is about that cell, and a place that it also names must lie within
    `FARTHEST_PX` of the centroid. Where the track does not live at that time, the row is about its descendants
    at that time if it divided before (all of them, or the nearest if it names a place within `FARTHEST_PX`), or
    about its ancestor if it was born later. A row that names a place alone is about the nearest centroid of the
    same time, within `FARTHEST_PX`. Distances are in pixels over y and x, and z where it is given. Rows may come
    in any order.

    Raises:
        BadInputError: two rows say different things of one cell, naming both and their values; or no row has a
            cell.
    """
    cells = _Cells.of(tracks)
    records: list[Row] = []
    lost: list[Row] = []
    for row in rows_of(given.rows):
        found = cells.of_row(row)
        if isinstance(found, str):
            lost.append({**row, REASON: found})
            continue
        records += [{**row, "at": one.at, JOIN: one.join.value, DISTANCE: one.distance} for one in found]
    unjoined = pd.concat([given_rows(lost, given.states, REASON), given.unjoined], ignore_index=True)
    if not records:
        first = unjoined.iloc[0]
        raise BadInputError(
            f"{given.source}, {first[PLACE]}: {first[REASON]}; none of the {len(unjoined)} annotations has a cell"
        )
    joined, n_repeated = _one_row_per_cell(pd.DataFrame(records), given, cells.table)
    return JoinedAnnotations(
        given.states, joined, unjoined, len(given.rows) + len(given.unjoined), n_repeated
    )


def nearest(
    place: NDArray[np.float64], candidates: NDArray[np.float64], farthest: float = FARTHEST_PX
) -> tuple[int, float] | None:
    """Index of the centroid (N, 3) nearest to `place` (z, y, x) and its distance, px; None beyond `farthest`.

    A z of NaN does not count. Of two at exactly the same distance, the first.
    """
    if not len(candidates):
        return None
    distances = _distances(place, candidates)
    at = int(distances.argmin())
    return (at, float(distances[at])) if distances[at] <= farthest else None


def _distances(place: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
    away = candidates - place
    if np.isnan(place[0]):
        away = away[:, 1:]
    return np.asarray(np.sqrt((away**2).sum(axis=1)), np.float64)


class _Cells:
    """The cells of one position, by track, by time and by family."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._track = table[Column.TRACK_ID].to_numpy(np.int64)
        self._t = table[Column.T].to_numpy(np.int64)
        self._centroids = table[list(CENTROID)].to_numpy(np.float64)
        self._at = {
            key: row for row, key in enumerate(zip(self._track.tolist(), self._t.tolist(), strict=True))
        }
        self._of_time = _rows_of_times(self._t)
        spans = table.groupby(Column.TRACK_ID)[Column.T].agg(["min", "max"])
        self._spans = {int(track): (int(low), int(high)) for track, low, high in spans.itertuples()}
        parents = table.drop_duplicates(Column.TRACK_ID)[[Column.TRACK_ID, Column.PARENT_TRACK_ID]]
        self._parent = {int(track): int(parent) for track, parent in parents.to_numpy(np.int64)}
        self._children: dict[int, list[int]] = {}
        for track, parent in sorted(self._parent.items()):
            if parent != NO_PARENT:
                self._children.setdefault(parent, []).append(track)

    @classmethod
    def of(cls, tracks: pd.DataFrame) -> "_Cells":
        return cls(tracks.sort_values(list(CELL), ignore_index=True))

    def of_row(self, row: Row) -> list[_Found] | str:
        """The cells that a row is about, or why there is none."""
        t = int(row[Column.T])
        place = np.array([np.nan if pd.isna(row[axis]) else row[axis] for axis in CENTROID], np.float64)
        has_place = not np.isnan(place[1:]).any()
        if pd.isna(row[Column.TRACK_ID]):
            return self._nearest(place, t, self._of_time.get(t, []), Join.CENTROID)
        track = int(row[Column.TRACK_ID])
        at = self._at.get((track, t))
        if at is not None:
            join = Join.EXACT if pd.isna(row[JOIN]) else Join(str(row[JOIN]))
            if not has_place:
                return [_Found(at, join, None)]
            (distance,) = _distances(place, self._centroids[[at]])
            if distance > FARTHEST_PX:
                return f"its place is {distance:.1f} px from track {track} at t={t}, more than {FARTHEST_PX:g} px"
            return [_Found(at, join, float(distance))]
        return self._through_divisions(track, t, place if has_place else None)

    def _nearest(
        self, place: NDArray[np.float64], t: int, rows: Sequence[int], join: Join
    ) -> list[_Found] | str:
        """The nearest of the cells `rows`, which are of time `t`."""
        if not rows:
            return f"there is no cell at t={t}"
        distances = _distances(place, self._centroids[rows])
        order = np.argsort(distances, kind="stable")
        track, distance = self._track[rows[order[0]]], float(distances[order[0]])
        if distance > FARTHEST_PX:
            return (
                f"no cell lies within {FARTHEST_PX:g} px at t={t}; the nearest, track {track}, is "
                f"{distance:.1f} px away"
            )
        if len(rows) > 1 and distances[order[1]] == distance:
            return f"tracks {track} and {self._track[rows[order[1]]]} are equally near at t={t}"
        return [_Found(rows[order[0]], join, distance)]

    def _through_divisions(self, track: int, t: int, place: NDArray[np.float64] | None) -> list[_Found] | str:
        if track not in self._spans:
            return f"there is no track {track}"
        begin, end = self._spans[track]
        rows = self._ancestor(track, t) if t < begin else self._descendants(track, t)
        if not rows:
            return f"track {track} lives from t={begin} to t={end}, and no cell of its family is it at t={t}"
        if place is None:
            return [_Found(row, Join.DIVISION, None) for row in rows]
        return self._nearest(place, t, rows, Join.DIVISION)

    def _ancestor(self, track: int, t: int) -> list[int]:
        above = self._parent[track]
        while above != NO_PARENT:
            if (above, t) in self._at:
                return [self._at[above, t]]
            above = self._parent[above]
        return []

    def _descendants(self, track: int, t: int) -> list[int]:
        found, waiting = [], list(self._children.get(track, []))
        while waiting:
            child = waiting.pop()
            if (child, t) in self._at:
                found.append(self._at[child, t])
            elif self._spans[child][1] < t:
                waiting += self._children.get(child, [])
        return sorted(found)


def _rows_of_times(t: NDArray[np.int64]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, time in enumerate(t.tolist()):
        rows.setdefault(time, []).append(row)
    return rows


def _one_row_per_cell(
    records: pd.DataFrame, given: GivenAnnotations, table: pd.DataFrame
) -> tuple[pd.DataFrame, int]:
    order = {join.value: n for n, join in enumerate(Join)}
    # The surest join first, so that it is the one that is stated; every other column breaks ties.
    records = records.assign(
        rank=records[JOIN].map(order), away=records[DISTANCE].astype("Float64").fillna(-1.0)
    )
    records = records.sort_values(["at", "rank", "away"], kind="stable")
    kept: list[Row] = []
    n_repeated = 0
    for _, group in records.groupby("at", sort=True):
        cell = table.iloc[group["at"].iloc[0]]
        said: Row = {}
        for name in given.states:
            values = group.loc[group[name].notna(), [name, PLACE]]
            said[name] = values[name].iloc[0] if len(values) else None
            if values[name].nunique() > 1:
                _refuse_conflict(values, name, cell, given.source)
        n_repeated += len(group) - 1
        first = group.iloc[0]
        kept.append(
            {
                **{name: cell[name] for name in (*CELL, *CENTROID)},
                **said,
                JOIN: first[JOIN],
                DISTANCE: first[DISTANCE],
            }
        )
    joined = pd.DataFrame(kept, columns=[*CELL, *CENTROID, *given.states, JOIN, DISTANCE])
    return typed_cells(joined, given.states), n_repeated


def typed_cells(cells: pd.DataFrame, states: tuple[str, ...]) -> pd.DataFrame:
    """With the same types whatever it holds, and ordered by track and time, so that equal rows are equal bytes."""
    kinds = dict.fromkeys(CELL, "int64") | dict.fromkeys(CENTROID, "float64")
    kinds |= dict.fromkeys([*states, JOIN], "string") | {DISTANCE: "Float64"}
    return cells.astype(kinds).sort_values(list(CELL), ignore_index=True)


def _refuse_conflict(values: pd.DataFrame, name: str, cell: "pd.Series[int]", source: str) -> None:
    first = values.iloc[0]
    other = values[values[name] != first[name]].iloc[0]
    raise BadInputError(
        f"{source}, {other[PLACE]}: {name} is {other[name]!r} for track {int(cell[Column.TRACK_ID])} at "
        f"t={int(cell[Column.T])}, but {first[PLACE]} says {first[name]!r}; keep one"
    )


def ordered_unjoined(unjoined: pd.DataFrame, states: tuple[str, ...]) -> pd.DataFrame:
    """Without the place in the file, in an order that the file's own does not decide."""
    columns = [*GIVEN_KEYS, *states, REASON]
    return unjoined[columns].sort_values(columns, na_position="first", ignore_index=True)
