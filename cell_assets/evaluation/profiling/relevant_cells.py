"""Cells of one plate with how much each has to say, read from the published tables a few features at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.relevance_table import RELEVANCE_PARQUET, ROW, RelevanceScore
from cell_assets.evaluation.retrieval.profiles import PROFILES_PARQUET
from cell_assets.evaluation.units import FloatArray, IntArray, StrArray
from cell_assets.imaging.feature_tables.columns import METADATA, PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET
from cell_assets.imaging.feature_tables.selection import usable_cells
from cell_assets.imaging.feature_tables.well_statistics import CellsByWell
from cell_assets.imaging.record_files import read_record

_PROFILES_JSON = "profiles.json"


@dataclass(frozen=True)
class RelevantCells:
    """The n cells of W wells that have a relevance and all features; no feature is in memory."""

    plate: str
    wells: pd.DataFrame
    """W rows: `Metadata_*` of the wells, as the method's profiles state them."""
    cells: CellsByWell
    scores: Mapping[RelevanceScore, NDArray[np.float32]]
    """(n,) each."""
    lacking: int
    """Cells with a relevance that lack a feature, and are left out."""

    def __len__(self) -> int:
        return len(self.cells.rows)

    @property
    def starts(self) -> IntArray:
        """(W + 1,) where each well begins, and n."""
        return np.append(self.cells.starts, len(self))

    def score(self, which: RelevanceScore) -> FloatArray:
        """(n,)."""
        return self.scores[which].astype(np.float64)

    def columns(self, features: Sequence[str]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """See `CellsByWell.columns`: memory is that of 64 features of the plate twice."""
        return self.cells.columns(features)


class _WithoutRelevance(BaseModel):
    """What is read of a method's own `profiles.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    without_relevance: dict[str, str]


def has_relevance(profiles: Path) -> bool:
    """Whether any cell has one, by the folder of a method's profiles of one plate."""
    file = profiles / RELEVANCE_PARQUET
    return file.exists() and pq.read_metadata(file).num_rows > 0


def why_without_relevance(profiles: Path) -> Mapping[str, str]:
    """By well, why none of its cells has a relevance, as the folder of a method's profiles of one plate says.

    Raises:
        BadInputError: it says nothing of relevance.
    """
    record = read_record(
        profiles / _PROFILES_JSON,
        _WithoutRelevance,
        "profiles of a method that knows how much every cell has to say",
        "wells without relevance",
    )
    return record.without_relevance


def relevant_cells(plate: str, profiles: Path, table: Path, features: Sequence[str]) -> RelevantCells:
    """Find the cells; memory is that of 40 bytes a cell.

    Args:
        profiles: folder of a method's profiles of the plate, with its relevance.
        table: folder of the plate's feature table, which the profiles were made of.
        features: that every cell must have.

    Raises:
        BadInputError: the relevance cannot be read, is of other cells than those of the table, or no cell with a
            relevance has all features.
    """
    found = _read_relevance(profiles, plate)
    rows = found.column(ROW).to_numpy().astype(np.int64)
    _refuse_other_cells(plate, found, table)
    usable = usable_cells(table, features).rows[rows]
    well = found.column(WELL).combine_chunks().dictionary_encode()
    if not usable.any():
        raise BadInputError(
            f"plate {plate}: none of its {len(rows)} cells with a relevance has all {len(features)} features that are "
            "studied; measure them, or set profile_report.relevance to null"
        )
    codes = well.indices.to_numpy()
    # Wells stand one after another; a well is where its first cell is.
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    count = np.add.reduceat(usable, first, dtype=np.int64)
    names = np.array(well.dictionary.to_pylist(), str)[codes[first]]
    some = count > 0
    return RelevantCells(
        plate,
        _known_wells(profiles, names[some]),
        CellsByWell(
            table,
            pd.DataFrame({PLATE: plate, WELL: names[some]}),
            tuple(f"{plate}|{name}" for name in names[~some]),
            count[some],
            rows[usable],
        ),
        {one: found.column(one.value).to_numpy()[usable] for one in RelevanceScore},
        int((~usable).sum()),
    )


def _read_relevance(profiles: Path, plate: str) -> pa.Table:
    file = profiles / RELEVANCE_PARQUET
    wanted = [WELL, ROW, *(one.value for one in RelevanceScore)]
    try:
        missing = [name for name in wanted if name not in pq.read_schema(file).names]
        if missing:
            raise BadInputError(
                f"{file}: the relevance of plate {plate}'s cells lacks {', '.join(missing)}; make its profiles again"
            )
        found = pq.read_table(file, columns=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInputError(
            f"{file}: the relevance of plate {plate}'s cells cannot be read ({error}); make its profiles again"
        ) from error
    return found.set_column(0, WELL, found.column(WELL).cast(pa.string()))


def _refuse_other_cells(plate: str, found: pa.Table, table: Path) -> None:
    of_table = pq.read_table(table / CELLS_PARQUET, columns=[WELL]).column(WELL).cast(pa.string())
    rows = found.column(ROW)
    same = not len(rows) or (
        pc.max(rows).as_py() < len(of_table)
        and pc.all(pc.equal(of_table.take(rows.combine_chunks()), found.column(WELL))).as_py()
    )
    if not same:
        raise BadInputError(
            f"plate {plate}: its relevance is of other cells than those of its feature table; make its profiles again"
        )


def _known_wells(profiles: Path, names: StrArray) -> pd.DataFrame:
    table = pq.read_table(profiles / PROFILES_PARQUET)
    known = table.select([name for name in table.column_names if name.startswith(METADATA)]).to_pandas()
    return known.set_index(known[WELL].astype(str)).loc[list(names)].reset_index(drop=True)
