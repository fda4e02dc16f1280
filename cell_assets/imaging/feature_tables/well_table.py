"""Profiles of wells that another program made: CSV or Parquet with `Metadata_*` columns, one row per well."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import METADATA, PLATE, WELL, require_place
from cell_assets.imaging.plate_map import well_name

_MOST_BYTES = 2**31
"""Of a whole table: a hundred thousand wells of 2,000 features."""
_VALUE_BYTES = 8
_PIECE_BYTES = 2**20
_COMPRESSED: dict[str, Callable[[Path], BufferedIOBase]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
"""What a suffix of CSV says."""


@dataclass(frozen=True)
class WellTable:
    """Wells of one or several plates."""

    path: Path
    rows: pd.DataFrame
    """`Metadata_Plate` and `Metadata_Well` are text, and what else there is as it was."""

    @property
    def plates(self) -> list[str]:
        """By their names in the table, in its order."""
        return list(dict.fromkeys(self.rows[PLATE]))

    def of_plate(self, plate: str, source_plate: str | None) -> pd.DataFrame:
        """The wells of one plate under the lab's name, with `Metadata_Well` of the form `A/1`, in the table's order.

        Args:
            source_plate: its name in the table; None where there is only one.

        Raises:
            BadInputError: it is not there, or none was named of several, or a well comes twice or has no name.
        """
        if source_plate is None and len(self.plates) > 1:
            raise BadInputError(
                f"{self.path}: holds wells of several plates ({', '.join(self.plates[:5])}); name the one that is meant"
            )
        wanted = self.plates[0] if source_plate is None else source_plate
        rows = self.rows[self.rows[PLATE] == wanted].reset_index(drop=True)
        if rows.empty:
            raise BadInputError(
                f"{self.path}: holds no plate {wanted}, but {', '.join(self.plates[:5])}; name one of these"
            )
        try:
            rows[WELL] = [well_name(name) for name in rows[WELL]]
        except BadInputError as error:
            raise BadInputError(f"{self.path}: {error}") from error
        twice = rows.loc[rows[WELL].duplicated(), WELL]
        if len(twice):
            raise BadInputError(
                f"{self.path}: well {twice.iloc[0]} of plate {wanted} comes {int((rows[WELL] == twice.iloc[0]).sum())} "
                "times; keep one row"
            )
        rows[PLATE] = plate
        return rows


def read_well_table(path: Path) -> WellTable:
    """All wells of a file.

    Raises:
        BadInputError: it cannot be read, or does not say plate and well of every row, or a column that does not begin
            with `Metadata_` holds no numbers.
    """
    try:
        rows = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise BadInputError(
            f"{path}: cannot be read as profiles of wells ({error}); give CSV or Parquet as pycytominer writes it"
        ) from error
    require_place(rows.columns, path)
    features = [name for name in rows.columns if not name.startswith(METADATA)]
    text = [name for name in features if not pd.api.types.is_numeric_dtype(rows[name])]
    if text or not features:
        what = f"column {text[0]} holds no numbers" if text else "there is no column of features"
        raise BadInputError(
            f"{path}: {what}; give what is known of a well a name that begins with {METADATA}"
        )
    unplaced = rows[[PLATE, WELL]].isna().any(axis=1)
    if unplaced.any():
        raise BadInputError(
            f"{path}: row {int(unplaced.to_numpy().argmax()) + 1} states no plate or no well; fill {PLATE} and {WELL}"
        )
    return WellTable(path, rows.astype({PLATE: str, WELL: str}))


def _read_parquet(path: Path) -> pd.DataFrame:
    claims = pq.read_metadata(path)
    # A column of one value takes some bytes in the file, however long it is.
    _refuse_large(path, claims.num_rows * claims.num_columns * _VALUE_BYTES)
    return pd.read_parquet(path)


def _read_csv(path: Path) -> pd.DataFrame:
    opened = _COMPRESSED.get(path.suffix)
    if opened is not None:
        with opened(path) as file:
            n_bytes = 0
            while piece := file.read(_PIECE_BYTES):
                n_bytes += len(piece)
                _refuse_large(path, n_bytes)
    # A plate 001 is not plate 1, and pandas' own way of reading numbers changes their last digit.
    return pd.read_csv(
        path,
        dtype={PLATE: str, WELL: str},
        float_precision="round_trip",
        compression=None if opened is None else "infer",
    )


def _refuse_large(path: Path, n_bytes: int) -> None:
    if n_bytes > _MOST_BYTES:
        raise BadInputError(
            f"{path}: unpacks to more than {_MOST_BYTES / 1e9:.0f} GB, which profiles of wells never are; give a "
            "table of wells, or split it"
        )
