"""Which cell an annotation is about: by track and time, through divisions, or by the nearest centroid."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import given_rows
from cell_assets.imaging.annotations import (
    DISTANCE,
    FARTHEST_PX,
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
    joined, n_repeated = _one_row_per_cell(records, given, cells.table)
    return JoinedAnnotations(
        given.states, joined, unjoined, len(given.rows) + len(given.unjoined), n_repeated
    )


@dataclass(frozen=True)
class Neighbours:
    """Cells of one time point."""

    rows: NDArray[np.int64]
    """(N,), of the track table."""
    centroids: NDArray[np.float64]
    """(N, 3), z, y, x in pixels."""


_NOBODY = Neighbours(np.empty(0, np.int64), np.empty((0, 3), np.float64))


def neighbours(table: pd.DataFrame) -> dict[int, Neighbours]:
    """The cells of a track table by time point."""
    centroids = table[list(CENTROID)].to_numpy(np.float64)
    times, which = np.unique(table[Column.T].to_numpy(np.int64), return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(times)))[:-1]) if len(times) else []
    return {int(t): Neighbours(rows, centroids[rows]) for t, rows in zip(times, parts, strict=True)}


def nearest(place: NDArray[np.float64], among: Neighbours | None) -> tuple[int, float] | None:
    """Row of the cell nearest to `place` (z, y, x) and its distance, px; None beyond `FARTHEST_PX`.

    Of two at exactly the same distance, the first.
    """
    if among is None:
        return None
    distances = _distances(place, among.centroids)
    at = int(distances.argmin())
    return (int(among.rows[at]), float(distances[at])) if distances[at] <= FARTHEST_PX else None


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
        times = table[Column.T].to_numpy(np.int64)
        self._centroids = table[list(CENTROID)].to_numpy(np.float64)
        self._at = {
            key: row for row, key in enumerate(zip(self._track.tolist(), times.tolist(), strict=True))
        }
        self._of_time = neighbours(table)
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
            return self._nearest(place, t, self._of_time.get(t, _NOBODY), Join.CENTROID)
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
        self, place: NDArray[np.float64], t: int, among: Neighbours, join: Join
    ) -> list[_Found] | str:
        """The nearest of the cells `among`, which are of time `t`."""
        if not len(among.rows):
            return f"there is no cell at t={t}"
        distances = _distances(place, among.centroids)
        distance = float(distances.min())
        nearest_rows = among.rows[distances == distance]
        tracks = self._track[nearest_rows]
        if distance > FARTHEST_PX:
            return (
                f"no cell lies within {FARTHEST_PX:g} px at t={t}; the nearest, track {tracks[0]}, is "
                f"{distance:.1f} px away"
            )
        if len(nearest_rows) > 1:
            return f"tracks {tracks[0]} and {tracks[1]} are equally near at t={t}"
        return [_Found(int(nearest_rows[0]), join, distance)]

    def _through_divisions(self, track: int, t: int, place: NDArray[np.float64] | None) -> list[_Found] | str:
        if track not in self._spans:
            return f"there is no track {track}"
        begin, end = self._spans[track]
        rows = self._ancestor(track, t) if t < begin else self._descendants(track, t)
        if not rows:
            return f"track {track} lives from t={begin} to t={end}, and no cell of its family is it at t={t}"
        if place is None:
            return [_Found(row, Join.DIVISION, None) for row in rows]
        family = np.array(rows, np.int64)
        return self._nearest(place, t, Neighbours(family, self._centroids[family]), Join.DIVISION)

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


def _one_row_per_cell(
    records: list[Row], given: GivenAnnotations, table: pd.DataFrame
) -> tuple[pd.DataFrame, int]:
    """Cells in the order of `table`, and how many rows say of a cell what another said."""
    surest = {join.value: n for n, join in enumerate(Join)}

    def by_cell(row: Row) -> tuple[int, int, float]:
        # The surest join first, so that it is the one that is stated; a row without a place before all with one.
        return row["at"], surest[row[JOIN]], -1.0 if row[DISTANCE] is None else row[DISTANCE]

    kept: list[Row] = []
    places = table[[*CELL, *CENTROID]].to_dict("list")
    for at, rows in groupby(sorted(records, key=by_cell), key=itemgetter("at")):
        cell = {str(name): values[at] for name, values in places.items()}
        about = list(rows)
        said = {name: _one_state(about, name, cell, given.source) for name in given.states}
        kept.append({**cell, **said, JOIN: about[0][JOIN], DISTANCE: about[0][DISTANCE]})
    joined = pd.DataFrame(kept, columns=[*CELL, *CENTROID, *given.states, JOIN, DISTANCE])
    return typed_cells(joined, given.states), len(records) - len(kept)


def _one_state(about: Sequence[Row], name: str, cell: Row, source: str) -> str | None:
    """What the rows about a cell say in column `name`; None where none says anything."""
    saying = [row for row in about if pd.notna(row[name])]
    for row in saying[1:]:
        if row[name] != saying[0][name]:
            raise BadInputError(
                f"{source}, {row[PLACE]}: {name} is {row[name]!r} for track {cell[Column.TRACK_ID]} at "
                f"t={cell[Column.T]}, but {saying[0][PLACE]} says {saying[0][name]!r}; keep one"
            )
    return saying[0][name] if saying else None


def typed_cells(cells: pd.DataFrame, states: tuple[str, ...]) -> pd.DataFrame:
    """With the same types whatever it holds, and ordered by track and time, so that equal rows are equal bytes."""
    kinds = dict.fromkeys(CELL, "int64") | dict.fromkeys(CENTROID, "float64")
    kinds |= dict.fromkeys([*states, JOIN], "string") | {DISTANCE: "Float64"}
    return cells.astype(kinds).sort_values(list(CELL), ignore_index=True)
