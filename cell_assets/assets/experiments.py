"""The experiment manifest: which plates, FOVs and tracks an experiment consists of, and how it is split."""

from dataclasses import asdict
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.inputs import experiment_inputs, plate_qualities
from cell_assets.assets.partitions import experiments
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.imaging.quality.thresholds import excluding
from cell_assets.ledger.records import JsonValue
from cell_assets.store.store import Store


@dg.multi_asset(
    name="experiment_manifest",
    specs=[
        asset_spec(
            AssetName.EXPERIMENT_MANIFEST,
            "experiments",
            "Frozen list of plates, FOVs and conditions, with the split of every track and what is left out. "
            "The edges to all partitions are for the picture only: the ledger holds which ones were used.",
            {"parquet"},
        )
    ],
    partitions_def=experiments,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.EXPERIMENT_MANIFEST),
)
def experiment_manifest(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Freeze the experiment as it stands now."""
    begin(context, store)
    experiment = context.partition_key
    choices = ExperimentChoices.of(store.ledger, experiment)
    thresholds = excluding(choices.quality)
    inputs = experiment_inputs(store, experiment)
    quality = plate_qualities(store, inputs.raw) if thresholds else {}
    making = Making(
        RECIPES[AssetName.EXPERIMENT_MANIFEST],
        experiment,
        manifest_parameters(choices),
        experiment,
        dagster_run_id=context.run_id,
    )

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
            choices.split,
            simulated=inputs.simulated,
            qualities={plate: read_plate_quality(read.folder) for plate, read in quality.items()},
            thresholds=thresholds,
        )
        return Written()

    receipts = [*inputs.receipts(), *(read.receipt for read in quality.values())]
    Publisher(context, store).make(making, receipts, write)
    yield finished(context, store, AssetName.EXPERIMENT_MANIFEST.value)


def manifest_parameters(choices: ExperimentChoices) -> dict[str, JsonValue]:
    """What is recorded as the manifest's parameters; thresholds that only warn decide nothing of it."""
    thresholds = [threshold.model_dump(mode="json") for threshold in excluding(choices.quality)]
    return {**asdict(choices.split), **({"thresholds": thresholds} if thresholds else {})}
