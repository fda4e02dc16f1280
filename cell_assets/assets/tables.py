"""Bringing in a plate that comes as a table of features: where its history begins."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from cell_assets.assets.partitions import register_plate_keys
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.assets.registering import (
    refuse_other_bytes,
    refuse_other_experiment,
    refuse_other_options,
)
from cell_assets.assets.table_config import stated_table
from cell_assets.assets.table_request import TableRequest, rows_of, table_request_of
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.imaging.feature_tables.columns import METADATA, WELL
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.names import check_name
from cell_assets.ledger.records import WellDraft
from cell_assets.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

WriteTable = Callable[[TableRequest, Path], None]
"""Writes the plate's table into a folder."""
WellsOf = Callable[[TableRequest, Path], tuple[WellDraft, ...]]
"""The plate's wells, from the folder that was written."""


def asked_table(context: dg.AssetExecutionContext, ledger: Ledger, asset: AssetName) -> TableRequest | None:
    """The table that the config of this step names, or that the plate came in as by this asset; else None.

    Raises:
        dg.Failure: a field of the config cannot have its value, or such a table comes in by another asset.
    """
    plate = context.partition_key
    config = dict(context.op_execution_context.op_config or {})
    try:
        stated = stated_table(asset.value, config, plate)
        if stated is not None and stated.asset is not asset:
            raise BadInputError(
                f"config of {asset.value}: a table whose rows are {stated.rows.value} comes in as {stated.asset}; "
                "materialise that, with this config"
            )
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    if stated is not None:
        return stated
    known = ledger.plate(plate)
    request = None if known is None else table_request_of(known)
    return request if request is not None and request.asset is asset else None


def bring_in(
    context: dg.AssetExecutionContext,
    store: Store,
    request: TableRequest,
    write: WriteTable,
    wells_of: WellsOf,
) -> None:
    """Publish the plate's table and register the plate; does nothing where both are done.

    Raises:
        dg.Failure: something about the request or the table is wrong; nothing was kept.
    """
    try:
        making, register = _checked(context, store, request, wells_of)
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error

    def written(out: Path) -> Written:
        write(request, out)
        wells_of(request, out)
        return Written()

    Publisher(context, store).make(making, (), written, restore=True, committed=register)
    # Where it was current, registering may be what a crash left out.
    register()


def _checked(
    context: dg.AssetExecutionContext, store: Store, request: TableRequest, wells_of: WellsOf
) -> tuple[Making, Callable[[], None]]:
    from cell_assets.imaging.feature_tables.source import source_digest

    check_table_names(store, request)
    plate, source = request.plate, Path(request.source)
    if not source.exists():
        raise BadInputError(f"{source}: there is no such file or folder; give the plate's table")
    digest = source_digest(source)
    refuse_other_bytes(store, request.asset, plate, digest)
    register_plate_keys(context.instance, request.experiment, plate, ())
    making = Making(
        RECIPES[request.asset], plate, request.decided_by(digest), None, dagster_run_id=context.run_id
    )

    def register() -> None:
        folder, _ = store.read(request.asset, plate)
        store.ledger.register_plate(request.plate_draft(wells_of(request, folder)))

    return making, register


def check_table_names(store: Store, request: TableRequest) -> None:
    """Refuse what can be refused without reading the table.

    Raises:
        BadInputError: a name cannot be used, or is another plate's.
    """
    check_name("experiment", request.experiment)
    check_name("plate", request.plate)
    refuse_other_experiment(store.ledger, request.plate, request.experiment)
    known = store.ledger.plate(request.plate)
    if known is not None and rows_of(known) is None:
        raise BadInputError(
            f"plate {request.plate} was filmed, and its features are measured here; give the plate that comes as a "
            "table another name"
        )
    refuse_other_options(request.plate, None if known is None else table_request_of(known), request)


def write_cells(request: TableRequest, out: Path) -> None:
    """The single cells of the plate as a feature table."""
    from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table
    from cell_assets.imaging.feature_tables.one_plate import OnePlate

    source = open_source(Path(request.source), request.counts)
    write_feature_table(OnePlate(source, request.plate, request.source_plate), out)


def wells_of_cells(request: TableRequest, folder: Path) -> tuple[WellDraft, ...]:
    """The plate's wells, as its published cells and the request say."""
    import pyarrow.parquet as pq

    from cell_assets.imaging.feature_tables.feature_table import CELLS_PARQUET

    columns = request.columns
    asked = {columns.treatment, columns.dose, columns.moa} - {None}
    with pq.ParquetFile(folder / CELLS_PARQUET) as file:
        known = [name for name in file.schema_arrow.names if name.startswith(METADATA)]
        table = file.read(columns=known if asked - set(known) else [WELL, *asked]).to_pandas()
    return _wells(request, table)


def write_profiles(request: TableRequest, out: Path) -> None:
    """The profiles of the plate's wells, as they came."""
    from cell_assets.evaluation.profiling.mean_profiles import write_given_profiles
    from cell_assets.evaluation.profiling.well_manifest import wells_table
    from cell_assets.imaging.feature_tables.well_table import read_well_table

    rows = read_well_table(Path(request.source)).of_plate(request.plate, request.source_plate)
    wells = wells_table(request.plate, _wells(request, rows), {}, {})
    write_given_profiles(rows, request.plate, wells, out)


def wells_of_profiles(request: TableRequest, folder: Path) -> tuple[WellDraft, ...]:
    """The plate's wells, as its published profiles and the request say."""
    from cell_assets.evaluation.profiling.mean_profiles import read_plate_profiles
    from cell_assets.evaluation.profiling.well_representations import Representation

    return _wells(request, read_plate_profiles(folder, Representation.MEAN).metadata)


def _wells(request: TableRequest, known: "pd.DataFrame") -> tuple[WellDraft, ...]:
    from cell_assets.imaging.feature_tables.treatments import refuse_unknown_controls, treated_wells

    plate_map = None if request.plate_map is None else Path(request.plate_map)
    wells = treated_wells(known, request.columns, plate_map, request.source)
    refuse_unknown_controls(wells, request.columns, request.source)
    return wells
