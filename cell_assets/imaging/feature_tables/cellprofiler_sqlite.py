"""A CellProfiler database: ExportToDatabase, one table per object type."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import COMPARTMENTS, IMAGE, METADATA
from cell_assets.imaging.feature_tables.compartments import IMAGE_NUMBER, CellJoin

_TABLES = {name: f"Per_{name}" for name in ("Image", *COMPARTMENTS)}


class CellProfilerDatabase:
    """Single cells of a database, a few images at a time; memory is that of their cells.

    The compartments are joined here and not by SQL, whose results have 2,000 columns at most, where a Cell Painting
    pipeline writes more.

    Raises:
        BadInputError: the file is no such database, or does not say the plate and well of its images.
    """

    def __init__(self, path: Path, images_at_once: int = 64) -> None:
        self.path = path
        self._images_at_once = images_at_once
        with closing(self._open()) as database:
            self._columns = {name: self._columns_of(database, table) for name, table in _TABLES.items()}
        place = [column for column in self._columns["Image"] if column.startswith(f"{IMAGE}{METADATA}")]
        self._columns["Image"] = [IMAGE_NUMBER, *place]
        objects = [
            column for name in COMPARTMENTS for column in self._columns[name] if column != IMAGE_NUMBER
        ]
        self._join = CellJoin(path, self._columns["Image"], objects)
        self.features, self.known = self._join.features, self._join.known
        self.keys: tuple[str, ...] = self._join.keys

    def batches(self) -> Iterator[pd.DataFrame]:
        """Whole cells, ordered by image and object."""
        self._join.left_over.clear()
        with closing(self._open()) as database:
            numbers = [
                row[0]
                for row in database.execute(f"SELECT {IMAGE_NUMBER} FROM Per_Image ORDER BY {IMAGE_NUMBER}")
            ]
            for start in range(0, len(numbers), self._images_at_once):
                few = numbers[start : start + self._images_at_once]
                parts = {name: self._rows(database, name, few[0], few[-1]) for name in _TABLES}
                yield self._join.cells(parts.pop("Image"), parts)

    def left_over(self) -> Mapping[str, int]:
        """See `CellSource`."""
        return dict(self._join.left_over)

    def _rows(self, database: sqlite3.Connection, name: str, first: int, last: int) -> pd.DataFrame:
        columns: Sequence[str] = self._columns[name]
        asked = ", ".join(_quoted(column) for column in columns)
        # The tables' primary keys begin with the image's number, so that this reads no row twice.
        rows = database.execute(
            f"SELECT {asked} FROM {_TABLES[name]} WHERE {IMAGE_NUMBER} BETWEEN ? AND ?", (first, last)
        )
        return pd.DataFrame.from_records(rows, columns=list(columns))

    def _columns_of(self, database: sqlite3.Connection, table: str) -> list[str]:
        try:
            found = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        except sqlite3.DatabaseError as error:
            raise BadInputError(
                f"{self.path}: is no SQLite database ({error}); give CellProfiler's"
            ) from error
        if IMAGE_NUMBER not in found:
            raise BadInputError(
                f"{self.path}: has no table {table} with a column {IMAGE_NUMBER}; export with CellProfiler's "
                "ExportToDatabase, one table per object type, of Cells, Cytoplasm and Nuclei"
            )
        return found

    def _open(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise BadInputError(f"{self.path}: there is no such file; give CellProfiler's database")
        # Immutable: neither a lock nor a journal is written beside a file that may lie on a read-only disk.
        return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def _quoted(name: str) -> str:
    """A column's name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
