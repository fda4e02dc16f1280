"""A folder of CellProfiler's CSV files: ExportToSpreadsheet, one file per object type."""

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import COMPARTMENTS, IMAGE, METADATA
from cell_assets.imaging.feature_tables.compartments import IMAGE_NUMBER, OBJECT_NUMBER, CellJoin

_ROWS_AT_ONCE = 20_000


class CellProfilerCsv:
    """Single cells of `Image.csv`, `Cells.csv`, `Cytoplasm.csv` and `Nuclei.csv`, a few images at a time.

    Raises:
        BadInputError: a file is missing, or they do not say the plate and well of their images.
    """

    def __init__(self, path: Path, images_at_once: int = 64) -> None:
        self.path = path
        self._images_at_once = images_at_once
        images = self._header("Image")
        self._of_images = [IMAGE_NUMBER, *(column for column in images if column.startswith(METADATA))]
        objects = [
            named for name in COMPARTMENTS for named in self._named(name).values() if named != IMAGE_NUMBER
        ]
        self._join = CellJoin(path, (IMAGE_NUMBER,), self._of_images, objects)
        self.features, self.known = self._join.features, self._join.known
        self.keys: tuple[str, ...] = self._join.keys

    def batches(self) -> Iterator[pd.DataFrame]:
        """Whole cells, ordered by image and object.

        Raises:
            BadInputError: a file's images are not in ascending order, so that files cannot be read side by side.
        """
        self._join.left_over.clear()
        # As text, because a plate `001` is not plate 1.
        types: dict[Hashable, str] = dict.fromkeys(self._of_images[1:], "str")
        images = pd.read_csv(self.path / "Image.csv", usecols=self._of_images, dtype=types)
        images = images[self._of_images].sort_values(IMAGE_NUMBER)
        files = {name: _ByImage(self.path / f"{name}.csv", self._named(name)) for name in COMPARTMENTS}
        for start in range(0, len(images), self._images_at_once):
            few = images.iloc[start : start + self._images_at_once]
            last = int(few[IMAGE_NUMBER].iloc[-1])
            yield self._join.cells(few, {name: file.until(last) for name, file in files.items()})

    def left_over(self) -> Mapping[str, int]:
        """See `CellSource`."""
        return dict(self._join.left_over)

    def _named(self, compartment: str) -> dict[str, str]:
        """Columns of a file to what a database calls them."""
        special = {IMAGE_NUMBER: IMAGE_NUMBER, "ObjectNumber": f"{compartment}_{OBJECT_NUMBER}"}
        # What ExportToSpreadsheet repeats of the image beside every object stands in Image.csv.
        own = [column for column in self._header(compartment) if not column.startswith((METADATA, IMAGE))]
        if "ObjectNumber" in own and OBJECT_NUMBER in own:
            own.remove(OBJECT_NUMBER)
        return {column: special.get(column, f"{compartment}_{column}") for column in own}

    def _header(self, name: str) -> list[str]:
        file = self.path / f"{name}.csv"
        try:
            found = list(pd.read_csv(file, nrows=0).columns)
        except (OSError, ValueError) as error:
            raise BadInputError(
                f"{file}: cannot be read ({error}); export with CellProfiler's ExportToSpreadsheet into one folder: "
                "Image, Cells, Cytoplasm and Nuclei"
            ) from error
        if IMAGE_NUMBER not in found:
            raise BadInputError(
                f"{file}: has no column {IMAGE_NUMBER}; export it with CellProfiler's own names"
            )
        return found


class _ByImage:
    """A file of objects, read forwards."""

    def __init__(self, file: Path, names: Mapping[str, str]) -> None:
        self._file = file
        self._names = dict(names)
        self._chunks = pd.read_csv(file, usecols=list(names), chunksize=_ROWS_AT_ONCE)
        self._waiting = pd.DataFrame(columns=list(names.values()))
        self._is_over = False

    def until(self, last: int) -> pd.DataFrame:
        """Objects of all images up to the number `last` that were not given before."""
        parts = [self._waiting]
        while not self._is_over and (parts[-1].empty or parts[-1][IMAGE_NUMBER].iloc[-1] <= last):
            chunk = next(self._chunks, None)
            if chunk is None:
                self._is_over = True
                break
            parts.append(chunk.rename(columns=self._names)[list(self._names.values())])
        filled = [part for part in parts if not part.empty]
        found = pd.concat(filled, ignore_index=True) if filled else self._waiting
        if not found[IMAGE_NUMBER].is_monotonic_increasing:
            raise BadInputError(
                f"{self._file}: its images are not in ascending order of {IMAGE_NUMBER}; sort its rows"
            )
        is_now = found[IMAGE_NUMBER] <= last
        self._waiting = found[~is_now]
        return found[is_now]
