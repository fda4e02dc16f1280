"""The experiment manifest: which plates, FOVs and tracks an experiment consists of, and how it is split."""

from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.experiment_outputs import manifest_output
from cell_assets.assets.partitions import experiments
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.store.store import Store


@dg.multi_asset(
    name="experiment_manifest",
    specs=[
        asset_spec(
            AssetName.EXPERIMENT_MANIFEST,
            "experiments",
            "Frozen list of plates, FOVs and conditions, with the split of every track and what is left out. "
            "The edges to all partitions are for the picture only: the ledger holds which ones were used. "
            + LAUNCHPAD_NOTE,
            {"parquet"},
        )
    ],
    partitions_def=experiments,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.EXPERIMENT_MANIFEST),
    config_schema=config_of(AssetName.EXPERIMENT_MANIFEST),
)
def experiment_manifest(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Freeze the experiment as it stands now."""
    begin(context, store)
    experiment = context.partition_key
    take_choices(context, store, [experiment])
    output = manifest_output(store, experiment)
    inputs = output.inputs

    def write(folder: Path) -> Written:
        from cell_assets.evaluation.manifest import ManifestFov, write_manifest
        from cell_assets.imaging.quality.plate_quality import read_plate_quality

        write_manifest(
            folder,
            experiment,
            {plate: raw.receipt.digest for plate, raw in inputs.raw.items()},
            [
                ManifestFov(plate, position, table.receipt.digest, table.folder / "cells.parquet")
                for (plate, position), table in inputs.tables.items()
            ],
            output.split,
            simulated=inputs.simulated,
            qualities={plate: read_plate_quality(read.folder) for plate, read in output.quality.items()},
            thresholds=output.thresholds,
        )
        return Written()

    Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    yield finished(context, store, AssetName.EXPERIMENT_MANIFEST.value)
