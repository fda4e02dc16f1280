"""A database of what CellProfiler measured: one table per object type, as one of two programs wrote it."""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import COMPARTMENTS, IMAGE, METADATA, is_feature
from cell_assets.imaging.feature_tables.compartments import IMAGE_NUMBER, OBJECT_NUMBER, PARENTS, CellJoin

_NAMES = ("Image", *COMPARTMENTS)
_MISSING = "nan"
"""What early versions of cytominer-database write as text instead of NULL."""
_PLAIN_TABLE = re.compile(r"CREATE\s+TABLE\b", re.IGNORECASE)
"""As SQLite itself keeps the statement, whatever was typed."""


@dataclass(frozen=True)
class _Layout:
    """How a program names tables and the columns that link them."""

    program: str
    prefix: str
    """Of the tables `Image`, `Cells`, `Cytoplasm` and `Nuclei`."""
    image: tuple[str, ...]
    """Columns of every table whose values together name one image."""
    object_number: str
    """Column that the parents of a cytoplasm point at, with {} for the object's compartment."""

    def table(self, name: str) -> str:
        """The table of images or of a compartment."""
        return f"{self.prefix}{name}"

    def links(self, name: str) -> tuple[str, ...]:
        """Columns without which a table's rows belong to no cell."""
        number = () if name == "Image" else (self.object_number.format(name),)
        return (*self.image, *number, *(PARENTS if name == "Cytoplasm" else ()))


_LAYOUTS = (
    _Layout("CellProfiler's ExportToDatabase", "Per_", (IMAGE_NUMBER,), f"{{}}_{OBJECT_NUMBER}"),
    _Layout("cytominer-database", "", ("TableNumber", IMAGE_NUMBER), "ObjectNumber"),
)


class CellProfilerDatabase:
    """Single cells of a database, a few images at a time; memory is that of their cells.

    It has the tables `Per_Image`, `Per_Cells`, `Per_Cytoplasm` and `Per_Nuclei` that CellProfiler's ExportToDatabase
    writes, or `Image`, `Cells`, `Cytoplasm` and `Nuclei` with a `TableNumber`, as cytominer-database collects them from
    CellProfiler's CSV files and pycytominer's `SingleCells` reads them. The latter have no primary keys: where no index
    begins with `TableNumber, ImageNumber`, every batch reads them from end to end.

    The compartments are joined here and not by SQL, whose results have 2,000 columns at most, where a Cell Painting
    pipeline writes more.

    Raises:
        BadInputError: the file is no such database, or does not say the plate and well of its images.
    """

    def __init__(self, path: Path, images_at_once: int = 64) -> None:
        self.path = path
        self._images_at_once = images_at_once
        with closing(self._open()) as database:
            self._layout = self._layout_of(database)
            self._columns = {name: self._columns_of(database, name) for name in _NAMES}
        objects = [
            column
            for name in COMPARTMENTS
            for column in self._columns[name].values()
            if column not in self._layout.image
        ]
        self._join = CellJoin(path, self._layout.image, list(self._columns["Image"].values()), objects)
        self.features, self.known = self._join.features, self._join.known
        self.keys: tuple[str, ...] = self._join.keys

    def batches(self) -> Iterator[pd.DataFrame]:
        """Whole cells, ordered by image and object.

        Raises:
            BadInputError: an image has no number.
        """
        self._join.left_over.clear()
        image = ", ".join(self._layout.image)
        with closing(self._open()) as database:
            asked = f"SELECT {image} FROM {self._layout.table('Image')} ORDER BY {image}"
            images: list[tuple[object, ...]] = database.execute(asked).fetchall()
            unnamed = sum(None in one for one in images)
            if unnamed:
                raise BadInputError(
                    f"{self.path}: {unnamed} rows of table {self._layout.table('Image')} lack a value of {image}, so "
                    "that no cell can be of them; number them or take them out"
                )
            for start in range(0, len(images), self._images_at_once):
                few = images[start : start + self._images_at_once]
                parts = {name: self._rows(database, name, few[0], few[-1]) for name in _NAMES}
                yield self._join.cells(parts.pop("Image"), parts)

    def left_over(self) -> Mapping[str, int]:
        """See `CellSource`."""
        return dict(self._join.left_over)

    def _rows(
        self, database: sqlite3.Connection, name: str, first: tuple[object, ...], last: tuple[object, ...]
    ) -> pd.DataFrame:
        columns = self._columns[name]
        asked = ", ".join(map(_quoted, columns))
        image, values = ", ".join(self._layout.image), ", ".join("?" * len(first))
        rows = database.execute(
            f"SELECT {asked} FROM {self._layout.table(name)} WHERE ({image}) BETWEEN ({values}) AND ({values})",
            (*first, *last),
        )
        found = pd.DataFrame.from_records(rows, columns=list(columns.values()))
        text = [column for column in found.select_dtypes(object).columns if is_feature(column)]
        found[text] = found[text].mask(found[text] == _MISSING)
        return found

    def _layout_of(self, database: sqlite3.Connection) -> _Layout:
        for layout in _LAYOUTS:
            if self._found(database, layout.table("Image")):
                return layout
        wanted = " nor ".join(f"{layout.table('Image')} of {layout.program}" for layout in _LAYOUTS)
        raise BadInputError(
            f"{self.path}: has neither table {wanted}; give a database that one of them wrote"
        )

    def _columns_of(self, database: sqlite3.Connection, name: str) -> dict[str, str]:
        """Columns of a table to what a `CellJoin` calls them."""
        layout = self._layout
        found = self._found(database, layout.table(name))
        missing = [column for column in layout.links(name) if column not in found]
        if missing:
            table = layout.table(name)
            lacks = f"table {table} has no column {missing[0]}" if found else f"has no table {table}"
            raise BadInputError(
                f"{self.path}: {lacks}; write it with {layout.program}, one table per object type, of Cells, Cytoplasm "
                "and Nuclei"
            )
        if name == "Image":
            place = {
                column.removeprefix(IMAGE): column
                for column in found
                if column.startswith((METADATA, f"{IMAGE}{METADATA}"))
            }
            return {column: column for column in (*layout.image, *place.values())}
        number = {layout.object_number.format(name): f"{name}_{OBJECT_NUMBER}"}
        # What CellProfiler repeats of an object's number would stand beside it under the same name.
        own = [
            column
            for column in found
            if column in (*layout.image, *number)
            or (column.startswith(f"{name}_") and column not in number.values())
        ]
        return {column: number.get(column, column) for column in own}

    def _found(self, database: sqlite3.Connection, table: str) -> list[str]:
        """Columns of a table; none where it is not there.

        Raises:
            BadInputError: it is a view or a virtual table, whose rows a program of the file's makes up without end.
        """
        try:
            asked = (
                "SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')"
            )
            for (made_by,) in database.execute(asked, (table,)):
                if not _PLAIN_TABLE.match(str(made_by)):
                    raise BadInputError(
                        f"{self.path}: {table} is no table but a view; write its rows into a table"
                    )
            return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        except sqlite3.DatabaseError as error:
            raise BadInputError(
                f"{self.path}: is no SQLite database ({error}); give CellProfiler's"
            ) from error

    def _open(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise BadInputError(f"{self.path}: there is no such file; give CellProfiler's database")
        # Immutable: neither a lock nor a journal is written beside a file that may lie on a read-only disk.
        database = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        # The file is somebody else's: nothing that its schema names is run.
        database.execute("PRAGMA trusted_schema=OFF")
        return database


def _quoted(name: str) -> str:
    """A column's name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
