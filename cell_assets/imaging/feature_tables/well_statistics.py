"""Statistics of every well's cells: what profiles without learning are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
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
class WellProfiles:
    """W wells in the order of plate and well."""

    wells: pd.DataFrame
    """`Metadata_Plate, Metadata_Well, Metadata_Count` (cells that were used)."""
    values: dict[WellStatistic, NDArray[np.float64]]
    """(W, D) of each statistic."""
    features: tuple[str, ...]


def well_profiles(
    folder: Path, rows: NDArray[np.bool_], features: Sequence[str], statistics: Sequence[WellStatistic]
) -> WellProfiles:
    """Statistics of the feature table in `folder`, over the cells that `rows` (N,) names.

    Reads the table once, column by column: memory is that of `FEATURES_AT_ONCE` columns.

    Raises:
        BadInputError: a well has no cell left, so that it has no profile.
    """
    place = pq.read_table(folder / CELLS_PARQUET, columns=[PLATE, WELL]).to_pandas()
    codes, wells = _wells(place, rows, folder)
    order = np.argsort(codes, kind="stable")
    count = np.bincount(codes)
    starts = np.cumsum(count) - count
    values = {statistic: np.empty((len(count), len(features))) for statistic in statistics}
    for columns, cells in _columns(folder, features):
        ordered = cells[rows][order]
        for statistic, found in values.items():
            found[:, columns] = _OF[statistic](ordered, starts, count)
    return WellProfiles(wells.assign(Metadata_Count=count), values, tuple(features))


def _wells(
    place: pd.DataFrame, rows: NDArray[np.bool_], folder: Path
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Code (n,) of every used cell's well, and the wells by code."""
    groups = place.groupby([PLATE, WELL], sort=True)
    codes = groups.ngroup().to_numpy().astype(np.int64)
    wells = pd.DataFrame(list(groups.groups), columns=[PLATE, WELL])
    empty = np.flatnonzero(np.bincount(codes[rows], minlength=len(wells)) == 0)
    if len(empty):
        names = ", ".join("|".join(wells.iloc[one]) for one in empty[:5])
        raise BadInputError(
            f"{folder}: {len(empty)} wells ({names}) have no cell with all features, and so no profile; leave them "
            "out, or lower max_missing_share so that the features go instead"
        )
    return codes[rows], wells


def _columns(folder: Path, features: Sequence[str]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    with pq.ParquetFile(folder / CELLS_PARQUET) as file:
        for start in range(0, len(features), FEATURES_AT_ONCE):
            names = list(features[start : start + FEATURES_AT_ONCE])
            table = file.read(columns=names)
            yield (
                slice(start, start + len(names)),
                np.stack([table.column(name).to_numpy() for name in names], 1),
            )


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
