"""From a checkpoint and a plate's feature table to profiles of its wells, and what every cell has to say in them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.relevance_table import (
    FILMED_CELL,
    RELEVANCE_PARQUET,
    ROW,
    RelevanceScore,
)
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, is_treated
from cell_assets.evaluation.retrieval.profiles import PROFILES_PARQUET
from cell_assets.imaging.feature_tables.columns import OBJECT, PLACE, PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.imaging.record_files import read_record
from cell_assets.methods.contract import CellTable, ProfilingResult, ProgressSink
from cell_assets.methods.cytosummary.building import PlateNetwork, on_plate
from cell_assets.methods.cytosummary.checkpoint import load_checkpoint
from cell_assets.methods.cytosummary.conditioning import condition
from cell_assets.methods.cytosummary.lightning_module import can_ask
from cell_assets.methods.cytosummary.machine import applicable
from cell_assets.methods.cytosummary.network import CytoSummaryNet
from cell_assets.methods.cytosummary.parameters import TrainingParameters
from cell_assets.methods.cytosummary.plate_cells import PlateCells
from cell_assets.methods.cytosummary.plate_reading import (
    UsablePlate,
    open_plate,
    require_wells_once,
    standardised,
)
from cell_assets.methods.cytosummary.relevance import cell_relevance
from cell_assets.methods.cytosummary.sets import IntArray
from cell_assets.methods.cytosummary.table_training import CELLS_FILE, CellUse
from cell_assets.methods.execution import prepared
from cell_assets.methods.pace import Pace
from cell_assets.methods.processor import Device, Precision

PROFILES_JSON = "profiles.json"
FEATURE = "Cells_CytoSummaryNet_{:04d}"
"""pycytominer knows features by the compartment that their names begin with."""
_WELLS_AT_ONCE = 16
"""Between two reports of progress."""


class ProfilesRecord(BaseModel):
    """Content of `profiles.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.cytosummary_profiles"] = "cell_assets.cytosummary_profiles"
    version: Literal[1] = 1
    plate: str
    provenance: dict[str, str]
    """Digests of what it was made from, by name."""
    wells: int
    """That have a profile."""
    features: int
    """Of a profile."""
    cells: CellUse
    cells_in_profiles: int
    """Usable cells of wells that have a profile."""
    left_out: dict[str, str]
    """Wells without a profile, and why."""
    without_relevance: dict[str, str]
    """Wells with a profile whose cells have no relevance, and why."""
    device: Device
    precision: Precision
    """Of φ; sums and ρ are float32."""


def profile(
    checkpoint: Path,
    table: CellTable,
    wells: pd.DataFrame,
    out: Path,
    provenance: Mapping[str, str],
    progress: ProgressSink | None = None,
) -> ProfilingResult:
    """Write `profiles.parquet`, `relevance.parquet` and `profiles.json` into the existing folder `out`.

    Profiles are `Metadata_*` of the wells, as they were and in their order, and then `Cells_CytoSummaryNet_0000` and so
    on, as pycytominer and copairs read them. Relevance is a row for every cell of a well that has two at least: who it
    is, its row of the feature table, and `combined, sensitivity, activation`, each 0 to 1 within its well. Equal
    inputs give equal bytes in an equal environment.

    Sensitivity is that of a loss in which wells ask for others of their compound on this plate, wherever training
    looked for positives. Wells of controls, which left training, neither ask nor answer, but are what others are told
    from. Where no compound has two wells on the plate, there is no relevance, and the record says so.

    Memory is that of `plate_reading.standardised`, and of relevance 40 bytes a cell; the cells lie in a map (4 bytes a
    number) in `out` as long as it takes.

    Args:
        wells: rows of the well manifest; those of other plates are not looked at.

    Raises:
        BadInputError: the plate lacks a feature of the checkpoint's, no well of it has a usable cell, or a well comes
            twice.
    """
    network, config = load_checkpoint(checkpoint)
    parameters, messages = applicable(config.parameters)
    own = wells[(wells[PLATE] == table.plate).fillna(False).to_numpy(np.bool_)].reset_index(drop=True)
    require_wells_once(own)
    plate = open_plate(table, config.features)
    count = plate.counts(own)
    if not count.any():
        raise BadInputError(
            f"plate {table.plate}: none of its {len(own)} wells in the manifest has a usable cell, and its table has "
            f"wells such as {', '.join(map(str, plate.well.categories[:3]))}; freeze wells that name them so"
        )
    # Wells whose cells can be compared come first, so that they are one piece.
    places = np.concatenate([np.flatnonzero(count > 1), np.flatnonzero(count == 1)])
    placed = own.iloc[places]
    with (
        prepared(parameters.device, parameters.threads, parameters.seed),
        tempfile.TemporaryDirectory(dir=out) as folder,
    ):
        cells = standardised(plate, placed, Path(folder) / CELLS_FILE.format(0), progress)
        cells = condition(cells, parameters.conditioning, parameters.seed)
        of_plate = on_plate(network.to(parameters.device.value), cells)
        profiles = _profiles(of_plate, cells, parameters.precision, progress)
        relevance, why_not = _relevance(of_plate, cells, plate, int((count > 1).sum()), parameters)
    in_order = np.argsort(places)
    columns = [FEATURE.format(place) for place in range(profiles.shape[1])]
    features = pd.DataFrame(profiles[in_order], columns=columns)
    known = placed.iloc[in_order].reset_index(drop=True)
    write_parquet(pd.concat([known, features], axis=1), out / PROFILES_PARQUET)
    write_parquet(relevance, out / RELEVANCE_PARQUET)
    record = ProfilesRecord(
        plate=table.plate,
        provenance=dict(sorted(provenance.items())),
        wells=len(known),
        features=len(columns),
        cells=CellUse.of(plate),
        cells_in_profiles=int(count.sum()),
        left_out={str(well): "0 cells with all features" for well in own.loc[count == 0, WELL]},
        without_relevance=why_not,
        device=parameters.device,
        precision=parameters.precision,
    )
    (out / PROFILES_JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return ProfilingResult(len(known), len(columns), messages + _remarks(record))


def read_profiles_record(folder: Path) -> ProfilesRecord:
    """`profiles.json` of profiles.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    return read_record(
        folder / PROFILES_JSON, ProfilesRecord, "cytosummary_profiles", "CytoSummaryNet's profiles"
    )


def _profiles(
    network: PlateNetwork, cells: PlateCells, precision: Precision, progress: ProgressSink | None
) -> NDArray[np.float32]:
    """(W, P)."""
    pace = Pace(progress, len(cells.features), "cells", f"profiling {cells.plate}")
    found = []
    for first in range(0, len(cells.wells), _WELLS_AT_ONCE):
        some = cells.between(first, first + _WELLS_AT_ONCE)
        found.append(network.profiles_of(some.features, some.starts, precision))
        pace(int(cells.starts[min(first + _WELLS_AT_ONCE, len(cells.wells))]))
    return np.concatenate(found)


def _relevance(
    network: PlateNetwork,
    cells: PlateCells,
    plate: UsablePlate,
    n_comparable: int,
    parameters: TrainingParameters,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Scores of the cells of the first `n_comparable` wells, and why those of other wells have none."""
    why_not = {
        str(well): "1 cell, which has none to be compared with"
        for well in cells.wells[WELL].iloc[n_comparable:]
    }
    compared = cells.between(0, n_comparable)
    classes = _classes(compared.wells)
    if not isinstance(network, CytoSummaryNet):
        why = "its cells are summarised before anything is learned"
    elif not can_ask(classes):
        why = "no compound has two wells on the plate, beside one of another, so no profile is right or wrong"
    else:
        rows = plate.rows(compared.wells)
        scores = cell_relevance(
            network,
            compared.features,
            compared.starts,
            classes,
            parameters.temperature,
            parameters.denominator,
        )
        named = _cell_names(plate, rows)
        for name in RelevanceScore:
            named[name.value] = getattr(scores, name.value).astype(np.float32)
        return named, why_not
    none = _cell_names(plate, np.empty(0, np.int64)).assign(
        **{name.value: np.empty(0, np.float32) for name in RelevanceScore}
    )
    return none, {str(well): why for well in compared.wells[WELL]} | why_not


def _classes(wells: pd.DataFrame) -> IntArray:
    """(W,) codes of compounds; a control well, and one of which nobody says the treatment, has one of its own, so that
    it asks for nothing, is no answer, and is told from all others."""
    codes = pd.factorize(wells[COMPOUND].where(is_treated(wells)), sort=True)[0]
    return np.where(codes < 0, len(wells) + np.arange(len(wells)), codes).astype(np.int64)


def _cell_names(plate: UsablePlate, rows: IntArray) -> pd.DataFrame:
    """Which cells (n,) these rows of the table are."""
    with pq.ParquetFile(plate.table.path / CELLS_PARQUET) as file:
        there = set(file.schema_arrow.names)
        named = file.read(columns=[name for name in (*PLACE, *OBJECT, *FILMED_CELL) if name in there])
    return named.take(rows).to_pandas().assign(**{ROW: rows})


def _remarks(record: ProfilesRecord) -> tuple[str, ...]:
    remarks = []
    if record.left_out:
        remarks.append(
            f"{len(record.left_out)} wells ({', '.join(list(record.left_out)[:5])}) have no cell with all features, "
            "and so no profile"
        )
    if record.without_relevance:
        well, why = next(iter(record.without_relevance.items()))
        remarks.append(
            f"{len(record.without_relevance)} wells have no relevance of cells, such as {well}: {why}"
        )
    return tuple(remarks)
