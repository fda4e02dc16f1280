"""Rows as a table whose column types do not depend on what the rows hold."""

from collections.abc import Mapping, Sequence

import pandas as pd

TEXT, INTEGER, REAL = "string", "Int64", "float64"
"""A missing text or integer is null, a missing real number NaN; Parquet has null for all three.

Without a stated type, a column of texts that are all missing would be written as one of no type.
"""


def typed_table(rows: Sequence[Mapping[str, object]], types: Mapping[str, str]) -> pd.DataFrame:
    """One row per mapping, the columns of `types` in their order; what a row leaves out is null."""
    return pd.DataFrame(list(rows), columns=list(types)).astype(dict(types))
