"""Segmentation, tracks and patch table of every FOV of a plate: one step over a range of FOVs.

Each finished FOV is committed and shown by itself, so that a FOV that fails turns red alone and stops neither
its own earlier stages nor any other FOV.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from cell_assets.assets.checks import fov_check_evaluations, fov_check_specs
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.chosen_in_launchpad import FOV_CHAIN, LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.partitions import fov_key, fovs, split_fov_key
from cell_assets.assets.planning import FovPlan, plan_plate
from cell_assets.assets.publishing import Making, Publisher
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.assets.sizing import ROOM_ADVICE, fov_cost, total_bytes
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.imaging.fov_chain import FovResult, FovTask, Stage, process_fov
from cell_assets.imaging.workers import worker_pool
from cell_assets.ledger.records import Commit, ReadReceipt
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Staged, Store

EMIT_EVERY = 16
"""FOVs whose events are written to Dagster together: one by one they took a third of a small FOV's time."""

COMMITTERS = 2
"""Threads that publish: most of a commit is waiting for the disk and the database."""

WINDOW_PER_WORKER = 4
"""FOVs handed to each worker ahead of time; more would only hold more intents open."""


@dataclass(frozen=True)
class OpenFov:
    """A FOV that a worker has in hand: the staging folders of the stages that it makes."""

    plan: FovPlan
    staged: dict[Stage, Staged]
    makings: dict[Stage, Making]
    folders: ExitStack


@dg.multi_asset(
    name=FOV_CHAIN,
    specs=[
        asset_spec(
            AssetName.SEGMENTATION,
            "fovs",
            f"Instance labels of every frame of one FOV. {LAUNCHPAD_NOTE}",
            {"zarr"},
        ),
        asset_spec(
            AssetName.TRACKS, "fovs", "Tracks and divisions of one FOV, in Ultrack's columns.", {"parquet"}
        ),
        asset_spec(
            AssetName.PATCH_TABLE,
            "fovs",
            "One row and one image patch per cell and time point of one FOV.",
            {"zarr", "parquet"},
        ),
    ],
    partitions_def=fovs,
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=fov_check_specs(),
    config_schema=config_of(FOV_CHAIN),
)
def fov_chain(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    progress: dg.ResourceParam[ProgressDisplay],
    workers: dg.ResourceParam[int],
) -> StepResults:
    """Make what is missing or stale among the requested FOVs; name the ones that failed at the end."""
    begin(context, store)
    stages = frozenset(Stage(key.to_user_string()) for key in context.selected_asset_keys)
    failed: dict[str, str] = {}
    requested = _requested(context)
    experiments = {plate: _experiment_of(store, plate) for plate in requested}
    take_choices(context, store, dict.fromkeys(experiments.values()))
    for plate, positions in requested.items():
        request = ExperimentChoices.of(store.ledger, experiments[plate]).fovs
        plans = plan_plate(store, plate, positions, request, stages)
        todo = [plan for plan in plans if plan.make]
        context.log.info(f"plate {plate}: {len(todo)} FOVs to make, {len(plans) - len(todo)} are current")
        if todo:
            _refuse_without_room(context, store, plate, todo, workers)
        publisher = Publisher(context, store)
        with Progress(context, progress, f"FOVs of {plate}", len(todo)) as bar:
            for result in _made(context, store, publisher, todo, workers):
                if result.error is not None:
                    failed[fov_key(plate, result.position)] = result.error
                bar.advance()
    done = [finished(context, store, stage.value) for stage in Stage if stage in stages]
    if failed:
        named = "; ".join(f"{key}: {error}" for key, error in sorted(failed.items()))
        counted = "1 FOV" if len(failed) == 1 else f"{len(failed)} FOVs"
        raise dg.Failure(description=f"{counted} failed: {named}", allow_retries=False)
    yield from done


def _experiment_of(store: Store, plate: str) -> str:
    record = store.ledger.plate(plate)
    assert record is not None
    return record.draft.experiment


def _refuse_without_room(
    context: dg.AssetExecutionContext, store: Store, plate: str, todo: Sequence[FovPlan], workers: int
) -> None:
    cost = fov_cost(store, todo, min(workers, len(todo)))
    context.log.info(f"plate {plate}: {cost.text()}")
    store.require_room(total_bytes([cost]), f"plate {plate}", ROOM_ADVICE)


def _requested(context: dg.AssetExecutionContext) -> dict[str, list[str]]:
    """Positions asked for, by plate.

    The cross product holds positions that a plate lacks, and a plate may have withdrawn ones: left out of a
    range, refused when asked for alone.
    """
    store: Store = context.resources.store
    keys = [split_fov_key(key) for key in context.partition_keys]
    requested: dict[str, list[str]] = {}
    absent = 0
    for plate in dict.fromkeys(plate for plate, _ in keys):
        record = store.ledger.plate(plate)
        held = set(record.living_positions) if record is not None else set()
        wanted = [position for key_plate, position in keys if key_plate == plate]
        present = [position for position in wanted if position in held]
        absent += len(wanted) - len(present)
        if not present and len(keys) == 1:
            if record is not None and wanted[0] in record.withdrawn:
                reason = record.withdrawn[wanted[0]]
                raise BadInputError(f"position {wanted[0]} of plate {plate} was withdrawn: {reason}")
            raise BadInputError(f"plate {plate} has no position {wanted[0]}")
        if present:
            requested[plate] = present
    if absent:
        context.log.info(
            f"{absent} keys of the range name positions that their plate does not have, or that were "
            "withdrawn; left out"
        )
    return requested


def _made(
    context: dg.AssetExecutionContext,
    store: Store,
    publisher: Publisher,
    plans: Sequence[FovPlan],
    workers: int,
) -> Iterator[FovResult]:
    """Results in the order they finish, each already committed; events follow in groups."""
    if not plans:
        return
    unseen: list[tuple[FovResult, list[Commit]]] = []
    n_workers = min(workers, len(plans))
    waiting = list(reversed(plans))
    in_hand: dict[str, OpenFov] = {}
    running: dict[Future[FovResult], OpenFov] = {}
    committing: dict[Future[list[Commit]], FovResult] = {}
    with (
        _abandoning(in_hand),
        worker_pool(n_workers) as pool,
        ThreadPoolExecutor(COMMITTERS, "commit") as committers,
    ):
        while waiting or running or committing:
            while waiting and len(running) < n_workers * WINDOW_PER_WORKER and len(committing) <= COMMITTERS:
                opened = _open(store, waiting.pop(), context.run_id)
                in_hand[opened.plan.position] = opened
                running[pool.submit(process_fov, _task(store, opened))] = opened
            in_work: list[Future[Any]] = [*running, *committing]
            done, _ = wait(in_work, return_when=FIRST_COMPLETED)
            for worked in [future for future in running if future in done]:
                try:
                    result = worked.result()
                except BrokenProcessPool as error:
                    unseen += [(finished, commit.result()) for commit, finished in committing.items()]
                    _emit(context, publisher, unseen)
                    raise _worker_died(running.values()) from error
                opened = running.pop(worked)
                committing[committers.submit(_commit, store, publisher, opened, result)] = result
                if result.trace is not None:
                    context.log.error(f"{opened.plan.plate} {result.position}: {result.trace}")
            for committed in [future for future in committing if future in done]:
                result = committing[committed]
                unseen.append((result, committed.result()))
                del committing[committed], in_hand[result.position]
                yield result
            if len(unseen) >= EMIT_EVERY:
                _emit(context, publisher, unseen)
        _emit(context, publisher, unseen)


def _worker_died(running: Iterable[OpenFov]) -> dg.Failure:
    keys = ", ".join(sorted(fov_key(opened.plan.plate, opened.plan.position) for opened in running))
    return dg.Failure(
        description=f"a worker process was killed, perhaps for want of memory, while {keys} were in hand: run "
        "again, with fewer CELL_ASSETS_WORKERS if memory is short",
        allow_retries=False,
    )


@contextmanager
def _abandoning(in_hand: Mapping[str, OpenFov]) -> Iterator[None]:
    """Give up what is in hand when the step ends early, so that no intent stays open."""
    try:
        yield
    finally:
        for opened in in_hand.values():
            opened.folders.close()


def _open(store: Store, plan: FovPlan, run_id: str) -> OpenFov:
    folders = ExitStack()
    staged, makings = {}, {}
    for stage in plan.make:
        key = fov_key(plan.plate, plan.position)
        staged[stage] = folders.enter_context(store.write(stage.value, key))
        makings[stage] = Making(
            RECIPES[stage.value], key, plan.parameters.recorded(stage), plan.experiment, dagster_run_id=run_id
        )
    return OpenFov(plan, staged, makings, folders)


def _task(store: Store, opened: OpenFov) -> FovTask:
    plan = opened.plan
    made = {stage: _folder(store, plan.receipts[stage]) for stage in plan.made}
    return FovTask(
        acquisition=plan.acquisition,
        raw=plan.raw,
        position=plan.position,
        make={stage: staged.path for stage, staged in opened.staged.items()},
        made=made,
        parameters=plan.parameters,
        corrections=None if plan.corrections is None else plan.corrections.folder,
    )


def _folder(store: Store, made: ReadReceipt) -> Path:
    """Where a stage that is current lies on this machine; a lost one is said by the position's worker."""
    artifact = store.ledger.artifact(made.artifact_id)
    try:
        return store.fetch(artifact)
    except NotFoundError:
        return store.path_of(artifact)


def _commit(store: Store, publisher: Publisher, opened: OpenFov, result: FovResult) -> list[Commit]:
    """Publish the stages that a worker finished, in order; record the one that failed."""
    receipts: dict[Stage, ReadReceipt] = dict(opened.plan.receipts)
    commits = []
    with opened.folders:
        for stage in Stage:
            if stage not in opened.staged:
                continue
            inputs = opened.plan.inputs_of(stage, receipts)
            if stage in result.finished:
                done = result.finished[stage]
                # The worker's own time: a position waits for its turn after its folders are opened.
                making = replace(
                    opened.makings[stage], started=datetime.now(UTC) - timedelta(seconds=done.seconds)
                )
                commit = publisher.commit(opened.staged[stage], making, inputs, done.numbers)
                receipts[stage] = store.receipt(commit.artifact)
                commits.append(commit)
            else:
                assert result.error is not None
                publisher.record_failure(opened.makings[stage], result.error, inputs)
                break
    return commits


def _emit(
    context: dg.AssetExecutionContext, publisher: Publisher, unseen: list[tuple[FovResult, list[Commit]]]
) -> None:
    """Show the waiting commits, stage by stage, so that each event can point at the one before it."""
    for stage in Stage:
        publisher.emit([c for _, commits in unseen for c in commits if c.artifact.asset == stage.value])
    for result, commits in unseen:
        for evaluation in fov_check_evaluations(result, commits):
            context.log_event(evaluation)
    unseen.clear()
