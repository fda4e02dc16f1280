"""Ledger, store, Dagster and MLflow brought back to one story: what is safe is mended, the rest is listed.

Safe is what only adds to the displays what the ledger already holds, or to the ledger a registry version whose
digest is a checkpoint's. Nothing is ever deleted here.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg
import pyarrow as pa

from cell_assets.assets.checks import agreement_check_evaluation, withdrawal_check_evaluation
from cell_assets.assets.display import (
    DIGEST,
    LEDGER_ENTRY,
    artifact_of,
    ledger_run_of,
    text_of,
    withdrawal_observation,
)
from cell_assets.assets.methods import register_checkpoint
from cell_assets.assets.publishing import show_runs
from cell_assets.assets.recipes import RECIPES, checkpoint_name
from cell_assets.audit.agreement import (
    Disagreement,
    Fault,
    Reconciliation,
    RegisteredModel,
    ShownEvent,
    events_against_ledger,
    models_against_ledger,
    newest_withdrawn,
    store_against_ledger,
    withdrawals_against_display,
    withdrawn_artifacts,
)
from cell_assets.errors import CellAssetsError
from cell_assets.methods.registry import ENTRIES
from cell_assets.resources.mlflow_registry import ModelRegistry
from cell_assets.store.store import Store

_log = logging.getLogger(__name__)

_PAGE = 1000
"""Events read at a time."""


@dataclass(frozen=True)
class _Display:
    """What Dagster and MLflow say."""

    events: Sequence[ShownEvent]
    models: Sequence[RegisteredModel]
    disagreements: tuple[Disagreement, ...]


def reconcile(
    instance: dg.DagsterInstance, store: Store, models: ModelRegistry, *, mend: bool = True
) -> Reconciliation:
    """Compare the four in every direction, mend what is safe, and show what is left as red checks in the UI.

    Linear in artifacts, events and the bytes of registered models, which are hashed; twice where something was
    to be mended.
    """
    found = _compare(instance, store, models)
    mended: tuple[Disagreement, ...] = ()
    if mend and found.disagreements:
        _mend(instance, store, models, found.disagreements)
        after = _compare(instance, store, models)
        standing = Counter(after.disagreements)
        mended = tuple(one for one in found.disagreements if one not in standing)
        found = after
    for asset in RECIPES:
        said = [one.title for one in found.disagreements if one.asset == asset]
        instance.report_runless_asset_event(agreement_check_evaluation(asset, said))
    return Reconciliation(
        mended, found.disagreements, len(found.events), len(found.models), len(store.ledger.artifacts())
    )


def show_withdrawals(instance: dg.DagsterInstance, store: Store) -> None:
    """Mark in Dagster what the ledger withdrew: an observation of the partition, a check of the asset."""
    for asset in RECIPES:
        shown = _shown_as_withdrawn(instance, asset)
        hidden = [one for one in withdrawn_artifacts(store, asset) if one[0].id not in shown]
        for artifact, reason in hidden:
            instance.report_runless_asset_event(withdrawal_observation(artifact, reason))
        if hidden:
            said = withdrawal_check_evaluation(asset, newest_withdrawn(store, asset))
            instance.report_runless_asset_event(said)


def _shown_as_withdrawn(instance: dg.DagsterInstance, asset: str) -> set[int]:
    """Artifacts of which an observation says that they are withdrawn."""
    return {
        artifact
        for record in _records(instance.fetch_observations, asset)
        if record.asset_observation is not None
        and (artifact := artifact_of(record.asset_observation)) is not None
    }


def _compare(instance: dg.DagsterInstance, store: Store, models: ModelRegistry) -> _Display:
    since = store.ledger.now()
    alive = [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=list(_UNFINISHED)))]
    events = [event for asset in RECIPES for event in _events(instance, asset)]
    registered = models.registered()
    checkpoints = [checkpoint_name(entry.name) for entry in ENTRIES]
    found = (
        *events_against_ledger(store, list(RECIPES), events, alive, since),
        *store_against_ledger(store),
        *models_against_ledger(store, checkpoints, registered),
        *(
            one
            for asset in RECIPES
            for one in withdrawals_against_display(store, asset, _shown_as_withdrawn(instance, asset))
        ),
    )
    return _Display(events, registered, found)


_UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def _events(instance: dg.DagsterInstance, asset: str) -> Iterator[ShownEvent]:
    for record in _records(instance.fetch_materializations, asset):
        event = record.asset_materialization
        if event is not None:
            yield ShownEvent(
                record.storage_id,
                asset,
                event.partition,
                ledger_run_of(event),
                text_of(event, DIGEST),
                text_of(event, LEDGER_ENTRY),
            )


def _records(fetch: Callable[..., dg.EventRecordsResult], asset: str) -> Iterator[dg.EventLogRecord]:
    """All events of one kind of an asset, page by page."""
    cursor, has_more = None, True
    while has_more:
        page = fetch(dg.AssetKey(asset), limit=_PAGE, cursor=cursor)
        cursor, has_more = page.cursor, page.has_more
        yield from page.records


def _mend(
    instance: dg.DagsterInstance, store: Store, models: ModelRegistry, found: Sequence[Disagreement]
) -> None:
    show_runs(instance, store, [one.run_id for one in found if one.fault is Fault.NOT_SHOWN and one.run_id])
    missing = {one.artifact_id for one in found if one.fault is Fault.BYTES_MISSING}
    for one in found:
        try:
            if (
                one.fault is Fault.VERSION_NOT_RECORDED
                and one.model is not None
                and one.artifact_id is not None
            ):
                store.ledger.record_model_version(one.artifact_id, one.model.name, one.model.version)
            if one.fault is Fault.NOT_REGISTERED and one.artifact_id not in missing:
                _register(store, models, one)
        except (CellAssetsError, OSError, pa.ArrowException) as error:
            # What cannot be mended is found again by the comparison that follows, and listed.
            _log.warning("%s could not be mended: %s", one.title, error)
    show_withdrawals(instance, store)


def _register(store: Store, models: ModelRegistry, one: Disagreement) -> None:
    (method,) = (entry.name for entry in ENTRIES if checkpoint_name(entry.name) == one.asset)
    runs = [run.id for run in store.ledger.runs_of([one.artifact_id] if one.artifact_id is not None else [])]
    register_checkpoint(store, models, method, store.ledger.provenance(runs[-1]))
