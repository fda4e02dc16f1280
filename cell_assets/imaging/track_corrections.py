"""Corrections of a track table by hand: merge, split, delete, relink.

No files: rows come from `track_files.read_correction_csv`. The table is never changed in place, and every
correction is held against the table as the ones before it left it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_tables import NO_PARENT, Column, check_tracks, lineage_roots


class CorrectionAction(StrEnum):
    """What a correction does with `track_id`; what it leaves unsaid, it leaves unchanged."""

    MERGE = "merge"
    """`other_track_id`, which begins later, becomes part of it, and its daughters follow."""
    SPLIT = "split"
    """Its cells from `t` on become the new track `other_track_id`, a founder; its daughters follow."""
    DELETE = "delete"
    """Its cell at `t` goes; without `t`, the whole track, whose daughters become founders."""
    RELINK = "relink"
    """It becomes a daughter of `other_track_id`; without one, a founder."""


class CorrectionColumn(StrEnum):
    """Columns of a correction file."""

    ACTION = "action"
    TRACK_ID = "track_id"
    T = "t"
    OTHER_TRACK_ID = "other_track_id"


@dataclass(frozen=True)
class Correction:
    """One row of a correction file."""

    action: CorrectionAction
    track_id: int
    t: int | None = None
    other_track_id: int | None = None


def apply_corrections(
    table: pd.DataFrame, corrections: Sequence[Correction], source: str, first_line: int = 2
) -> pd.DataFrame:
    """A new table with `corrections` applied in order, by track and time; `source` names them in messages.

    `lineage_root`, where the table has it, follows; every other column stays with its cell. Costs one pass
    over the table per correction.

    Raises:
        BadInputError: naming source, line, column and value, for the first correction that does not fit;
            or the result is not sound (see `check_tracks`).
    """
    tracks = _Tracks.of(table)
    for line, correction in enumerate(corrections, start=first_line):
        fit = _Fit(tracks, correction, f"{source}, line {line}")
        tracks = _APPLY[correction.action](fit)
    corrected = tracks.applied_to(table)
    check_tracks(corrected, f"{source}, applied")
    if "lineage_root" in corrected:
        corrected["lineage_root"] = lineage_roots(corrected).to_numpy(np.int64)
    return corrected


@dataclass(frozen=True)
class _Tracks:
    """The changing columns of a table, one entry per row of it, and which rows are left."""

    left: NDArray[np.bool_]
    track: NDArray[np.int64]
    t: NDArray[np.int64]
    ids: NDArray[np.int64]
    parent: NDArray[np.int64]
    parent_id: NDArray[np.int64]

    @classmethod
    def of(cls, table: pd.DataFrame) -> "_Tracks":
        columns = (Column.TRACK_ID, Column.T, Column.ID, Column.PARENT_TRACK_ID, Column.PARENT_ID)
        return cls(np.ones(len(table), bool), *(table[column].to_numpy(np.int64) for column in columns))

    def applied_to(self, table: pd.DataFrame) -> pd.DataFrame:
        changed = table.assign(
            **{
                Column.TRACK_ID: self.track,
                Column.PARENT_TRACK_ID: self.parent,
                Column.PARENT_ID: self.parent_id,
            }
        )
        return changed[self.left].sort_values([Column.TRACK_ID, Column.T], ignore_index=True)

    def rows(self, track_id: int) -> NDArray[np.int64]:
        """Rows of a track, by time."""
        rows = np.flatnonzero(self.left & (self.track == track_id))
        return rows[np.argsort(self.t[rows], kind="stable")]

    def daughters(self, track_id: int) -> NDArray[np.int64]:
        """Rows of all daughters of a track."""
        return np.flatnonzero(self.left & (self.parent == track_id))

    def changed(
        self,
        rows: NDArray[np.int64],
        track: int | None = None,
        parent: int | None = None,
        parent_id: int | None = None,
    ) -> "_Tracks":
        """With new values in `rows`; None leaves a column."""

        def put(column: NDArray[np.int64], value: int | None) -> NDArray[np.int64]:
            return column if value is None else np.where(np.isin(np.arange(len(column)), rows), value, column)

        return _Tracks(
            self.left,
            put(self.track, track),
            self.t,
            self.ids,
            put(self.parent, parent),
            put(self.parent_id, parent_id),
        )

    def without(self, rows: NDArray[np.int64]) -> "_Tracks":
        left = self.left.copy()
        left[rows] = False
        return _Tracks(left, self.track, self.t, self.ids, self.parent, self.parent_id)

    def linked_to(self, ids: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those rows `among` whose `parent_id` is one of `ids`."""
        return among[np.isin(self.parent_id[among], ids)]


@dataclass(frozen=True)
class _Fit:
    """One correction against the table that it meets."""

    tracks: _Tracks
    correction: Correction
    place: str

    def refusal(self, column: CorrectionColumn, why: str) -> BadInputError:
        value = getattr(self.correction, column.value)
        given = "blank" if value is None else value
        return BadInputError(f"{self.place}: {column.value} is {given}, {why}")

    def track_rows(self, column: CorrectionColumn) -> NDArray[np.int64]:
        """Rows, by time, of the track that `column` names, which must exist."""
        value = getattr(self.correction, column.value)
        if value is None:
            raise self.refusal(column, f"but {self.correction.action.value} needs a track; give its id")
        rows = self.tracks.rows(value)
        if not rows.size:
            raise self.refusal(column, "which is no track of the table at this point; give one that is")
        return rows

    def refuse_given(self, *columns: CorrectionColumn) -> None:
        for column in columns:
            if getattr(self.correction, column.value) is not None:
                raise self.refusal(column, f"but {self.correction.action.value} takes none; leave it blank")


_TRACK, _T, _OTHER = CorrectionColumn.TRACK_ID, CorrectionColumn.T, CorrectionColumn.OTHER_TRACK_ID


def _merge(fit: _Fit) -> _Tracks:
    fit.refuse_given(_T)
    tracks, first, second = fit.tracks, fit.track_rows(_TRACK), fit.track_rows(_OTHER)
    track, other = fit.correction.track_id, int(tracks.track[second[0]])
    end, begin = int(tracks.t[first[-1]]), int(tracks.t[second[0]])
    if begin <= end:
        raise fit.refusal(
            _OTHER,
            f"which begins at t={begin}, but track {track} still lives at t={end}; merge what follows it",
        )
    parent = int(tracks.parent[second[0]])
    if parent not in (NO_PARENT, track):
        raise fit.refusal(_OTHER, f"which is a daughter of track {parent}; relink it to none first")
    sisters = np.setdiff1d(tracks.track[tracks.daughters(track)], [other])
    if sisters.size:
        raise fit.refusal(_TRACK, f"which has the daughter {sisters[0]} already; relink that first")
    tracks = tracks.changed(tracks.daughters(other), parent=track)
    tracks = tracks.changed(second[:1], parent_id=int(tracks.ids[first[-1]]))
    return tracks.changed(second, track=track, parent=int(tracks.parent[first[0]]))


def _split(fit: _Fit) -> _Tracks:
    tracks, rows = fit.tracks, fit.track_rows(_TRACK)
    track, t, new = fit.correction.track_id, fit.correction.t, fit.correction.other_track_id
    if t is None or t not in tracks.t[rows[1:]]:
        raise fit.refusal(_T, f"but a split needs a cell of track {track} after its first; give its time")
    if new is None or new < 0 or tracks.rows(new).size:
        raise fit.refusal(_OTHER, "but a split needs an id of 0 or more that no track has; give a new one")
    early, late = rows[tracks.t[rows] < t], rows[tracks.t[rows] >= t]
    daughters = tracks.daughters(track)
    # A daughter may name any cell of her mother; those that named one of the first part name the last.
    tracks = tracks.changed(
        tracks.linked_to(tracks.ids[early], daughters), parent_id=int(tracks.ids[late[-1]])
    )
    tracks = tracks.changed(daughters, parent=new).changed(late[:1], parent_id=NO_PARENT)
    # Within a track, too, a row may name any earlier one.
    tracks = tracks.changed(tracks.linked_to(tracks.ids[early], late), parent_id=NO_PARENT)
    return tracks.changed(late, track=new, parent=NO_PARENT)


def _delete(fit: _Fit) -> _Tracks:
    fit.refuse_given(_OTHER)
    tracks, rows = fit.tracks, fit.track_rows(_TRACK)
    track, t = fit.correction.track_id, fit.correction.t
    daughters = tracks.daughters(track)
    if t is None or (len(rows) == 1 and tracks.t[rows[0]] == t):
        tracks = tracks.changed(tracks.linked_to(tracks.ids[rows], daughters), parent_id=NO_PARENT)
        return tracks.changed(daughters, parent=NO_PARENT).without(rows)
    at = rows[tracks.t[rows] == t]
    if not at.size:
        raise fit.refusal(_T, f"when track {track} has no cell; give a time at which it has one")
    before = rows[tracks.t[rows] < t]
    link = int(tracks.ids[before[-1]]) if before.size else int(tracks.parent_id[at[0]])
    followers = tracks.linked_to(tracks.ids[at], np.concatenate([rows, daughters]))
    return tracks.changed(followers, parent_id=link).without(at)


def _relink(fit: _Fit) -> _Tracks:
    fit.refuse_given(_T)
    tracks, rows = fit.tracks, fit.track_rows(_TRACK)
    track, mother = fit.correction.track_id, fit.correction.other_track_id
    if mother is None:
        return tracks.changed(rows, parent=NO_PARENT).changed(rows[:1], parent_id=NO_PARENT)
    above = fit.track_rows(_OTHER)
    end, begin = int(tracks.t[above[-1]]), int(tracks.t[rows[0]])
    if end >= begin:
        raise fit.refusal(
            _OTHER,
            f"which still lives at t={end}, but track {track} begins at t={begin}; a mother ends before",
        )
    return tracks.changed(rows, parent=mother).changed(rows[:1], parent_id=int(tracks.ids[above[-1]]))


_APPLY = {
    CorrectionAction.MERGE: _merge,
    CorrectionAction.SPLIT: _split,
    CorrectionAction.DELETE: _delete,
    CorrectionAction.RELINK: _relink,
}
