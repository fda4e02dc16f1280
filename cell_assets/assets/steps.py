"""How every body begins and ends: what it hands back to Dagster is that its step is done, and no event.

The event that shows an output is logged by `publishing`, from the ledger. A body that returned None or a plain
result would be shown a second time, by an event that names no ledger run.
"""

from collections.abc import Iterator

import dagster as dg

# Private, and so tied to the pinned version of Dagster: its own bodies that log their events use the same entry.
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from cell_assets.assets.checks import repeat_standing_checks
from cell_assets.assets.publishing import emit_lost_events
from cell_assets.audit.agreement import newest_withdrawn
from cell_assets.store.store import Store

StepResults = Iterator[dg.MaterializeResult[None]]
"""What every body returns, as a generator: Dagster asks plain functions with several outputs for a tuple.

Bodies with checks are also declared `can_subset`, without which Dagster misses a check that is not evaluated anew.
"""


def begin(context: dg.AssetExecutionContext, store: Store) -> None:
    """First line of every body: show what a crash kept from Dagster.

    Raises:
        dg.Failure: only checks were asked for, which are answered while their asset is made, or by a job.
    """
    if not context.selected_asset_keys:
        raise dg.Failure(
            description="checks alone cannot be executed here: launch the job `compare_displays` for "
            "ledger_agrees, `scrub_store` for bytes_as_published; others are answered while their asset is made",
            allow_retries=False,
        )
    emit_lost_events(context.instance, store)


def finished(context: dg.AssetExecutionContext, store: Store, asset: str) -> dg.MaterializeResult[None]:
    """The asset's step is done, whether something was made or all was current; its checks are answered.

    Without it Dagster would skip the steps that follow in the same run.
    """
    repeat_standing_checks(context, asset, newest_withdrawn(store, asset))
    return dg.MaterializeResult(
        asset_key=asset, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
    )
