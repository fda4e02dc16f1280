"""Which features and cells of several tables are used: features that all have, and cells that have all of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import METADATA
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET, read_feature_table_record


class SelectionParameters(BaseModel):
    """What a feature needs to be used."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_missing_share: float = Field(default=0.05, ge=0, lt=1)
    """A feature that more of a table's cells lack is left out of all tables; of any other, the cells that lack it
    are."""


DEFAULT_SELECTION = SelectionParameters()


@dataclass(frozen=True)
class FeatureSelection:
    """D features that can be used in every table."""

    features: tuple[str, ...]
    """In the order of the first table."""
    lost: Mapping[str, Mapping[str, str]]
    """By table, the features that are left out because of it, and why."""


@dataclass(frozen=True)
class UsableCells:
    """Which cells of one table have all selected features."""

    rows: NDArray[np.bool_]
    """(N,)."""
    dropped_by: Mapping[str, int]
    """Cells that lack a feature, by feature; a cell that lacks several counts with each."""


def select_features(
    tables: Mapping[str, Path], parameters: SelectionParameters = DEFAULT_SELECTION
) -> FeatureSelection:
    """The common features of these tables (folders by name), of those that enough cells have and that vary.

    Raises:
        BadInputError: none is left.
    """
    names = {table: _features_of(folder) for table, folder in tables.items()}
    everywhere = set.intersection(*(set(found) for found in names.values()))
    anywhere = dict.fromkeys(name for found in names.values() for name in found)
    lost: dict[str, dict[str, str]] = {}
    for table, folder in tables.items():
        record = read_feature_table_record(folder)
        why = {name: "it is not measured" for name in anywhere if name not in set(names[table])}
        why |= dict.fromkeys(record.constant, "it has one value in all cells")
        why |= {
            name: f"{n} of {record.cells} cells lack it"
            for name, n in record.missing.items()
            if n > parameters.max_missing_share * record.cells
        }
        lost[table] = why
    gone = set().union(*lost.values())
    first = next(iter(names.values()))
    features = tuple(name for name in first if name in everywhere and name not in gone)
    if not features:
        raise BadInputError(
            f"no feature is left of {len(anywhere)} in {len(tables)} tables: "
            + "; ".join(f"{table} loses {len(why)}" for table, why in lost.items())
            + "; profile tables of one pipeline together, or raise max_missing_share"
        )
    return FeatureSelection(features, lost)


def usable_cells(folder: Path, features: Sequence[str]) -> UsableCells:
    """Cells of one table that have all of `features`; reads those alone of which a cell lacks one."""
    record = read_feature_table_record(folder)
    incomplete = [name for name in features if name in record.missing]
    rows, dropped = np.ones(record.cells, bool), {}
    with pq.ParquetFile(folder / CELLS_PARQUET, pre_buffer=False) as file:
        for name in incomplete:
            lacks = file.read(columns=[name]).column(name).is_null().to_numpy()
            dropped[name] = int(lacks.sum())
            rows &= ~lacks
    return UsableCells(rows, dropped)


def _features_of(folder: Path) -> list[str]:
    with pq.ParquetFile(folder / CELLS_PARQUET) as file:
        return [name for name in file.schema_arrow.names if not name.startswith(METADATA)]
