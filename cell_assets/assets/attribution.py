"""`<method>_attribution`: which pixels decide what a report's linear probes say, for every method that offers it."""

from pathlib import Path

import dagster as dg

from cell_assets.assets.attribution_output import attribution_output
from cell_assets.assets.checks import report_check_evaluations, report_check_specs
from cell_assets.assets.methods import shown
from cell_assets.assets.partitions import experiments
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import attribution_name
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.methods.registry import ENTRIES, MethodEntry
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store


def attribution_assets() -> list[dg.AssetsDefinition]:
    """Of all methods that offer it."""
    return [attribution_asset(entry) for entry in ENTRIES if entry.attributable]


def attribution_asset(entry: MethodEntry) -> dg.AssetsDefinition:
    """Attribution maps of test cells, sanity checks as numbers, figures and a page."""
    name = attribution_name(entry.name)

    @dg.multi_asset(
        name=name,
        specs=[
            asset_spec(
                name,
                entry.name,
                "Which pixels decide what the report's probes say: occlusion and integrated gradients of test cells, "
                "with sanity checks. Made from here, or by `cell-assets run` where a choice asks for it.",
                {"pytorch", "html"},
            )
        ],
        partitions_def=experiments,
        can_subset=True,
        check_specs=report_check_specs(name),
    )
    def attribution(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        progress: dg.ResourceParam[ProgressDisplay],
    ) -> StepResults:
        from cell_assets.assets.attribution_pages import write_attribution

        begin(context, store)
        experiment = context.partition_key
        output = attribution_output(store, entry.name, experiment)

        def write(out: Path) -> Written:
            with Progress(context, progress, f"attributing {experiment}", 0) as bar:
                return Written(
                    write_attribution(out, entry.name, entry.title, experiment, output, shown(bar))
                )

        commit = Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
        if commit is not None:
            for evaluation in report_check_evaluations(
                name, experiment, store.ledger.numbers_of_runs([commit.run_id])
            ):
                context.log_event(evaluation)
        yield finished(context, store, name)

    return attribution
