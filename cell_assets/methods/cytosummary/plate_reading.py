"""From a plate's feature table to standardised cells that lie well by well in a memory map."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET
from cell_assets.imaging.feature_tables.selection import UsableCells, usable_cells
from cell_assets.imaging.feature_tables.well_statistics import FEATURES_AT_ONCE
from cell_assets.methods.contract import CellTable, ProgressSink
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.sets import IntArray
from cell_assets.methods.pace import Pace

_ROWS_AT_ONCE = 8192
"""Rows of the map that are written at once: these of 64 features fit a cache, which a whole plate's do not."""


@dataclass(frozen=True)
class UsablePlate:
    """A plate's feature table and which of its N cells have all of D features; no feature is in memory."""

    table: CellTable
    features: tuple[str, ...]
    usable: UsableCells
    well: pd.Categorical
    """(N,) of every cell."""

    def counts(self, wells: pd.DataFrame) -> IntArray:
        """(W,) usable cells of every well of `wells`."""
        place = self._places(wells)
        return np.bincount(place[self.usable.rows & (place >= 0)], minlength=len(wells))

    def rows(self, wells: pd.DataFrame) -> IntArray:
        """(n,) rows of the table that hold usable cells of `wells`, in the order of these wells."""
        place = self._places(wells)
        rows = np.flatnonzero(self.usable.rows & (place >= 0))
        return rows[np.argsort(place[rows], kind="stable")]

    def _places(self, wells: pd.DataFrame) -> IntArray:
        """(N,) place of each cell's well in `wells`, -1 where it is not there."""
        of_category = pd.Index(wells[WELL].astype(str)).get_indexer(self.well.categories.astype(str))
        # A cell without a well has the code -1, which takes the last.
        return np.append(of_category, -1)[self.well.codes].astype(np.int64)


def open_plate(table: CellTable, features: Sequence[str]) -> UsablePlate:
    """Find a plate's usable cells; memory is a few bytes a cell.

    Raises:
        BadInputError: it lacks a feature, no cell has all of them, or it holds several plates.
    """
    file = table.path / CELLS_PARQUET
    with pq.ParquetFile(file, read_dictionary=[PLATE, WELL]) as cells:
        there = set(cells.schema_arrow.names)
        missing = [name for name in features if name not in there]
        if missing:
            raise BadInputError(
                f"plate {table.plate}: {len(missing)} of {len(features)} features are not in its table, such as "
                f"{', '.join(missing[:3])}; measure them, or train without them on tables of this plate's pipeline"
            )
        place = cells.read(columns=[PLATE, WELL]).to_pandas()
    if place[PLATE].nunique() > 1:
        raise BadInputError(
            f"{file}: holds cells of {place[PLATE].nunique()} plates ({', '.join(map(str, place[PLATE].unique()[:3]))})"
            f", and those of {table.plate} alone are asked for; write a table for every plate"
        )
    usable = usable_cells(table.path, features)
    if not usable.rows.any():
        worst = max(usable.dropped_by, key=lambda name: usable.dropped_by[name])
        raise BadInputError(
            f"plate {table.plate}: no cell has all {len(features)} features; {usable.dropped_by[worst]} of "
            f"{len(usable.rows)} lack {worst}; measure it again, or lower max_missing_share and train without it"
        )
    return UsablePlate(table, tuple(features), usable, pd.Categorical(place[WELL]))


def standardised(
    plate: UsablePlate, wells: pd.DataFrame, file: Path, progress: ProgressSink | None = None
) -> PlateCells:
    """Write the usable cells of `wells`, in the order of these wells, into a memory map at `file`.

    Every feature has zero mean and unit variance over all usable cells of the plate, whichever wells are asked for:
    its controls, and compounds that nothing is learned from, are among them, without anything being said of which they
    are (paper, Preprocessing). Mean and variance are computed in float64.

    The table is read once, some columns at a time: memory is that of `FEATURES_AT_ONCE` columns twice and of one in
    float64, for a plate of 1,000,000 cells 0.6 GB; the map (4 bytes a number) is the operating system's to keep in
    memory or not.

    Args:
        wells: rows of the well manifest, of this plate, each with a usable cell.

    Raises:
        BadInputError: a feature has one value in all usable cells, or the disk has too little room.
    """
    rows = plate.rows(wells)
    features = _room(file, (len(rows), len(plate.features)))
    pace = Pace(progress, len(plate.features), "features", f"reading {plate.table.plate}")
    with pq.ParquetFile(plate.table.path / CELLS_PARQUET, pre_buffer=False) as cells:
        for start in range(0, len(plate.features), FEATURES_AT_ONCE):
            names = list(plate.features[start : start + FEATURES_AT_ONCE])
            table = cells.read(columns=names)
            block = np.empty((len(names), len(rows)), np.float32)
            for column, name in zip(block, names, strict=True):
                values = table.column(name).to_numpy()
                used = values[plate.usable.rows].astype(np.float64)
                mean, sd = used.mean(), used.std()
                if not sd > 0:
                    raise BadInputError(
                        f"plate {plate.table.plate}: {name} is {mean:g} in all {len(used)} cells that are used, so "
                        "that it cannot be scaled; leave the plate out, or train on tables without this feature"
                    )
                column[:] = (values[rows] - mean) / sd
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                part = slice(begin, begin + _ROWS_AT_ONCE)
                features[part, start : start + len(names)] = block[:, part].T
            pace(start + len(names))
    return _in_map(plate, wells, features)


def written(plate: UsablePlate, wells: pd.DataFrame, file: Path) -> PlateCells:
    """What `standardised` gave another process that wrote `file`; the cells are as that one left them."""
    shape = (len(plate.rows(wells)), len(plate.features))
    return _in_map(plate, wells, np.memmap(file, np.float32, "r+", shape=shape))


def _in_map(plate: UsablePlate, wells: pd.DataFrame, features: np.ndarray) -> PlateCells:
    starts = np.cumsum([0, *plate.counts(wells)])
    return PlateCells(plate.table.plate, features, starts, wells.reset_index(drop=True))


def require_wells_once(wells: pd.DataFrame) -> None:
    """Refuse a well that comes twice, whose cells would count for both.

    Raises:
        BadInputError: one does.
    """
    twice = wells[wells.duplicated([PLATE, WELL])]
    if len(twice):
        names = ", ".join("|".join(pair) for pair in twice[[PLATE, WELL]].astype(str).to_numpy()[:5])
        raise BadInputError(f"wells: {names} ({len(twice)} in all) comes twice; keep one row for every well")


def _room(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """A map whose bytes are reserved, since writing into one that the disk has no room for ends the process."""
    size = 4 * shape[0] * shape[1]
    with file.open("wb") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, size)
        except OSError as error:
            raise BadInputError(
                f"{file.parent}: has no room for {size / 1e9:.1f} GB of cells ({error.strerror}); free some of the disk"
            ) from error
    return np.memmap(file, np.float32, "r+", shape=shape)
