"""The supervised baseline of an experiment: a U-Net that segments nuclei by annotated state."""

from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.partitions import experiments
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.state_segmentation_output import state_segmentation_output
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store


@dg.multi_asset(
    name="state_segmentation",
    specs=[
        asset_spec(
            AssetName.STATE_SEGMENTATION,
            "experiments",
            "A 2-D U-Net trained on the annotations that probes get, and the state that it gives every cell; reports "
            "are held against it. Made where `baseline` is chosen, or by hand. The edges to all partitions are for "
            f"the picture only. {LAUNCHPAD_NOTE}",
            {"pytorch", "parquet"},
        )
    ],
    partitions_def=experiments,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.STATE_SEGMENTATION),
    config_schema=config_of(AssetName.STATE_SEGMENTATION),
)
def state_segmentation(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    progress: dg.ResourceParam[ProgressDisplay],
) -> StepResults:
    """Train on what stands, and predict the state of every cell."""
    begin(context, store)
    experiment = context.partition_key
    take_choices(context, store, [experiment])
    output = state_segmentation_output(store, experiment)

    def write(out: Path) -> Written:
        # Imports torch, which loading the definitions must not.
        from cell_assets.methods.state_segmentation.making import make_state_segmentation

        with Progress(context, progress, f"state segmentation of {experiment}", 0) as bar:
            inputs = output.inputs
            result = make_state_segmentation(
                inputs.folders(),
                inputs.manifest.folder,
                {key: read.folder for key, read in inputs.annotations.items()},
                output.training,
                out,
                lambda state: bar.stand(state.done, state.total, f"{state.unit} {state.note}".strip()),
                independent=inputs.independent_folders(),
                unused_states=output.unused_states,
            )
        for message in result.messages:
            context.log.info(message)
        return Written()

    Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    yield finished(context, store, AssetName.STATE_SEGMENTATION.value)
