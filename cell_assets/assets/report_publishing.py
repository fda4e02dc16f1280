"""Publishing an output that states numbers: a report, a comparison or a study of pixels."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import report_check_evaluations
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.store.store import Store


def publish_report(
    context: dg.AssetExecutionContext,
    store: Store,
    output: ExperimentOutput,
    write: Callable[[Path], Written],
) -> None:
    """Make it unless it is current, and answer the checks of its numbers."""
    commit = Publisher(context, store).make(Making.of(output, context.run_id), output.receipts, write)
    if commit is None:
        return
    numbers = store.ledger.numbers_of_runs([commit.run_id])
    for evaluation in report_check_evaluations(output.asset, output.partition, numbers):
        context.log_event(evaluation)
