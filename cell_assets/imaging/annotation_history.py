"""All that people said of one position's cells so far: the folder of the `annotations` asset.

`annotations.parquet` has one row per cell and time point: `fov_name, track_id, t`, the centroid `z, y, x` by
which the cell is found again when tracks are made anew, one column per kind of state, and how the row found its
cell: `join`, `distance_px`, and `file`, the number of the last file that spoke of the cell (0 is the first);
`file:infection` is that of the file which said what stands in column `infection`.
`replaced.parquet` has every state that a later file replaced: which file said it `before`, and which one said what
is true `after`, with the track and centroid that the cell had then. `unjoined.parquet` has the rows without a cell,
each with its reason; `annotations.json` says who handed in each file, why, and the file's digest. None holds what
depends on the order of a file's rows.

Version 1 had neither `file:` columns nor `replaced.parquet`: of its files only the number of replaced states is known.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_joining import (
    CELL,
    CENTROID,
    JoinedAnnotations,
    nearest,
    neighbours,
    typed_cells,
)
from cell_assets.imaging.annotations import (
    DISTANCE,
    FILE,
    GIVEN_KEYS,
    JOIN,
    REASON,
    Join,
    Row,
    file_of,
    rows_of,
)
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.record_files import read_record
from cell_assets.imaging.track_tables import Column

RECORD = "annotations.json"
CELLS = "annotations.parquet"
UNJOINED = "unjoined.parquet"
REPLACED = "replaced.parquet"

COLUMN = "column"
BEFORE = "before"
AFTER = "after"
BEFORE_FILE = "before_file"


class AnnotationFile(BaseModel):
    """One file that a person handed in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str
    """BLAKE3 of its bytes."""
    by: str
    why: str
    n_rows: int
    """Rows, or regions and cells of a label image, that name a state."""
    n_cells: int
    """Cells and time points that they are about."""
    n_unjoined: int
    n_repeated: int
    """Rows that say of a cell what another row of the file said already."""
    n_other_fovs: int
    """Rows about other plates or positions, left aside."""
    n_replaced: int
    """States of earlier files that it replaced; `replaced.parquet` has each."""


class AnnotationRecord(BaseModel):
    """Content of `annotations.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.annotations"] = "cell_assets.annotations"
    version: Literal[1, 2] = 2
    position: str
    states: tuple[str, ...]
    """Columns of states, sorted."""
    files: tuple[AnnotationFile, ...]
    """In the order in which they were handed in."""


@dataclass(frozen=True)
class AnnotationHistory:
    """What stands of one position's annotations."""

    record: AnnotationRecord
    cells: pd.DataFrame
    """`track_id, t, z, y, x`, states, `JOIN`, `DISTANCE`, `FILE`, and `file_of` each state (null where the state
    is, and where version 1 did not keep it); ordered by track and time."""
    unjoined: pd.DataFrame
    """`FILE`, `GIVEN_KEYS`, states, `REASON`; of all files."""
    replaced: pd.DataFrame
    """`FILE` that said it last, `track_id, t, z, y, x`, `COLUMN`, states `BEFORE` and `AFTER`, and `BEFORE_FILE` (null
    where version 1 did not keep it); of all files, by file, track, time and column."""

    @classmethod
    def none_of(cls, position: str) -> Self:
        """Before anybody said anything."""
        return cls(
            AnnotationRecord(position=position, states=(), files=()),
            pd.DataFrame(columns=[*CELL, *CENTROID, JOIN, DISTANCE, FILE]),
            pd.DataFrame(columns=[FILE, *GIVEN_KEYS, REASON]),
            _typed_replaced([]),
        )

    def followed_by(
        self, joined: JoinedAnnotations, name: str, digest: str, by: str, why: str, n_other_fovs: int = 0
    ) -> Self:
        """With one more file: it adds to what stands, and what it says of a cell's column replaces what stood there.

        A blank says nothing and leaves what stood.
        """
        n = len(self.record.files)
        states = tuple(sorted({*self.record.states, *joined.states}))
        merged = {_key(row): row for row in rows_of(self.cells)}
        replaced: list[Row] = []
        for row in rows_of(joined.cells):
            before = merged.get(_key(row), {})
            stood = {name: before[name] for name in self.record.states if pd.notna(before.get(name))}
            said = {name: row[name] for name in joined.states if pd.notna(row[name])}
            source = {file_of(name): before[file_of(name)] for name in stood}
            for column, state in said.items():
                if column in stood and stood[column] != state:
                    change = {COLUMN: column, BEFORE: stood[column], AFTER: state}
                    replaced.append({**row, **change, FILE: n, BEFORE_FILE: source[file_of(column)]})
                source[file_of(column)] = n
            merged[_key(row)] = {**row, **stood, **said, **source, FILE: n}
        file = AnnotationFile(
            name=name,
            digest=digest,
            by=by,
            why=why,
            n_rows=joined.n_rows,
            n_cells=len(joined.cells),
            n_unjoined=len(joined.unjoined),
            n_repeated=joined.n_repeated,
            n_other_fovs=n_other_fovs,
            n_replaced=len(replaced),
        )
        # Their places in the file are left out, as its order decides them.
        lost = joined.unjoined.assign(**{FILE: n})
        record = self.record.model_copy(update={"states": states, "files": (*self.record.files, file)})
        return replace(
            self,
            record=record,
            cells=_typed(pd.DataFrame(list(merged.values())), states),
            unjoined=_typed_unjoined(pd.concat([self.unjoined, lost], ignore_index=True), states),
            replaced=_typed_replaced([*rows_of(self.replaced), *replaced]),
        )

    def file_behind(self, track_id: int, t: int, state: str) -> AnnotationFile | None:
        """The file that said what stands in column `state` of an annotated cell; None where version 1 did not keep
        it.
        """
        here = (self.cells[Column.TRACK_ID] == track_id) & (self.cells[Column.T] == t)
        (number,) = self.cells.loc[here, file_of(state)].tolist()
        return None if pd.isna(number) else self.record.files[number]

    def carried_to(self, tracks: pd.DataFrame) -> Self:
        """For tracks that were made anew: every row goes to the cell nearest to its own, within `FARTHEST_PX`.

        A row without such a cell becomes unjoined. Rows that were unjoined stay so until they are handed in again.

        Raises:
            BadInputError: two rows that say different things come to one cell.
        """
        states = list(self.record.states)
        at_time = neighbours(tracks)
        columns = tracks[[*CELL, *CENTROID]].to_dict("list")
        moved: dict[tuple[int, int], Row] = {}
        lost: list[Row] = []
        for row in rows_of(self.cells):
            t = int(row[Column.T])
            found = nearest(np.array([row[axis] for axis in CENTROID], np.float64), at_time.get(t))
            if found is None:
                gone = f"its cell, then of track {row[Column.TRACK_ID]}, is no longer among the tracks"
                lost.append({name: row[name] for name in (FILE, *GIVEN_KEYS, *states)} | {REASON: gone})
                continue
            cell = {str(name): values[found[0]] for name, values in columns.items()}
            key = (int(cell[Column.TRACK_ID]), t)
            same = key[0] == row[Column.TRACK_ID] and found[1] == 0
            carried = {} if same else {JOIN: Join.CARRIED.value, DISTANCE: found[1]}
            new = row | cell | carried
            if key in moved:
                self._refuse_contradiction(moved[key], row, key)
                known = [name for name in states if pd.notna(moved[key][name])]
                new |= {name: moved[key][name] for name in (*known, *map(file_of, known))}
            moved[key] = new
        cells = pd.DataFrame(list(moved.values()), columns=self.cells.columns)
        unjoined = pd.concat([self.unjoined, pd.DataFrame(lost, columns=self.unjoined.columns)])
        return replace(
            self,
            cells=_typed(cells, self.record.states),
            unjoined=_typed_unjoined(unjoined.reset_index(drop=True), self.record.states),
        )

    def _refuse_contradiction(self, first: Row, second: Row, key: tuple[int, int]) -> None:
        for name in self.record.states:
            one, other = first[name], second[name]
            if pd.notna(one) and pd.notna(other) and one != other:
                raise BadInputError(
                    f"{self.record.position}: its annotations were made for other tracks, and track {key[0]} at "
                    f"t={key[1]} would now have {name} {one!r} and {other!r}; hand in which it is with "
                    "`cell-assets annotate`"
                )

    def write(self, folder: Path) -> None:
        """Write into `folder`, which exists and is empty."""
        (folder / RECORD).write_text(self.record.model_dump_json(indent=1), encoding="utf-8")
        cells = self.cells.copy()
        cells.insert(0, Column.FOV_NAME.value, self.record.position)
        write_parquet(cells, folder / CELLS)
        write_parquet(self.unjoined, folder / UNJOINED)
        replaced = self.replaced.copy()
        replaced.insert(1, Column.FOV_NAME.value, self.record.position)
        write_parquet(replaced, folder / REPLACED)


def read_annotation_history(folder: Path) -> AnnotationHistory:
    """Read what `AnnotationHistory.write` wrote, of this version or an earlier one.

    Raises:
        BadInputError: naming the file that is missing or not what it should be.
    """
    record = read_record(folder / RECORD, AnnotationRecord, "annotations", "annotations")
    cells = read_parquet(folder / CELLS).drop(columns=Column.FOV_NAME.value)
    replaced: list[Row] = []
    if record.version == 1:
        record = record.model_copy(update={"version": 2})
        # No file came before the first one, so what stands where it spoke last is its word.
        first = cells[FILE].where(cells[FILE] == 0)
        cells = cells.assign(**{file_of(name): first.where(cells[name].notna()) for name in record.states})
    elif (folder / REPLACED).is_file():
        replaced = rows_of(read_parquet(folder / REPLACED))
    else:
        raise BadInputError(f"{folder / REPLACED}: is missing; give a whole folder of annotations")
    return AnnotationHistory(
        record,
        _typed(cells, record.states),
        _typed_unjoined(read_parquet(folder / UNJOINED), record.states),
        _typed_replaced(replaced),
    )


def _key(row: Row) -> tuple[object, object]:
    return row[Column.TRACK_ID], row[Column.T]


def _typed(cells: pd.DataFrame, states: tuple[str, ...]) -> pd.DataFrame:
    sources = [file_of(name) for name in states]
    ordered = cells.reindex(columns=[*CELL, *CENTROID, *states, JOIN, DISTANCE, FILE, *sources])
    return typed_cells(ordered.astype({FILE: "int64"} | dict.fromkeys(sources, "Int64")), states)


def _typed_replaced(rows: list[Row]) -> pd.DataFrame:
    kinds = dict.fromkeys((FILE, *CELL), "int64") | dict.fromkeys(CENTROID, "float64")
    kinds |= dict.fromkeys((COLUMN, BEFORE, AFTER), "string") | {BEFORE_FILE: "Int64"}
    typed = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    return typed.sort_values([FILE, *CELL, COLUMN], ignore_index=True)


def _typed_unjoined(unjoined: pd.DataFrame, states: tuple[str, ...]) -> pd.DataFrame:
    kinds = {FILE: "int64", Column.TRACK_ID.value: "Int64", Column.T.value: "Int64"}
    kinds |= dict.fromkeys(CENTROID, "Float64") | dict.fromkeys([*states, REASON], "string")
    ordered = unjoined.reindex(columns=[FILE, *GIVEN_KEYS, *states, REASON]).astype(kinds)
    return ordered.sort_values(list(ordered.columns), na_position="first", ignore_index=True)
