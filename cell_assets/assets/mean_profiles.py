"""Profiles of wells that nothing is learned for, plate by plate."""

from functools import partial
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.experiment_outputs import known_plate
from cell_assets.assets.partitions import plates
from cell_assets.assets.profile_methods import PROFILING, scratch_of
from cell_assets.assets.profile_outputs import (
    MeanProfilesOutput,
    cell_tables,
    mean_profiles_output,
    wells_of_plate,
)
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.assets.tables import asked_table, bring_in, wells_of_profiles, write_profiles
from cell_assets.store.store import Store


@dg.multi_asset(
    name="mean_profiles",
    specs=[
        asset_spec(
            AssetName.MEAN_PROFILES,
            PROFILING,
            "What the cells of each well are on average, how they spread, covary and are distributed, normalised to "
            "the plate's control wells, as pycytominer and copairs read it; of a plate that came as profiles, these. "
            f"{LAUNCHPAD_NOTE}",
            {"parquet"},
        )
    ],
    partitions_def=plates,
    can_subset=True,
    check_specs=standing_check_specs(AssetName.MEAN_PROFILES),
    config_schema=config_of(AssetName.MEAN_PROFILES),
)
def mean_profiles(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Profile every well of a plate, or bring in the plate's profiles."""
    begin(context, store)
    if (table := asked_table(context, store.ledger, AssetName.MEAN_PROFILES)) is not None:
        bring_in(context, store, table, write_profiles, wells_of_profiles)
        yield finished(context, store, AssetName.MEAN_PROFILES.value)
        return
    take_choices(context, store, [known_plate(store, context.partition_key).draft.experiment])
    output = mean_profiles_output(store, context.partition_key)
    write = partial(_profile, output, scratch_of(store))
    Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    yield finished(context, store, AssetName.MEAN_PROFILES.value)


def _profile(output: MeanProfilesOutput, scratch: Path, out: Path) -> Written:
    from cell_assets.evaluation.profiling.mean_profiles import write_plate_profiles

    with cell_tables({output.partition: output.cells}, scratch) as (table,):
        write_plate_profiles(table.path, wells_of_plate(output.plate, table), out, output.profiling)
    return Written()
