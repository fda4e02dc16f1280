"""Profiles: one vector for each well or treatment, beside what is known of it.

Columns are named as pycytominer names them: `Metadata_*` is what is known, all others are features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.units import FloatArray, require_columns
from cell_assets.imaging.feature_tables.columns import METADATA

PROFILES_PARQUET = "profiles.parquet"
"""File of a method's profiles of one plate, in the folder that it publishes."""


@dataclass(frozen=True)
class Profiles:
    """N profiles of P features.

    Raises:
        BadInputError: a value is not finite, or all of a profile's are 0, so that it points nowhere.
    """

    metadata: pd.DataFrame
    """N rows of `Metadata_*` columns, numbered from 0."""
    features: FloatArray
    """(N, P)."""
    names: tuple[str, ...]
    """P names of features."""

    def __post_init__(self) -> None:
        finite = np.isfinite(self.features)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise BadInputError(
                f"profile {self._say(int(row))} has no value of {self.names[column]}, and {int((~finite).sum())} "
                "values are missing in all; drop these features or profiles"
            )
        flat = np.flatnonzero(~self.features.any(1))
        if len(flat):
            raise BadInputError(
                f"profile {self._say(int(flat[0]))} is 0 in all {len(self.names)} features, so it is like no other; "
                "leave it out"
            )

    def __len__(self) -> int:
        return len(self.metadata)

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> "Profiles":
        """From a table with `Metadata_*` columns and numeric ones.

        Raises:
            BadInputError: another column is not numeric, or there is none.
        """
        known = [column for column in table.columns if column.startswith(METADATA)]
        names = [column for column in table.columns if not column.startswith(METADATA)]
        text = [name for name in names if not pd.api.types.is_numeric_dtype(table[name])]
        if text or not names:
            what = f"column {text[0]} holds no numbers" if text else "there is no column of features"
            raise BadInputError(f"{what}; give what is known of a profile a name that begins with {METADATA}")
        metadata = table[known].reset_index(drop=True)
        return cls(metadata, table[names].to_numpy(np.float64), tuple(names))

    def select(self, rows: Sequence[bool] | np.ndarray) -> "Profiles":
        """Those of the rows (N,) that are True."""
        chosen = np.asarray(rows, bool)
        return Profiles(self.metadata[chosen].reset_index(drop=True), self.features[chosen], self.names)

    def each(self, change: Callable[["Profiles"], "Profiles"]) -> "Profiles":
        """`change` of these, which are the same whoever asks; see `cross_fitted` for those that are not."""
        return change(self)

    def asked(self, answers: Callable[["Profiles"], pd.DataFrame]) -> pd.DataFrame:
        """`answers` (N rows, one for every profile) of these."""
        return answers(self)

    def similarity(self) -> FloatArray:
        """(N, N): cosines."""
        return cosines(self.features)

    def _say(self, row: int) -> str:
        known = zip(self.metadata.columns, self.metadata.iloc[row], strict=True)
        return ", ".join(f"{name.removeprefix(METADATA)} {value}" for name, value in known)


def cosines(features: FloatArray) -> FloatArray:
    """(N, N) of features (N, P); 0 to all of a row that is 0 in all features, which points nowhere."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(length > 0, length, 1)
    similarity: FloatArray = unit @ unit.T
    return similarity


def read_profiles(path: Path) -> Profiles:
    """From a CSV or Parquet file.

    Raises:
        BadInputError: it cannot be read, or its columns cannot be used.
    """
    read: Callable[[Path], pd.DataFrame] = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    try:
        table = read(path)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{path}: cannot be read as profiles ({error}); give a CSV or Parquet file"
        ) from error
    return Profiles.of_table(table)


def treatment_profiles(wells: Profiles, by: Sequence[str]) -> Profiles:
    """The median over all wells of a treatment, as Ljosa et al. (2013) compare methods on BBBC021.

    Metadata that differ between a treatment's wells are not known of it, and fall away.

    Args:
        by: columns that name a treatment, for example compound and concentration.
    """
    require_columns(wells.metadata, by, "profiles'")
    groups = wells.metadata.groupby(list(by), sort=True, dropna=False)
    code = groups.ngroup().to_numpy()
    one = groups.head(1).index.to_numpy()
    first = wells.metadata.iloc[one[np.argsort(code[one])]].reset_index(drop=True)
    same = [column for column in wells.metadata.columns if (groups[column].nunique(dropna=False) == 1).all()]
    medians = pd.DataFrame(wells.features).groupby(code).median().to_numpy()
    return Profiles(first[same], medians, wells.names)
