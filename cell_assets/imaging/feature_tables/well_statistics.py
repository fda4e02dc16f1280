"""Statistics of every well's cells: what profiles without learning are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET

FEATURES_AT_ONCE = 64
"""Of a million cells these are 256 MB."""


class WellStatistic(StrEnum):
    """Of one feature over the cells of one well."""

    MEAN = "mean"
    MEDIAN = "median"
    SD = "sd"
    """Standard deviation of the population."""
    MAD = "mad"
    """Median absolute deviation from the median, unscaled."""


@dataclass(frozen=True)
class CellsByWell:
    """The n used cells of a feature table, sorted by plate and well; W wells have any."""

    folder: Path
    wells: pd.DataFrame
    """`Metadata_Plate, Metadata_Well, Metadata_Count` (cells that are used) of W wells."""
    without: tuple[str, ...]
    """`plate|well` of those that have cells, of which none is used."""
    count: NDArray[np.int64]
    """(W,)."""
    rows: NDArray[np.int64]
    """(n,) rows of the table, well by well."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """(W,) where each well begins."""
        return np.cumsum(self.count) - self.count

    def columns(self, features: Sequence[str]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """`FEATURES_AT_ONCE` features at a time: where they stand in `features`, and the cells' values (n, k)."""
        with pq.ParquetFile(self.folder / CELLS_PARQUET, pre_buffer=False) as file:
            for start in range(0, len(features), FEATURES_AT_ONCE):
                names = list(features[start : start + FEATURES_AT_ONCE])
                table = file.read(columns=names)
                values = np.stack([table.column(name).to_numpy()[self.rows] for name in names], 1)
                yield slice(start, start + len(names)), values


@dataclass(frozen=True)
class WellProfiles:
    """W wells in the order of plate and well."""

    wells: pd.DataFrame
    """As `CellsByWell` has them."""
    values: dict[WellStatistic, NDArray[np.float64]]
    """(W, D) of each statistic."""
    features: tuple[str, ...]


def cells_by_well(folder: Path, rows: NDArray[np.bool_]) -> CellsByWell:
    """Sort those cells of the feature table in `folder` that `rows` (N,) names."""
    place = pq.read_table(folder / CELLS_PARQUET, columns=[PLATE, WELL]).to_pandas()
    groups = place.groupby([PLATE, WELL], sort=True)
    codes = groups.ngroup().to_numpy().astype(np.int64)
    wells = pd.DataFrame(list(groups.groups), columns=[PLATE, WELL])
    count = np.bincount(codes[rows], minlength=len(wells)).astype(np.int64)
    some = count > 0
    used = np.flatnonzero(rows)
    return CellsByWell(
        folder,
        wells[some].reset_index(drop=True).assign(Metadata_Count=count[some]),
        tuple((wells[PLATE].astype(str) + "|" + wells[WELL].astype(str))[~some]),
        count[some],
        used[np.argsort(codes[used], kind="stable")],
    )


def well_profiles(
    cells: CellsByWell, features: Sequence[str], statistics: Sequence[WellStatistic]
) -> WellProfiles:
    """Statistics of every well's cells.

    Reads the table once, column by column: memory is that of `FEATURES_AT_ONCE` columns, a few times over.
    """
    values = {statistic: np.empty((len(cells.count), len(features))) for statistic in statistics}
    for columns, ordered in cells.columns(features):
        for statistic, found in values.items():
            found[:, columns] = _OF[statistic](ordered, cells.starts, cells.count)
    return WellProfiles(cells.wells, values, tuple(features))


def _mean(
    cells: NDArray[np.float32], starts: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.add.reduceat(cells, starts, axis=0, dtype=np.float64)
    return sums / count[:, None]


def _sd(
    cells: NDArray[np.float32], starts: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    around = cells - _mean(cells, starts, count).repeat(count, axis=0)
    return np.sqrt(_mean(np.square(around), starts, count))


def _median(
    cells: NDArray[np.float32], starts: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    of_wells = [np.median(cells[start : start + n], axis=0) for start, n in zip(starts, count, strict=True)]
    return np.stack(of_wells).astype(np.float64)


def _mad(
    cells: NDArray[np.float32], starts: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    around = np.abs(cells - _median(cells, starts, count).repeat(count, axis=0))
    return _median(around, starts, count)


_OF = {
    WellStatistic.MEAN: _mean,
    WellStatistic.MEDIAN: _median,
    WellStatistic.SD: _sd,
    WellStatistic.MAD: _mad,
}
