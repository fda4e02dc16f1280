"""The table that every source becomes: one row per cell, `Metadata_*` columns as they were, features as float32.

On disk `cells.parquet` and `feature_table.json`. Nothing is dropped here: which features and cells are used is chosen
where they are used, and what is missing is counted for that choice.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.cellprofiler_csv import CellProfilerCsv
from cell_assets.imaging.feature_tables.cellprofiler_sqlite import CellProfilerDatabase
from cell_assets.imaging.feature_tables.columns import IMAGE_NUMBER, PLATE, SITE, WELL
from cell_assets.imaging.feature_tables.count_parameters import CountNormalization, CountParameters
from cell_assets.imaging.feature_tables.source import CellSource
from cell_assets.imaging.record_files import read_record

CELLS_PARQUET = "cells.parquet"
FEATURE_TABLE_JSON = "feature_table.json"
_PARQUET_SUFFIXES = (".parquet", ".pq")
_ANNDATA_SUFFIX = ".h5ad"
_DIGEST_BITS = 256
"""BLAKE3's."""


class FeatureTableRecord(BaseModel):
    """What a feature table holds, and what became of the source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.feature_table"] = "cell_assets.feature_table"
    version: Literal[1, 2] = 2
    """In the first, digests of wells are of their cells in the table's order."""
    cells: int
    features: int
    wells: dict[str, int]
    """Cells by `plate|well`."""
    digests: dict[str, str]
    """By `plate|well`, of each that has a cell with any feature: BLAKE3 of the features of every such cell, added up so
    that their order says nothing. Equal ones are one well twice."""
    missing: dict[str, int]
    """Cells without a finite value, by feature; features that all cells have are not named."""
    constant: tuple[str, ...]
    """Features of one value in all cells that have any."""
    left_over: dict[str, int]
    """Objects that belong to no whole cell, by compartment."""


def open_source(path: Path, counts: CountParameters | None = None) -> CellSource:
    """The reader for a file by its name, or for a folder of CSV files.

    Args:
        counts: how counts of genes become features; of AnnData alone.

    Raises:
        BadInputError: it cannot be read, is AnnData and nobody says how its counts become features, or is not and
            somebody does.
    """
    if (counts is not None) != (path.suffix == _ANNDATA_SUFFIX):
        raise BadInputError(
            f"{path}: holds no counts of genes, so nothing says how they become features; leave that out"
            if counts is not None
            else f"{path}: holds counts of genes; say what becomes of them, usually with cell-assets ingest-table "
            f"--counts {CountNormalization.LOG_PER_10K}"
        )
    if path.is_dir():
        return CellProfilerCsv(path)
    if counts is not None:
        # AnnData takes seconds to import, and most tables need none.
        from cell_assets.imaging.feature_tables.count_table import CountTable

        return CountTable(path, counts)
    return CellParquet(path) if path.suffix in _PARQUET_SUFFIXES else CellProfilerDatabase(path)


def write_feature_table(source: CellSource, out: Path) -> FeatureTableRecord:
    """Write `source` into the existing folder `out`; memory is that of a batch and 8 bytes a cell.

    Raises:
        BadInputError: a column of features holds text, one of metadata both text and numbers, a cell comes twice, or
            there is none.
    """
    missing, wells = np.zeros(len(source.features), np.int64), Counter[str]()
    least, most = np.full((2, len(source.features)), np.nan, np.float32)
    digests = Counter[str]()
    keys: list[NDArray[np.uint64]] = []
    known: dict[str, _Known] = {}
    writer: pq.ParquetWriter | None = None
    try:
        for batch in source.batches():
            if batch.empty:
                continue
            features = _numbers(batch, source)
            missing += np.isnan(features).sum(0)
            least, most = np.fmin(least, _ends(np.fmin, features)), np.fmax(most, _ends(np.fmax, features))
            of_wells = batch[PLATE].astype(str) + "|" + batch[WELL].astype(str)
            wells.update(of_wells.tolist())
            for name, rows in of_wells.reset_index(drop=True).groupby(of_wells.to_numpy()).indices.items():
                digests[str(name)] += _digest_of_cells(features[rows])
            named = pd.util.hash_pandas_object(batch[list(source.keys)], index=False)
            keys.append(named.to_numpy().astype(np.uint64))
            known = known or _known(batch, source)
            table = _table(batch, known, features, source)
            writer = writer or pq.ParquetWriter(out / CELLS_PARQUET, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    if not keys:
        raise BadInputError(
            f"{source.path}: holds no whole cell, so there is nothing to profile; give another file"
        )
    _refuse_twice(np.concatenate(keys), source)
    record = FeatureTableRecord(
        cells=sum(map(len, keys)),
        features=len(source.features),
        wells=dict(sorted(wells.items())),
        digests={
            name: f"{digest % 2**_DIGEST_BITS:064x}" for name, digest in sorted(digests.items()) if digest
        },
        missing={name: int(n) for name, n in zip(source.features, missing, strict=True) if n},
        constant=tuple(np.array(source.features)[least == most].tolist()),
        left_over={name: n for name, n in source.left_over().items() if n},
    )
    (out / FEATURE_TABLE_JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return record


def read_feature_table_record(folder: Path) -> FeatureTableRecord:
    """`feature_table.json` of the feature table in `folder`.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    return read_record(
        folder / FEATURE_TABLE_JSON, FeatureTableRecord, "single_cell_features", "a feature table"
    )


def _numbers(batch: pd.DataFrame, source: CellSource) -> NDArray[np.float32]:
    """(n, D); what is no finite number is NaN."""
    columns = batch[list(source.features)]
    for name in columns.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in columns.dtypes]]:
        # A column of which a whole batch is missing comes as objects, too.
        wrong = columns[name].dropna().map(lambda value: isinstance(value, str | bytes))
        if wrong.any():
            raise BadInputError(
                f"{source.path}: feature {name} is {columns[name][wrong.idxmax()]!r} in a cell and not a number; mend "
                "the cell or leave the column out"
            )
    values = columns.astype(np.float64).to_numpy(np.float32, copy=True)
    values[~np.isfinite(values)] = np.nan
    return values


def _digest_of_cells(features: NDArray[np.float32]) -> int:
    """Sum over cells (n, D); those without any feature add nothing, since all of these are alike."""
    some = features[~np.isnan(features).all(1)]
    return sum(int.from_bytes(blake3(cell.tobytes()).digest()) for cell in some)


def _ends(end: np.ufunc, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(D,) least or greatest value of every feature; NaN where all are missing."""
    ends: NDArray[np.float32] = end.reduce(features, axis=0)
    return ends


@dataclass(frozen=True)
class _Known:
    """What the first cells say of a `Metadata_*` column."""

    kind: pa.DataType
    example: object
    """A value; None where all are missing. Text without one holds what comes."""

    def array(self, values: pd.Series, source: CellSource) -> pa.Array:
        """The column of further cells."""
        if self.example is None and pa.types.is_string(self.kind):
            values = values.map(str, na_action="ignore")
        try:
            return pa.array(values, self.kind, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            there = values.dropna()
            one_by_one = (there.iloc[row : row + 1] for row in range(len(there)))
            other = next(one for one in one_by_one if not self._holds(one))
            raise BadInputError(
                f"{source.path}: column {values.name} is {self.example!r} in one cell and {other.tolist()[0]!r} in "
                "another, which no column can both hold; write all of its values as numbers, or all as text"
            ) from error

    def _holds(self, values: pd.Series) -> bool:
        try:
            pa.array(values, self.kind, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return False
        return True


def _known(batch: pd.DataFrame, source: CellSource) -> dict[str, _Known]:
    """By the name of the column."""
    found = {}
    for name in source.known:
        example = next(iter(batch[name].dropna().tolist()), None)
        try:
            kind = pa.array(batch[name], from_pandas=True).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            kind = _Known(pa.scalar(example).type, example).array(batch[name], source).type
        found[name] = _Known(pa.string() if pa.types.is_null(kind) else kind, example)
    return found


def _table(
    batch: pd.DataFrame, known: Mapping[str, _Known], features: NDArray[np.float32], source: CellSource
) -> pa.Table:
    arrays = {name: one.array(batch[name], source) for name, one in known.items()}
    for name, column in zip(source.features, np.ascontiguousarray(features.T), strict=True):
        arrays[name] = pa.array(column, pa.float32(), from_pandas=True)
    return pa.table(arrays)


def _refuse_twice(keys: NDArray[np.uint64], source: CellSource) -> None:
    n_twice = len(keys) - len(np.unique(keys))
    if n_twice:
        of_images = {SITE, IMAGE_NUMBER} & set(source.keys)
        raise BadInputError(
            f"{source.path}: {n_twice} cells come twice (equal {', '.join(source.keys)}); was a well or a plate "
            "appended to the file again? Take it out"
            + ("" if of_images else ", or keep the column ImageNumber, if they are of several images")
        )
