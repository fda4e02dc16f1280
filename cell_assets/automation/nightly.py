"""What the daemon does every night: re-hash a share of the store, and hold the displays against the ledger."""

import dagster as dg
from pydantic import Field

from cell_assets.assets.checks import first_of, scrub_check_evaluation
from cell_assets.assets.recipes import RECIPES
from cell_assets.assets.reconciling import reconcile
from cell_assets.resources.mlflow_registry import ModelRegistry
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store

_NIGHTS_OF_A_ROUND = 30


class ScrubConfig(dg.Config):
    """How much one scrub reads."""

    share: float = Field(
        default=1 / _NIGHTS_OF_A_ROUND, gt=0, le=1, description="Part of the store's bytes to re-hash."
    )


@dg.op
def re_hash(
    context: dg.OpExecutionContext,
    config: ScrubConfig,
    store: dg.ResourceParam[Store],
    workers: dg.ResourceParam[int],
    progress: dg.ResourceParam[ProgressDisplay],
) -> None:
    """Re-hash what was verified longest ago; every asset's check says how much of it was found whole, and when."""
    from cell_assets.audit.scrub import nothing_stored, scrub

    with Progress(context, progress, "re-hashing", 0) as bar:
        done = scrub(store, config.share, workers=workers, step=bar.stand)
    context.log.info(done.text())
    context.add_output_metadata({"found": done.text()})
    covered = {one.asset: one for one in done.coverage}
    for asset in RECIPES:
        coverage = covered.get(asset) or nothing_stored(asset)
        context.instance.report_runless_asset_event(scrub_check_evaluation(coverage))
    if done.damaged:
        titles = [f"{one.asset} {one.partition}: {one.why}" for one in done.damaged]
        raise dg.Failure(description=first_of(titles), allow_retries=False)


@dg.op
def compare(
    context: dg.OpExecutionContext, store: dg.ResourceParam[Store], models: dg.ResourceParam[ModelRegistry]
) -> None:
    """Compare ledger, store, Dagster and MLflow in every direction; mends nothing, turns checks red."""
    found = reconcile(context.instance, store, models, mend=False)
    if found.left:
        said = "; ".join(one.title for one in found.left)
        raise dg.Failure(
            description=f"{said}; `cell-assets reconcile` mends what is safe", allow_retries=False
        )


@dg.job(description="Re-hash a share of the store.")
def scrub_store() -> None:
    """One op."""
    re_hash()


@dg.job(description="Compare ledger, store, Dagster and MLflow.")
def compare_displays() -> None:
    """One op."""
    compare()


def nightly_schedules() -> list[dg.ScheduleDefinition]:
    """Both jobs at their hours, UTC; switched on from the start."""
    return [
        dg.ScheduleDefinition(
            name=f"nightly_{job.name}",
            job=job,
            cron_schedule=hour,
            description=job.description,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
        for job, hour in ((compare_displays, "30 1 * * *"), (scrub_store, "0 2 * * *"))
    ]
