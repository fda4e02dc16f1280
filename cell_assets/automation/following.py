"""The sensor `follow_through`: what a complete experiment needs is asked for without a hand.

FOVs of a plate are asked for as soon as it has been ingested. Manifest and checkpoint, embeddings, features and report
follow, one run a stage, when every plate that `experiment.yaml` lists is there (or it says `closed`), every FOV
is current and no accepted plate is still on its way. A plate that comes later, and one that is withdrawn, make the
experiment need all of that again: new versions, beside which the old ones stay. When the last plate of an
experiment was withdrawn, nothing is asked for.

A run is asked for once for each state of what decides it (`NeededRun.state`). One that failed is asked for again
when its choices, its code or its inputs change, and when an input is made again, as a damaged plate is; meanwhile
the experiment waits and others go on. A new release of the code alone asks for nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import BaseModel, ConfigDict

from cell_assets.assets.partitions import POSITION, register_plate_keys
from cell_assets.automation.executing import RANGE_TAGS
from cell_assets.automation.stages import NeededRun, fov_runs, methods_of, runs_after_fovs
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArrivalState, ExpectedPlates, Plate
from cell_assets.store.store import Store

EVERY_S = 10
"""A tick in which nothing happened costs one query of the ledger and the opening of it."""

_LOOKING_S = 30.0
"""Dagster gives a tick 60 s; experiments that were not looked at by then come first in the next."""

_UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_PARTITION_TAGS = ("dagster/partition", *RANGE_TAGS)

WHY_TAG = "cell_assets/why"
"""Why the run was asked for."""


class FollowingCursor(BaseModel):
    """How far the ledger was read, and what must be looked at again whether or not it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: int | None = None
    waiting: tuple[str, ...] = ()
    """Experiments whose next run waits for one that is under way, that raised, or for which there was no time."""


@dataclass(frozen=True)
class Look:
    """What one experiment needs, and why it does not get further."""

    runs: tuple[NeededRun, ...] = ()
    why: str = ""
    again: bool = False
    """Look again though nothing be recorded: it waits for a run, and the end of a run is no record."""


@dg.sensor(
    name="follow_through",
    asset_selection=dg.AssetSelection.all(),
    minimum_interval_seconds=EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="FOVs, manifest, checkpoint, embeddings, features and report of every experiment with an "
    "experiment.yaml.",
)
def follow_through(context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]) -> dg.SensorResult:
    """Look at the experiments that something happened to since the last tick, and at those that wait.

    What a look at one of them costs is said at `fov_runs` and `runs_after_fovs`; plates in work cost nothing.
    """
    cursor = FollowingCursor.model_validate_json(context.cursor) if context.cursor else FollowingCursor()
    changes = store.ledger.changes_since(cursor.entry)
    experiments = tuple(dict.fromkeys((*cursor.waiting, *changes.experiments)))
    in_work = _names_in_work(context.instance) if experiments else frozenset()
    until = time.monotonic() + _LOOKING_S
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    late: list[str] = []
    said: list[str] = []
    for experiment in experiments:
        if time.monotonic() > until:
            late.append(experiment)
            continue
        try:
            found = look(context.instance, store, experiment, in_work)
        except Exception as error:
            context.log.exception(f"experiment {experiment} cannot be followed")
            found = Look(why=f"{type(error).__name__}: {error}", again=True)
        requests += [run_request(experiment, run) for run in found.runs]
        if found.again:
            waiting.append(experiment)
        if found.why:
            said.append(f"{experiment}: {found.why}")
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "; ".join(said) or "nothing happened",
        cursor=FollowingCursor(entry=changes.newest_entry, waiting=(*late, *waiting)).model_dump_json(),
    )


def look(instance: dg.DagsterInstance, store: Store, experiment: str, in_work: frozenset[str]) -> Look:
    """What one experiment needs now; nothing where nobody said which plates it expects.

    Args:
        in_work: plates and experiments whose partitions are in a queued or running run.
    """
    expected = store.ledger.expected_plates(experiment)
    plates = store.ledger.plates(experiment)
    standing = [plate for plate in plates if plate.stands]
    if expected is None:
        return Look()
    if not standing:
        return Look(why="it has no plate that stands")
    for plate in standing:
        register_plate_keys(instance, experiment, plate.draft.name, plate.draft.positions)
    busy = {experiment, *(plate.draft.name for plate in standing)} & in_work
    runs = fov_runs(store, experiment, instance.get_dynamic_partitions(POSITION), leave_out=busy)
    if busy:
        return Look(runs, f"a run of {', '.join(sorted(busy))} is under way", again=True)
    if runs:
        return Look(runs)
    if why := _why_incomplete(store.ledger, expected, plates):
        return Look(why=why)
    runs = tuple(
        run for method in methods_of(store, experiment) for run in runs_after_fovs(store, experiment, method)
    )
    return Look(runs, "" if runs else "everything is current")


def run_request(experiment: str, run: NeededRun) -> dg.RunRequest:
    """The run as Dagster is asked for it, once for each state of what decides it."""
    range_tags = (
        {} if run.partition_range is None else dict(zip(RANGE_TAGS, run.partition_range, strict=True))
    )
    return dg.RunRequest(
        run_key=f"{experiment} {run.key}",
        # A plain str: the code server sends no enum member that Dagster does not know.
        asset_selection=[dg.AssetKey(str(asset)) for asset in run.assets],
        partition_key=run.partition,
        tags={**range_tags, WHY_TAG: run.why},
    )


def _why_incomplete(ledger: Ledger, expected: ExpectedPlates, plates: Sequence[Plate]) -> str:
    """Why manifest and reports must wait; empty when they need not. Withdrawn plates are not waited for."""
    known = {plate.draft.name for plate in plates}
    missing = [plate for plate in expected.plates if plate not in known]
    if missing and not expected.closed:
        return f"{', '.join(missing)} expected"
    coming = [
        arrival.plate
        for arrival in ledger.arrivals(expected.experiment)
        if arrival.state is ArrivalState.ACCEPTED and arrival.plate is not None and arrival.plate not in known
    ]
    return f"{', '.join(coming)} accepted and not yet brought in" if coming else ""


def _names_in_work(instance: dg.DagsterInstance) -> frozenset[str]:
    """What the partition keys of all queued and running runs name, whoever launched them."""
    tags = [run.tags for run in instance.get_runs(dg.RunsFilter(statuses=list(_UNFINISHED)))]
    keys = [one[tag] for one in tags for tag in _PARTITION_TAGS if tag in one]
    return frozenset(name for key in keys for name in key.split("|"))
