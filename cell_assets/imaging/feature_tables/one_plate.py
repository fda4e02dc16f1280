"""The cells of one plate of a source, under the name that the plate has in the lab."""

from collections.abc import Iterator, Mapping

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.feature_tables.source import CellSource
from cell_assets.imaging.plate_map import well_name

SOURCE_PLATE, SOURCE_WELL = "Metadata_SourcePlate", "Metadata_SourceWell"
"""What the source calls plate and well."""


class OnePlate:
    """A `CellSource` of those cells of another that are of one plate."""

    def __init__(self, source: CellSource, plate: str, source_plate: str | None = None) -> None:
        """
        Args:
            plate: the lab's name, which `Metadata_Plate` then says; `Metadata_Well` is of the form `A/1`.
            source_plate: the source's; None where it holds one plate alone.
        """
        self.path, self.features = source.path, source.features
        self.known = (*source.known, SOURCE_PLATE, SOURCE_WELL)
        self.keys = source.keys
        self._source, self._plate, self._source_plate = source, plate, source_plate

    def batches(self) -> Iterator[pd.DataFrame]:
        """Its cells, in the source's order.

        Raises:
            BadInputError: no plate was named and there are several, a cell's plate or well is not stated or no name
                of a well, or once all were read, there is no such plate.
        """
        wanted, found, others = self._source_plate, False, set[str]()
        for batch in self._source.batches():
            self._refuse_unplaced(batch)
            names = batch[PLATE].astype(str)
            if wanted is None and len(names):
                wanted = str(names.iloc[0])
            own = names == wanted
            others |= set(names[~own])
            if self._source_plate is None and others:
                raise BadInputError(
                    f"{self.path}: holds cells of several plates ({wanted}, {min(others)}); name the one that is meant"
                )
            found |= bool(own.any())
            cells = batch[own].copy()
            cells[SOURCE_PLATE], cells[SOURCE_WELL] = names[own], cells[WELL].astype(str)
            cells[PLATE], cells[WELL] = self._plate, self._wells(cells[SOURCE_WELL])
            yield cells
        if others and not found:
            raise BadInputError(
                f"{self.path}: holds no plate {wanted}, but {', '.join(sorted(others)[:5])}; name one of these"
            )

    def left_over(self) -> Mapping[str, int]:
        """See `CellSource`; of all plates of the source."""
        return self._source.left_over()

    def _wells(self, names: pd.Series) -> pd.Series:
        try:
            return names.map({name: well_name(name) for name in names.unique()})
        except BadInputError as error:
            raise BadInputError(f"{self.path}: {error}") from error

    def _refuse_unplaced(self, batch: pd.DataFrame) -> None:
        unplaced = batch[[PLATE, WELL]].isna().any(axis=1)
        if unplaced.any():
            raise BadInputError(
                f"{self.path}: {int(unplaced.sum())} cells state no plate or no well; fill {PLATE} and {WELL}, or take "
                "them out"
            )
