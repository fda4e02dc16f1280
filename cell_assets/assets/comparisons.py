"""`<method>_comparison`: the trainings of an experiment side by side, made by one factory for every method."""

from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import report_check_specs
from cell_assets.assets.comparison_output import comparison_output
from cell_assets.assets.partitions import experiments
from cell_assets.assets.publishing import Written
from cell_assets.assets.recipes import comparison_name
from cell_assets.assets.report_publishing import publish_report
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.methods.registry import CELL_METHODS, MethodEntry
from cell_assets.store.store import Store


def comparison_assets() -> list[dg.AssetsDefinition]:
    """Of all methods."""
    return [_comparison_asset(entry) for entry in CELL_METHODS]


def _comparison_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    name = comparison_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                "Scores of every training of the newest manifest that has a report, in tables, with paired gains and "
                "curves: strategies, channels, objectives or seeds, whatever they differ in. `cell-assets run` makes "
                "it once there are two.",
                {"html"},
            )
        ],
        partitions_def=experiments,
        can_subset=True,
        check_specs=report_check_specs(name),
    )
    def comparison(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
        from cell_assets.assets.comparison_pages import write_comparison

        begin(context, store)
        experiment = context.partition_key
        output = comparison_output(store, entry.name, experiment)

        def write(out: Path) -> Written:
            return Written(write_comparison(out, entry.name, entry.title, experiment, output))

        publish_report(context, store, output, write)
        yield finished(context, store, name)

    return comparison
