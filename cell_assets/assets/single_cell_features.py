"""Features of every cell and time point of a plate, measured along its tracks."""

from functools import partial
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.experiment_outputs import FeaturesOutput, features_output, known_plate
from cell_assets.assets.partitions import plates
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.assets.tables import asked_table, bring_in, wells_of_cells, write_cells
from cell_assets.imaging.features.plate_features import FovInput, measure_plate
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store


@dg.multi_asset(
    name="single_cell_features",
    specs=[
        asset_spec(
            AssetName.SINGLE_CELL_FEATURES,
            "acquisitions",
            "Shape, intensity, texture and neighbourhood of every cell and time point of a plate, in CellProfiler's "
            "column names; of a plate that was not filmed here, CellProfiler's or CytoTable's own table. "
            f"{LAUNCHPAD_NOTE}",
            {"parquet"},
        )
    ],
    partitions_def=plates,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.SINGLE_CELL_FEATURES),
    config_schema=config_of(AssetName.SINGLE_CELL_FEATURES),
)
def single_cell_features(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    progress: dg.ResourceParam[ProgressDisplay],
    workers: dg.ResourceParam[int],
) -> StepResults:
    """Measure every FOV of a plate that was not withdrawn, or bring in the plate's table."""
    begin(context, store)
    if (table := asked_table(context, store.ledger, AssetName.SINGLE_CELL_FEATURES)) is not None:
        bring_in(context, store, table, write_cells, wells_of_cells)
        yield finished(context, store, AssetName.SINGLE_CELL_FEATURES.value)
        return
    take_choices(context, store, [known_plate(store, context.partition_key).draft.experiment])
    output = features_output(store, context.partition_key)
    write = partial(_measure, context, store, progress, workers, output)
    Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    yield finished(context, store, AssetName.SINGLE_CELL_FEATURES.value)


def _measure(
    context: dg.AssetExecutionContext,
    store: Store,
    progress: ProgressDisplay,
    workers: int,
    output: FeaturesOutput,
    out: Path,
) -> Written:
    plate = output.partition
    raw = store.ledger.artifact(output.raw.receipt.artifact_id)
    fovs = [
        FovInput(position, tracks.folder, output.segmentations[position].folder)
        for position, tracks in output.tracks.items()
    ]
    with Progress(context, progress, f"features of {plate}", len(fovs)) as bar:
        for _ in measure_plate(plate, output.raw.folder, raw, fovs, output.measuring, out, workers):
            bar.advance()
    return Written()
