"""Cells of a plate that was filmed and measured here, as a source like those of other programs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from cell_assets.imaging.feature_tables.columns import METADATA
from cell_assets.imaging.feature_tables.feature_table import FEATURE_TABLE_JSON, write_feature_table
from cell_assets.imaging.features.plate_features import (
    INDEX_COLUMNS,
    KEY_COLUMNS,
    read_features_record,
    table_file,
)
from cell_assets.imaging.parquet_tables import read_parquet


class MeasuredCells:
    """Every cell at every time point of a single_cell_features folder, FOV by FOV."""

    def __init__(self, path: Path) -> None:
        self.path = path
        record = read_features_record(path)
        self._positions = [one.position for one in record.fovs]
        self.features = record.features
        self._names = {name: f"{METADATA}{name}" for name in KEY_COLUMNS}
        self.known = tuple(self._names.get(name, name) for name in INDEX_COLUMNS)
        self.keys = tuple(self._names.values())
        self._without_label = 0

    def batches(self) -> Iterator[pd.DataFrame]:
        """The cells of one FOV after the other."""
        self._without_label = 0
        for position in self._positions:
            table = read_parquet(self.path / table_file(position))
            labelled = table["Metadata_ObjectNumber"].notna()
            self._without_label += int((~labelled).sum())
            yield table[labelled].rename(columns=self._names)[[*self.known, *self.features]]

    def left_over(self) -> Mapping[str, int]:
        """Rows of tracks that no label belongs to, and that were not measured."""
        return {"Tracks": self._without_label}


def feature_table_folder(published: Path, scratch: Path) -> Path:
    """The folder of a feature table: `published` where it is one, else `scratch`, into which what was measured of a
    filmed plate is written as one.

    Raises:
        BadInputError: `published` holds neither.
    """
    if (published / FEATURE_TABLE_JSON).exists():
        return published
    scratch.mkdir(parents=True, exist_ok=True)
    write_feature_table(MeasuredCells(published), scratch)
    return scratch
