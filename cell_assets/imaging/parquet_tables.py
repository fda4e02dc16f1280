"""Parquet with the same bytes for the same table: no pandas metadata, fixed compression, one row group per
2^20 rows.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write `table` without its index; NaN becomes null."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    # pandas' metadata names the versions that wrote the file, which would change its digest with each
    # upgrade.
    pq.write_table(arrow.replace_schema_metadata(None), path, compression="zstd", row_group_size=2**20)


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a table; integer and boolean columns with nulls come back as pandas' nullable types."""
    nullable = {
        pa.int64(): pd.Int64Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    arrow = pq.read_table(path, memory_map=True)
    frame = arrow.to_pandas(ignore_metadata=True)
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        if column.null_count and column.type in nullable:
            frame[name] = column.to_pandas(types_mapper=nullable.get)
    return frame
