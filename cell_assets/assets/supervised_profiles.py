"""The supervised control of profiles without learning: CytoSummaryNet's head behind them, by folds of compounds."""

from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.methods import shown
from cell_assets.assets.partitions import experiments
from cell_assets.assets.profile_methods import PROFILING
from cell_assets.assets.profile_outputs import supervised_profiles_output
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store


@dg.multi_asset(
    name="supervised_profiles",
    specs=[
        asset_spec(
            AssetName.SUPERVISED_PROFILES,
            PROFILING,
            "Profiles without learning behind the head of CytoSummaryNet, which learned to tell compounds apart: what "
            "supervision gives without cells. By folds: the wells of a compound ask with a head that never saw one of "
            "them. Reports on profiles hold the others against it. Made where `supervised_profiles` is chosen, or by "
            f"hand. The edge to all plates is for the picture only. {LAUNCHPAD_NOTE}",
            {"pytorch", "parquet"},
        )
    ],
    partitions_def=experiments,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.SUPERVISED_PROFILES),
    config_schema=config_of(AssetName.SUPERVISED_PROFILES),
)
def supervised_profiles(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    progress: dg.ResourceParam[ProgressDisplay],
) -> StepResults:
    """Train a head for each fold of compounds, and profile all wells by each."""
    begin(context, store)
    experiment = context.partition_key
    take_choices(context, store, [experiment])
    output = supervised_profiles_output(store, experiment)

    def write(out: Path) -> Written:
        # Imports torch, which loading the definitions must not.
        from cell_assets.methods.supervised_profiles.making import make_supervised_profiles

        with Progress(context, progress, f"supervised profiles of {experiment}", 0) as bar:
            make_supervised_profiles(
                {plate: read.folder for plate, read in output.mean_profiles.items()},
                output.selection,
                output.held_out_plates,
                output.supervision,
                out,
                shown(bar),
                output.doses,
            )
        return Written()

    Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    yield finished(context, store, AssetName.SUPERVISED_PROFILES.value)
