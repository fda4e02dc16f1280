"""What a probe is asked: one yes-or-no label per cell and time point, and why some rows have none."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, require_columns, unit_ids

INDEPENDENT_SUFFIX = "_independent"
"""Of questions put to plates of other experiments, so that no file or number is taken for one of the own plates."""


@dataclass(frozen=True)
class Exclusion:
    """Rows that carry no label, and why."""

    reason: str
    n_rows: int


@dataclass(frozen=True)
class Labels:
    """A yes-or-no question put to every row of a cell table."""

    name: str
    """Name of the task, for example `about_to_divide`."""
    positive: str
    """What a positive row is, in words."""
    negative: str
    rule: str
    """How labels were made, in one sentence for a report."""
    label: BoolArray
    """(N,), meaningful where `known`."""
    known: BoolArray
    """(N,), False where the row has no label and is left out."""
    excluded: tuple[Exclusion, ...] = ()
    why_none: str | None = None
    """Why no row at all has a label, when that is so."""
    why_unscored: str | None = None
    """Why no row that could be scored has a label, where that is known; a probe may still say what it sees there."""

    def reordered(self, order: IntArray) -> "Labels":
        """The same labels for rows taken in `order`."""
        return replace(self, label=self.label[order], known=self.known[order])


@dataclass(frozen=True)
class TrackEnds:
    """How each row's track ends."""

    divides: BoolArray
    """(N,), the track has two or more children."""
    minutes_left: FloatArray
    """(N,), time from the row to the last time point of its track."""


def track_ends(cells: pd.DataFrame, interval_min: float, tracks: pd.DataFrame | None = None) -> TrackEnds:
    """How the track of each row of `cells` ends, from all rows of `tracks` (default: `cells` themselves).

    A division is a track with two or more children; its time is the last time point of the parent (DynaCLR
    §3.4.1). Pass `tracks` where `cells` lack rows (cells at the border), or a division may go unseen.
    """
    table = cells if tracks is None else tracks
    for name, frame in (("cell", cells), ("track", table)):
        require_columns(frame, ["fov_name", "track_id", "t"], name)
    require_columns(table, ["parent_track_id"], "track")
    if "plate" in cells.columns and "plate" not in table.columns:
        raise BadInputError("the track table lacks the column plate, which the cell table has; add it")
    ids = unit_ids(table, SplitUnit.TRACK)
    parents = table.assign(track_id=table["parent_track_id"].fillna(-1).astype("int64"))
    parent_ids = pd.Series(unit_ids(parents, SplitUnit.TRACK), index=table.index)
    born = pd.DataFrame({"parent": parent_ids, "child": ids})[(parents["track_id"] != -1).to_numpy()]
    children = born.groupby("parent")["child"].nunique()
    last_t = table["t"].astype("int64").groupby(ids).max()
    rows = unit_ids(cells, SplitUnit.TRACK)
    unknown = ~np.isin(rows, last_t.index.to_numpy(dtype=np.str_))
    if unknown.any():
        raise BadInputError(
            f"track {rows[unknown][0]} of the cell table is not in the track table; pass its own tracks"
        )
    left = last_t.reindex(rows).to_numpy() - cells["t"].to_numpy(dtype=np.int64)
    divides = children.reindex(rows).fillna(0).to_numpy() >= 2
    return TrackEnds(divides=divides, minutes_left=left.astype(np.float64) * interval_min)


def about_to_divide(
    cells: pd.DataFrame,
    interval_min: float | None,
    horizon_min: float,
    tracks: pd.DataFrame | None = None,
) -> Labels:
    """Does the cell divide within `horizon_min` minutes?

    Positive: the track ends in a division no more than the horizon after the row. Negative: the track is
    followed for longer than the horizon after the row, whatever comes then. Left out as censored: the track
    ends within the horizon without a division (end of the movie, lost, dead, left the field).
    """
    name = "about_to_divide"
    positive = f"divides within {horizon_min:g} min"
    negative = f"followed for more than {horizon_min:g} min without dividing"
    rule = (
        f"Positive: the track ends in a division (two or more children) at most {horizon_min:g} min after "
        f"the time point. Negative: the cell is followed for more than {horizon_min:g} min after it. Left "
        "out: the track ends sooner without a division, so what the cell was about to do is not known."
    )
    nothing = np.zeros(len(cells), dtype=bool)
    if interval_min is None:
        why = "the plate has a single time point or no time interval, so no division can be seen"
        return Labels(name, positive, negative, rule, nothing, nothing, (Exclusion(why, len(cells)),), why)
    if not (interval_min > 0 and horizon_min > 0):
        raise BadInputError(
            f"interval_min is {interval_min:g} and horizon_min is {horizon_min:g}; give both above 0 minutes"
        )
    ends = track_ends(cells, interval_min, tracks)
    # Intervals such as 0.1 min are not exact in binary: a row exactly at the horizon must stay inside it.
    near = ends.minutes_left <= horizon_min * (1 + 1e-9)
    censored = near & ~ends.divides
    reason = "the track ends within the horizon without a division (censored)"
    excluded = (Exclusion(reason, int(censored.sum())),) if censored.any() else ()
    return Labels(name, positive, negative, rule, near & ends.divides, ~censored, excluded)


def column_labels(
    cells: pd.DataFrame, column: str, positive: str, negative: str | None = None, name: str | None = None
) -> Labels:
    """Is the row's `column` equal to `positive`, rather than `negative` (default: any other value)?

    Rows whose value is missing, or neither of the two, are left out and counted.
    """
    require_columns(cells, [column], "cell")
    return _value_labels(cells[column], column, positive, negative, name or column)


def annotation_labels(
    cells: pd.DataFrame,
    states: pd.DataFrame,
    column: str,
    positive: str,
    negative: str | None = None,
    name: str | None = None,
) -> Labels:
    """As `column_labels`, for an annotation that is joined to the cells by (plate,) fov_name, track_id and t.

    Raises `BadInputError` when a cell is annotated twice, or when plates cannot be told apart.
    """
    values = joined_annotation(cells, states, column)
    return _value_labels(values, column, positive, negative, name or column)


def joined_annotation(cells: pd.DataFrame, states: pd.DataFrame, column: str) -> pd.Series:
    """Annotation `column` of each cell (N,) in the order of `cells`, missing where nobody annotated it."""
    keys = ["fov_name", "track_id", "t"]
    require_columns(states, [*keys, column], "annotation")
    if "plate" in cells.columns:
        if "plate" in states.columns:
            keys = ["plate", *keys]
        elif cells["plate"].nunique() > 1:
            raise BadInputError(
                f"annotations of {column} have no column plate, but the cells are of "
                f"{cells['plate'].nunique()} plates; add the column so that each annotation finds its cell"
            )
    twice = states.duplicated(keys)
    if twice.any():
        where = ", ".join(f"{key} {states.loc[twice, key].iloc[0]}" for key in keys)
        raise BadInputError(f"annotation {column} is given more than once for {where}; keep one row")
    right = states[[*keys, column]].rename(columns={column: "_annotation"})
    joined = cells[keys].merge(right, on=keys, how="left", validate="many_to_one")["_annotation"]
    return joined.set_axis(cells.index)


def without_states(states: pd.DataFrame | None, unused: Collection[str]) -> pd.DataFrame | None:
    """Annotations whose values among `unused` are missing, as if nobody had said anything of those cells."""
    if states is None or not unused:
        return states
    return states.assign(
        **{
            column: states[column].mask(states[column].isin(list(unused)))
            for column in states.columns.drop(["plate", "fov_name", "track_id", "t"], errors="ignore")
        }
    )


def _value_labels(values: pd.Series, column: str, positive: str, negative: str | None, name: str) -> Labels:
    present = values.notna().to_numpy()
    text = values.astype(str)
    is_positive = present & (text == positive).to_numpy()
    known = present if negative is None else is_positive | (present & (text == negative).to_numpy())
    excluded = tuple(
        Exclusion(reason, int(rows.sum()))
        for reason, rows in (
            (f"{column} is not annotated", ~present),
            (f"{column} is neither {positive} nor {negative}", present & ~known),
        )
        if rows.any()
    )
    other = negative or f"not {positive}"
    rule = f"Positive: {column} is {positive}. Negative: {column} is {other}."
    why = None if known.any() else f"no row has {column} {positive} or {other}"
    return Labels(name, positive, other, rule, is_positive & known, known, excluded, why)
