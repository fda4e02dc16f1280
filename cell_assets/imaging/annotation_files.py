"""CSV files of annotations: a table by track and time, or a points layer as napari saves it.

napari 0.9 writes points as `index, axis-0, axis-1, …` and one column per feature; numbers come as `1.0` where
every feature is a number, a missing one as `nan` or blank. It writes no tracks layer as CSV (a table
`track_id, t, y, x` from elsewhere is read), and a labels layer as TIFF, which `annotation_images` reads.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotations import (
    GIVEN_KEYS,
    JOIN,
    PLACE,
    PLATE,
    REASON,
    GivenAnnotations,
    is_reserved,
)
from cell_assets.imaging.track_files import plain_number, read_text_table, whole_number
from cell_assets.imaging.track_tables import Column

PROJECTIONS: tuple[str, ...] = ("pca_1", "pca_2", "umap_1", "umap_2")
"""Features of the points that `cell-assets napari` shows; they come back in a saved layer and are no states."""

GIVEN_TYPES: dict[str, str] = dict.fromkeys(GIVEN_KEYS[:2], "Int64") | dict.fromkeys(
    GIVEN_KEYS[2:], "Float64"
)
"""Of `GIVEN_KEYS`, nullable."""

_AXIS = re.compile(r"axis-([0-9]+)")
_AXES: Mapping[int, tuple[str | None, ...]] = {
    3: ("t", "y", "x"),
    4: ("t", "z", "y", "x"),
    5: ("t", None, "z", "y", "x"),
}
"""By number of axes, what napari's axes are; the second of five is the channel."""
_CHANNEL = "index of the channel"
_NO_STATES = frozenset({"index", "lineage_root", "area", "length_um"})
"""Columns of track tables and of napari's points that are no states, beside those that are reserved."""
_BLANK = frozenset({"", "nan"})
_CLOSE_TO_WHOLE = 1e-3
"""A frame is a whole number; what a viewer makes of it by a scale may miss it by rounding."""


@dataclass(frozen=True)
class ReadingChoices:
    """What a person says of a file beside the file."""

    columns: tuple[str, ...] = ()
    """The columns that are states; empty: all but reserved ones, projections and what else track tables have."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of states by value, such as `1` to `uninfected`; empty: values are names."""

    def named(self, value: str, place: str) -> str:
        """The name of the state that `value` stands for.

        Raises:
            BadInputError: names were given, and none for this value.
        """
        if not self.names:
            return value
        if value not in self.names:
            raise BadInputError(
                f"{place} is {value!r}, which --state gives no name (it names {', '.join(self.names)})"
            )
        return self.names[value]


def read_annotation_csv(path: Path, plate: str, position: str, choices: ReadingChoices) -> GivenAnnotations:
    """Read what a CSV says of `position`: rows by `track_id, t`, by `t, (z,) y, x`, or both; or napari's points.

    Rows whose `plate` or `fov_name` is another are left aside and counted; a blank plate is this one. A state is a
    name or a whole number; blank and `nan` say nothing.

    Raises:
        BadInputError: naming file, line, column and value, for a file without states or without a way to find
            cells, a number that is none, or a state without a name.
    """
    text = read_text_table(path)
    coordinates = _axes(text, path)
    text = text.rename(columns=coordinates)
    given = [name for name in GIVEN_KEYS if name in text.columns]
    _refuse_unfindable(text, path)
    states = _state_columns(text, path, choices)
    here, n_other = _of_position(text, plate, position)
    if not len(here):
        others = f"; its {n_other} rows are of other plates or positions" if n_other else ""
        raise BadInputError(f"{path}: holds no row of plate {plate}, position {position}{others}")
    rows = pd.DataFrame(index=here.index)
    for name in GIVEN_KEYS:
        rows[name] = _keys(here[name], path) if name in given else None
    rows = rows.astype(GIVEN_TYPES)
    for name in states:
        rows[name] = _states(here[name], path, choices)
    rows[PLACE] = _places(here.index)
    rows[JOIN] = pd.Series(pd.NA, index=rows.index, dtype="string")
    _refuse_placeless(rows, path)
    says = rows[list(states)].notna().any(axis=1)
    said = rows[says].reset_index(drop=True)
    if said.empty:
        raise BadInputError(f"{path}: none of its {len(rows)} rows names a state in {', '.join(states)}")
    return GivenAnnotations(
        source=str(path),
        states=states,
        rows=said,
        unjoined=said.iloc[:0].rename(columns={JOIN: REASON}),
        n_other_fovs=n_other,
    )


def _axes(text: pd.DataFrame, path: Path) -> dict[str, str]:
    """napari's axes by the columns that they are, without the channel's."""
    axes = sorted((int(found[1]), name) for name in text.columns if (found := _AXIS.fullmatch(name)))
    if not axes:
        return {}
    if len(axes) not in _AXES or [number for number, _ in axes] != list(range(len(axes))):
        raise BadInputError(
            f"{path}, line 1: has {len(axes)} axes ({', '.join(name for _, name in axes)}); points of a movie "
            "have three (t, y, x), four (t, z, y, x) or five (t, c, z, y, x)"
        )
    named = {name: axis for (_, name), axis in zip(axes, _AXES[len(axes)], strict=True)}
    # A feature says the same as the layer's own coordinate, or what it was before the point was moved.
    text.drop(columns=[axis for axis in named.values() if axis in text.columns], inplace=True)
    return {name: axis if axis is not None else _CHANNEL for name, axis in named.items()}


def _refuse_unfindable(text: pd.DataFrame, path: Path) -> None:
    by_track = Column.TRACK_ID in text.columns
    by_place = Column.Y in text.columns and Column.X in text.columns
    if Column.T not in text.columns or not (by_track or by_place):
        raise BadInputError(
            f"{path}, line 1: the columns are {', '.join(text.columns)}; annotations need t with track_id or with "
            "y and x, or napari's axis-0, axis-1, axis-2, and one column per kind of state"
        )


def _state_columns(text: pd.DataFrame, path: Path, choices: ReadingChoices) -> tuple[str, ...]:
    aside = {*_NO_STATES, *PROJECTIONS, _CHANNEL}
    found = choices.columns or tuple(
        name for name in text.columns if name not in aside and not is_reserved(name)
    )
    for name in found:
        if name not in text.columns:
            raise BadInputError(
                f"{path}, line 1: there is no column {name!r}; it has {', '.join(text.columns)}"
            )
        if is_reserved(name):
            raise BadInputError(f"{path}, line 1: a column of states cannot be named {name!r}; rename it")
    if not found:
        raise BadInputError(
            f"{path}, line 1: there is no column of states beside {', '.join(text.columns)}; add one "
            "(in napari: a feature of the points)"
        )
    return tuple(sorted(found))


def _of_position(text: pd.DataFrame, plate: str, position: str) -> tuple[pd.DataFrame, int]:
    here = pd.Series(True, index=text.index)
    if PLATE in text.columns:
        here &= text[PLATE].map(lambda cell: _is_blank(cell) or cell.strip() == plate)
    if Column.FOV_NAME in text.columns:
        here &= text[Column.FOV_NAME].str.strip().str.strip("/") == position
    return text[here], int((~here).sum())


def _keys(cells: "pd.Series[str]", path: Path) -> "pd.Series[Any]":
    """Whole numbers or floats by the column's name, null where blank."""
    read = {Column.T.value: _frame, Column.TRACK_ID.value: _track}.get(str(cells.name), _coordinate)
    values = [
        None if _is_blank(cell) else read(cell, f"{path}, {place}: {cells.name}")
        for cell, place in zip(cells, _places(cells.index), strict=True)
    ]
    return pd.Series(values, index=cells.index, dtype=object)


def _places(index: pd.Index) -> list[str]:
    """The line of each row of a text table."""
    return [f"line {row + 2}" for row in index.to_numpy(np.int64)]


def _track(cell: str, place: str) -> int:
    return whole_number(cell.strip(), f"{place} is {cell!r}")


def _frame(cell: str, place: str) -> int:
    number = _coordinate(cell, place)
    if abs(number - round(number)) > _CLOSE_TO_WHOLE:
        raise BadInputError(f"{place} is {cell!r}; a time point is a whole number of frames")
    return round(number)


def _coordinate(cell: str, place: str) -> float:
    try:
        number = plain_number(cell)
    except ValueError:
        number = float("nan")
    # Past 2^53 a frame would not be the number that was written.
    if not abs(number) < 2**53:
        raise BadInputError(f"{place} is {cell!r}; give a finite number")
    return number


def _states(cells: "pd.Series[str]", path: Path, choices: ReadingChoices) -> "pd.Series[str]":
    """Names of states, null where blank; numbers lose a `.0`, which a column of floats gives to whole numbers."""
    named: list[str | None] = []
    for cell, line in zip(cells, _places(cells.index), strict=True):
        value, place = cell.strip(), f"{path}, {line}: {cells.name}"
        named.append(None if _is_blank(value) else choices.named(_whole_or_name(value, place), place))
    return pd.Series(named, index=cells.index, dtype="string")


def _whole_or_name(value: str, place: str) -> str:
    try:
        number = plain_number(value)
    except ValueError:
        return value
    if not number.is_integer():
        raise BadInputError(
            f"{place} is {value!r}; a state is a name or a whole number (--column says which columns are states)"
        )
    return str(int(number))


def _is_blank(cell: str) -> bool:
    return cell.strip().lower() in _BLANK


def _refuse_placeless(rows: pd.DataFrame, path: Path) -> None:
    findable = rows[Column.TRACK_ID].notna() | (rows[Column.Y].notna() & rows[Column.X].notna())
    placeless = rows[rows[Column.T].isna() | ~findable]
    if len(placeless):
        row = placeless.iloc[0]
        said = ", ".join(f"{name} {row[name]}" for name in GIVEN_KEYS if pd.notna(row[name])) or "nothing"
        raise BadInputError(f"{path}, {row[PLACE]}: says {said}; give t, and track_id or both of y and x")


def given_rows(records: Sequence[Mapping[str, object]], states: Sequence[str], last: str) -> pd.DataFrame:
    """A frame of `GIVEN_KEYS`, `states`, `PLACE` and `last` (`JOIN` or `REASON`) with the types of a CSV's rows."""
    frame = pd.DataFrame(records, columns=[*GIVEN_KEYS, *states, PLACE, last])
    return frame.astype(GIVEN_TYPES | dict.fromkeys([*states, PLACE, last], "string"))
