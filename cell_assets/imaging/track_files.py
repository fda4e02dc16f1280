"""Files that hold track tables and what is said of them: Ultrack's and VisCy's CSV, annotation and correction
CSV, and the Cell Tracking Challenge's `man_track.txt`.

Only reading and writing; what makes a table sound is in `track_tables`.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_corrections import Correction, CorrectionAction, CorrectionColumn
from cell_assets.imaging.track_tables import (
    NO_PARENT,
    TRACK_COLUMNS,
    Column,
    Families,
    ImageExtent,
    check_families,
    check_tracks,
    first_true,
)

_WHOLE = (Column.TRACK_ID, Column.T, Column.ID, Column.PARENT_TRACK_ID, Column.PARENT_ID)
_MAY_BE_ABSENT = (Column.Z, Column.PARENT_TRACK_ID)
_PARENTS = (Column.PARENT_TRACK_ID, Column.PARENT_ID)
_STATE_KEYS = (Column.FOV_NAME, Column.TRACK_ID, Column.T)
_LARGEST_WHOLE = 2**53
"""Whole numbers past it are not exact in files that passed through a float column."""
_DIGITS = re.compile(r"[+-]?[0-9]+")


def read_track_csv(path: Path, fov_name: str, extent: ImageExtent | None = None) -> pd.DataFrame:
    """Read one FOV's table `track_id,t,(z,)y,x,id,parent_track_id,parent_id` and check it.

    `z` may be absent for 2-D data and is then 0, and `parent_track_id` where `parent_id` tells it, as in
    motile tracker's export; other columns are left aside. A blank parent and -1 both mean none. Returns
    TRACK_COLUMNS, integers as int64, centroids as float64, ordered by track and time.

    Raises:
        BadInputError: naming file, line, column and value, when a column is missing, a value is not a finite
            number, or the table is not sound (see `check_tracks`).
    """
    text = read_text_table(path)
    wanted = [column for column in TRACK_COLUMNS if column != Column.FOV_NAME]
    missing = [name for name in wanted if name not in text.columns and name not in _MAY_BE_ABSENT]
    if missing:
        raise BadInputError(
            f"{path}: column {missing[0]!r} is missing (the file has {', '.join(map(str, text.columns))}); "
            f"a track table needs {', '.join(wanted)}"
        )
    _check_fov_column(text, path, fov_name)
    columns: dict[str, object] = {Column.FOV_NAME.value: fov_name}
    for name in wanted:
        if name not in text.columns:
            columns[name] = np.zeros(len(text)) if name == Column.Z else NO_PARENT
        elif name in _WHOLE:
            columns[name] = _whole_numbers(text[name], path, blank=NO_PARENT if name in _PARENTS else None)
        else:
            columns[name] = _finite_numbers(text[name], path)
    table = pd.DataFrame(columns, index=text.index)
    if Column.PARENT_TRACK_ID not in text.columns:
        table[Column.PARENT_TRACK_ID] = _parent_tracks(table)
    check_tracks(table, str(path), extent, lines=np.arange(2, len(table) + 2))
    return table.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)[list(TRACK_COLUMNS)]


def write_track_csv(table: pd.DataFrame, path: Path) -> None:
    """Write TRACK_COLUMNS; floats keep every digit, so that reading gives the same table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table[list(TRACK_COLUMNS)].to_csv(path, index=False, lineterminator="\n")


def read_state_csv(path: Path, tracks: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Read per-cell annotations: `fov_name, track_id, t` and one column per annotation.

    `tracks` holds the track table of every annotated FOV. Blank annotations are null (not annotated); a
    leading slash in `fov_name` is dropped. Rows are ordered by FOV, track and time.

    Raises:
        BadInputError: naming file, line and value, for a row that is not a cell of `tracks`, a row given
            twice, or a file without an annotation column.
    """
    text = read_text_table(path)
    for key in _STATE_KEYS:
        if key not in text.columns:
            raise BadInputError(
                f"{path}: column {key.value!r} is missing (the file has "
                f"{', '.join(text.columns)}); annotations "
                "need fov_name, track_id, t and one column per annotation"
            )
    names = [name for name in text.columns if name not in set(_STATE_KEYS)]
    if not names:
        raise BadInputError(f"{path}: no annotation column beside fov_name, track_id and t; add one")
    states = pd.DataFrame(
        {
            Column.FOV_NAME.value: text[Column.FOV_NAME].str.strip().str.strip("/"),
            Column.TRACK_ID.value: _whole_numbers(text[Column.TRACK_ID], path),
            Column.T.value: _whole_numbers(text[Column.T], path),
        }
    )
    _check_state_rows(states, path, tracks)
    for name in names:
        states[name] = _annotation(text[name])
    return states.sort_values([*_STATE_KEYS], ignore_index=True)


def read_correction_csv(path: Path) -> tuple[Correction, ...]:
    """Read corrections `action, track_id, t, other_track_id`, one a row, in the order in which they apply.

    Actions are those of `CorrectionAction`; a column that an action has no use for is blank.

    Raises:
        BadInputError: naming file, line, column and value, for a column missing or unknown, another action,
            or a number that is not whole.
    """
    text = read_text_table(path)
    wanted = [column.value for column in CorrectionColumn]
    if sorted(text.columns) != sorted(wanted):
        raise BadInputError(
            f"{path}, line 1: the columns are {', '.join(text.columns)}; corrections need {', '.join(wanted)}"
        )
    track = _whole_numbers(text[CorrectionColumn.TRACK_ID], path)
    optional = {
        name: [
            None
            if not cell.strip()
            else whole_number(cell.strip(), f"{path}, line {row + 2}: {name} is {cell!r}")
            for row, cell in enumerate(text[name])
        ]
        for name in (CorrectionColumn.T, CorrectionColumn.OTHER_TRACK_ID)
    }
    corrections = []
    for row, cell in enumerate(text[CorrectionColumn.ACTION]):
        action = cell.strip().lower()
        if action not in set(CorrectionAction):
            raise BadInputError(
                f"{path}, line {row + 2}: action is {cell!r}; use one of {', '.join(CorrectionAction)}"
            )
        t, other = (optional[name][row] for name in optional)
        corrections.append(Correction(CorrectionAction(action), int(track[row]), t, other))
    return tuple(corrections)


def write_correction_csv(corrections: Sequence[Correction], path: Path) -> None:
    """Write corrections, so that `read_correction_csv` gives the same."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CorrectionColumn)
        for one in corrections:
            # None becomes a blank cell.
            writer.writerow([one.action.value, one.track_id, one.t, one.other_track_id])


def is_correction_csv(path: Path) -> bool:
    """Whether a CSV's first line has the `action` that every correction needs, and no track table has.

    Raises:
        BadInputError: the file cannot be read or is empty.
    """
    return CorrectionColumn.ACTION in read_text_table(path).columns


def read_ctc_tracks(path: Path) -> pd.DataFrame:
    """Read a Cell Tracking Challenge `man_track.txt`: columns label, begin, end, parent (0 = none), one row
    per track.

    Source: Ulman et al., Nature Methods 14, 1141 (2017), file format of the TRA ground truth ("L B E P").

    Raises:
        BadInputError: naming file, line and value, for a malformed line, a label given twice, an end before
            the beginning, a parent that does not exist or does not end before the track begins, or a cycle.
    """
    rows: list[tuple[int, int, int, int]] = []
    lines: list[int] = []
    for number, line in enumerate(_text_of(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 4 or not all(_DIGITS.fullmatch(field) for field in fields):
            raise BadInputError(f"{path}, line {number}: {line!r} is not four whole numbers L B E P")
        label, begin, end, parent = (int(field) for field in fields)
        if label < 1 or begin < 0 or end < begin or parent < 0:
            raise BadInputError(
                f"{path}, line {number}: {line!r} needs a label from 1, 0 <= begin <= end and a parent from 0"
            )
        rows.append((label, begin, end, parent))
        lines.append(number)
    table = pd.DataFrame(rows, columns=["label", "begin", "end", "parent"], dtype=np.int64)
    check_families(
        Families(
            source=str(path),
            track=table["label"].to_numpy(),
            parent=table["parent"].replace(0, NO_PARENT).to_numpy(),
            begin=table["begin"].to_numpy(),
            end=table["end"].to_numpy(),
            line=np.array(lines, np.int64),
        )
    )
    return table


def _parent_tracks(table: pd.DataFrame) -> NDArray[np.int64]:
    """Per row, the other track that its track's first row continues; a parent that no row is, is left out."""
    first = table.sort_values(Column.T, kind="stable").drop_duplicates(Column.TRACK_ID)
    track_of = table.drop_duplicates(Column.ID).set_index(Column.ID)[Column.TRACK_ID]
    above = first[Column.PARENT_ID].map(track_of).fillna(NO_PARENT).to_numpy(np.int64)
    parents = pd.Series(above, index=first[Column.TRACK_ID].to_numpy())
    return table[Column.TRACK_ID].map(parents).to_numpy(np.int64)


def _check_fov_column(text: pd.DataFrame, path: Path, fov_name: str) -> None:
    if Column.FOV_NAME not in text.columns:
        return
    given = text[Column.FOV_NAME].str.strip().str.strip("/")
    if (row := first_true(given != fov_name)) is not None:
        raise BadInputError(
            f"{path}, line {row + 2}: fov_name is {given.iloc[row]!r}, but the file's name says {fov_name!r}"
        )


def _check_state_rows(states: pd.DataFrame, path: Path, tracks: Mapping[str, pd.DataFrame]) -> None:
    fov, track, t = (states[key] for key in _STATE_KEYS)
    if (row := first_true(~fov.isin(list(tracks)))) is not None:
        raise BadInputError(
            f"{path}, line {row + 2}: fov_name {fov[row]!r} has no tracks (there are tracks for "
            f"{', '.join(tracks) or 'no FOV'})"
        )
    if (row := first_true(states.duplicated(list(_STATE_KEYS)))) is not None:
        raise BadInputError(
            f"{path}, line {row + 2}: track {track[row]} of {fov[row]} is given twice at "
            f"t={t[row]}; keep one row"
        )
    for name, group in states.groupby(Column.FOV_NAME, sort=False):
        keys = [Column.TRACK_ID.value, Column.T.value]
        known = pd.MultiIndex.from_frame(tracks[str(name)][keys])
        absent = ~pd.MultiIndex.from_frame(group[keys]).isin(known)
        if (row := first_true(absent)) is not None:
            at = int(group.index[row])
            raise BadInputError(
                f"{path}, line {at + 2}: track {track[at]} of {name} has no cell at t={t[at]} in "
                "the track table"
            )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def read_text_table(path: Path) -> pd.DataFrame:
    """All cells of a CSV as text; row i of the result is line i + 2 of the file.

    Raises:
        BadInputError: the file cannot be read, is empty, names a column twice, or a line has another length.
    """
    rows = list(csv.reader(_text_of(path).splitlines(), strict=False))
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise BadInputError(f"{path}: the file is empty; it needs a header line")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise BadInputError(f"{path}, line 1: column {twice!r} is given twice; keep one")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise BadInputError(
                f"{path}, line {number}: {len(row)} fields, but the header has {len(header)}; is "
                "the file cut off?"
            )
    return pd.DataFrame(rows[1:], columns=header, dtype=object)


def _finite_numbers(text: "pd.Series[str]", path: Path) -> NDArray[np.float64]:
    values = np.empty(len(text), np.float64)
    for row, cell in enumerate(text):
        try:
            values[row] = plain_number(cell)
        except ValueError as error:
            raise BadInputError(f"{path}, line {row + 2}: {text.name} is {cell!r}; give a number") from error
    if (row_or_none := first_true(~np.isfinite(values))) is not None:
        raise BadInputError(
            f"{path}, line {row_or_none + 2}: {text.name} is {text.iloc[row_or_none]!r}; give a finite number"
        )
    return values


def _whole_numbers(text: "pd.Series[str]", path: Path, blank: int | None = None) -> NDArray[np.int64]:
    """Integers, also written `3.0` (as pandas writes a column with blanks); blank cells are `blank`."""
    values = np.empty(len(text), np.int64)
    for row, cell in enumerate(text):
        stripped = cell.strip()
        if blank is not None and stripped.lower() in ("", "nan", "na", "none"):
            values[row] = blank
            continue
        values[row] = whole_number(stripped, f"{path}, line {row + 2}: {text.name} is {cell!r}")
    if blank is not None and (row_or_none := first_true(values < NO_PARENT)) is not None:
        raise BadInputError(
            f"{path}, line {row_or_none + 2}: {text.name} is {values[row_or_none]}; no parent is -1 or blank"
        )
    return values


def whole_number(text: str, place: str) -> int:
    """The 64-bit integer that `text` says, also written `3.0`; `place` begins the message.

    Raises:
        BadInputError: it says none.
    """
    if _DIGITS.fullmatch(text):
        value = int(text)
        if abs(value) >= 2**63:
            raise BadInputError(f"{place}, too large for a 64-bit number")
        return value
    try:
        number = plain_number(text)
    except ValueError as error:
        raise BadInputError(f"{place}; give a whole number") from error
    if not number.is_integer() or abs(number) > _LARGEST_WHOLE:
        raise BadInputError(f"{place}; give a whole number")
    return int(number)


def plain_number(text: str) -> float:
    """As Python reads it, but without its digit underscores, which no other tool writes or accepts."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _annotation(text: "pd.Series[str]") -> "pd.Series[str]":
    """Numbers where every annotated cell is one, else text; blank is null."""
    values = text.str.strip().mask(lambda cell: cell == "")
    numbers = pd.to_numeric(values, errors="coerce")
    if values.notna().any() and numbers.isna().equals(values.isna()):
        return numbers
    return values
