"""Reading history: runs with what they made and read, artifacts, numbers."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from cell_assets.errors import NotFoundError
from cell_assets.ledger import graph, schema
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.records import (
    Artifact,
    ArtifactState,
    LineageGraph,
    Number,
    Provenance,
    Run,
    RunOutcome,
)
from cell_assets.ledger.rows import (
    ARTIFACTS,
    NUMBERS,
    RUNS,
    artifacts_by_id,
    inputs_by_run,
    numbers_as_of,
    state_now,
    to_artifact,
    to_number,
    to_run,
)

_SUCCEEDED = schema.run.c.outcome == RunOutcome.SUCCEEDED.value


@repeatable
def artifacts(
    engine: LedgerEngine,
    asset: str | None,
    state: ArtifactState | None,
    partitions: Sequence[str] | None,
    newest: int | None,
) -> tuple[Artifact, ...]:
    """Artifacts by asset, state and partition; see `Ledger.artifacts`."""
    table = schema.artifact.c
    query = ARTIFACTS
    if asset is not None:
        query = query.where(table.asset == asset)
    if partitions is not None:
        query = query.where(table.partition.in_(engine.texts(partitions)))
    if state is ArtifactState.TOMBSTONED:
        # They are few: found from the tombstones, not by asking every artifact for its state.
        query = query.where(table.id.in_(sa.select(schema.tombstone.c.artifact_id)))
    elif state is not None:
        query = query.where(state_now == state.value)
    with engine.read() as connection:
        if newest is None:
            return tuple(to_artifact(row) for row in connection.execute(query.order_by(table.id)))
        found = connection.execute(query.order_by(table.id.desc()).limit(newest)).all()
    return tuple(to_artifact(row) for row in reversed(found))


@repeatable
def artifacts_with_ids(
    engine: LedgerEngine, ids: Sequence[int], as_of: datetime | None
) -> dict[int, Artifact]:
    """The artifacts with these ids; raises NotFoundError naming the first that is unknown."""
    with engine.read() as connection:
        found = artifacts_by_id(engine, connection, ids, as_of)
    for artifact_id in ids:
        if artifact_id not in found:
            raise NotFoundError(f"artifact {artifact_id} is not in the ledger")
    return found


@repeatable
def find(engine: LedgerEngine, asset: str, partition: str, digest: str) -> Artifact | None:
    """The artifact of this asset's partition with exactly these bytes, if there is one."""
    table = schema.artifact.c
    query = ARTIFACTS.where(table.asset == asset, table.partition == partition, table.digest == digest)
    with engine.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else to_artifact(row)


@repeatable
def ancestors(engine: LedgerEngine, artifact_ids: Sequence[int]) -> LineageGraph:
    """What these artifacts were made from, however remotely, in one query."""
    with engine.read() as connection:
        return graph.ancestors(engine, connection, artifact_ids)


@repeatable
def descendants(engine: LedgerEngine, artifact_ids: Sequence[int]) -> LineageGraph:
    """What was made from these artifacts, however remotely, in one query."""
    with engine.read() as connection:
        return graph.descendants(engine, connection, artifact_ids)


@repeatable
def latest_many(
    engine: LedgerEngine, asset: str, partitions: Sequence[str], state: ArtifactState | None
) -> dict[str, Provenance]:
    """Newest successful run of each partition (with its artifact in `state`, if given); three queries."""
    if not partitions:
        return {}
    wanted = engine.texts(partitions).subquery()
    newest = sa.select(sa.func.max(schema.run.c.id)).where(
        schema.run.c.asset == asset, schema.run.c.partition == wanted.c.value, _SUCCEEDED
    )
    if state is not None:
        newest = newest.join(schema.artifact, schema.artifact.c.id == schema.run.c.artifact_id).where(
            state_now == state.value
        )
    # One look into the index per partition, whatever the planner believes about the table's size.
    newest_ids = sa.select(newest.correlate(wanted).scalar_subquery()).select_from(wanted)
    with engine.read() as connection:
        runs = [to_run(row) for row in connection.execute(RUNS.where(schema.run.c.id.in_(newest_ids)))]
        return {one.run.partition: one for one in _provenances(engine, connection, runs)}


@repeatable
def provenances(engine: LedgerEngine, run_ids: Sequence[int]) -> tuple[Provenance, ...]:
    """Successful runs with what they made and read, in the order given; raises NotFoundError for another."""
    query = RUNS.where(schema.run.c.id.in_(engine.integers(run_ids)), _SUCCEEDED)
    with engine.read() as connection:
        found = {row.id: to_run(row) for row in connection.execute(query)}
        for run_id in run_ids:
            if run_id not in found:
                raise NotFoundError(f"run {run_id} is not in the ledger, or it failed and made nothing")
        return _provenances(engine, connection, [found[run_id] for run_id in run_ids])


def _provenances(
    engine: LedgerEngine, connection: sa.Connection, runs: Sequence[Run]
) -> tuple[Provenance, ...]:
    inputs = inputs_by_run(engine, connection, [run.id for run in runs])
    made = {run.id: run.artifact_id for run in runs if run.artifact_id is not None}
    wanted = {*made.values(), *(one for ids in inputs.values() for one in ids)}
    known = artifacts_by_id(engine, connection, sorted(wanted))
    return tuple(
        Provenance(known[made[run.id]], run, tuple(known[one] for one in inputs.get(run.id, ())))
        for run in runs
    )


@repeatable
def runs_of(engine: LedgerEngine, artifact_ids: Sequence[int]) -> tuple[Run, ...]:
    """Every run that made one of the artifacts, oldest first."""
    query = RUNS.where(schema.run.c.artifact_id.in_(engine.integers(artifact_ids))).order_by(schema.run.c.id)
    with engine.read() as connection:
        return tuple(to_run(row) for row in connection.execute(query))


@repeatable
def run(engine: LedgerEngine, run_id: int) -> Run:
    """One attempt, successful or not; raises NotFoundError when there is no such run."""
    with engine.read() as connection:
        row = connection.execute(RUNS.where(schema.run.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"run {run_id} is not in the ledger")
    return to_run(row)


@repeatable
def other_attempts(
    engine: LedgerEngine, artifact_ids: Sequence[int], as_of: datetime | None
) -> dict[int, tuple[Run, ...]]:
    """By artifact, every run of its asset's partition that made other bytes or none, oldest first; one query."""
    made = schema.artifact.c
    query = (
        sa.select(*RUNS.selected_columns, made.id.label("beside"))
        .select_from(
            RUNS.get_final_froms()[0].join(
                schema.artifact,
                sa.and_(made.asset == schema.run.c.asset, made.partition == schema.run.c.partition),
            )
        )
        .where(
            made.id.in_(engine.integers(artifact_ids)),
            schema.run.c.artifact_id.is_distinct_from(made.id),
        )
        .order_by(schema.run.c.id)
    )
    if as_of is not None:
        query = query.where(schema.run.c.ended <= as_of)
    gathered: dict[int, list[Run]] = {}
    with engine.read() as connection:
        for row in connection.execute(query):
            gathered.setdefault(row.beside, []).append(to_run(row))
    return {artifact_id: tuple(runs) for artifact_id, runs in gathered.items()}


@repeatable
def entries_of_runs(engine: LedgerEngine, run_ids: Sequence[int]) -> dict[int, str]:
    """Digest of the entry that sealed each run."""
    table = schema.entry.c
    query = sa.select(table.run_id, table.digest).where(table.run_id.in_(engine.integers(run_ids)))
    with engine.read() as connection:
        return {row.run_id: row.digest for row in connection.execute(query)}


@repeatable
def attempts(engine: LedgerEngine, asset: str, partition: str) -> tuple[Run, ...]:
    """Every attempt at one asset's partition, successful or not, oldest first."""
    table = schema.run.c
    query = RUNS.where(table.asset == asset, table.partition == partition).order_by(table.id)
    with engine.read() as connection:
        return tuple(to_run(row) for row in connection.execute(query))


@repeatable
def durations(engine: LedgerEngine, asset: str, newest: int) -> tuple[float, ...]:
    """Seconds that the newest successful runs of an asset took, newest first."""
    table = schema.run.c
    query = (
        sa.select(table.started, table.ended)
        .where(table.asset == asset, _SUCCEEDED)
        .order_by(table.id.desc())
        .limit(newest)
    )
    with engine.read() as connection:
        return tuple((row.ended - row.started).total_seconds() for row in connection.execute(query))


@repeatable
def unannounced(engine: LedgerEngine, after: int) -> tuple[Run, ...]:
    """Successful runs later than `after` whose Dagster event is not recorded, oldest first."""
    query = RUNS.where(schema.run.c.id > after, schema.announcement.c.run_id.is_(None), _SUCCEEDED)
    with engine.read() as connection:
        return tuple(to_run(row) for row in connection.execute(query.order_by(schema.run.c.id)))


@repeatable
def newest_run_ended_before(engine: LedgerEngine, moment: datetime) -> int:
    """The newest of the runs that had ended by then; 0 where there was none. Reads from the newest run backwards."""
    table = schema.run.c
    query = sa.select(table.id).where(table.ended < moment).order_by(table.id.desc()).limit(1)
    with engine.read() as connection:
        return connection.execute(query).scalar_one_or_none() or 0


@repeatable
def numbers(
    engine: LedgerEngine,
    experiment: str | None,
    report: str | None,
    superseded: bool,
    as_of: datetime | None,
) -> tuple[Number, ...]:
    """Numbers by experiment and report; see `Ledger.numbers`."""
    query = numbers_as_of(as_of)
    if experiment is not None:
        query = query.where(schema.experiment.c.name == experiment)
    if report is not None:
        query = query.where(schema.number.c.report == report)
    if not superseded:
        later = schema.run.alias("later")
        supersedes = [
            later.c.asset == schema.run.c.asset,
            later.c.partition == schema.run.c.partition,
            later.c.id > schema.run.c.id,
            later.c.outcome == RunOutcome.SUCCEEDED.value,
        ]
        if as_of is not None:
            supersedes.append(later.c.ended <= as_of)
        query = query.where(~sa.exists().where(*supersedes))
    table = schema.number.c
    with engine.read() as connection:
        found = connection.execute(
            query.order_by(schema.experiment.c.name, table.report, table.name, table.split, table.id)
        )
        return tuple(to_number(row) for row in found)


@repeatable
def numbers_of_runs(engine: LedgerEngine, run_ids: Sequence[int]) -> tuple[Number, ...]:
    """The numbers that these runs state, in the order in which they were recorded."""
    query = NUMBERS.where(schema.number.c.run_id.in_(engine.integers(run_ids))).order_by(schema.number.c.id)
    with engine.read() as connection:
        return tuple(to_number(row) for row in connection.execute(query))


@repeatable
def number(engine: LedgerEngine, number_id: int, as_of: datetime | None) -> Number:
    """One number, as known at `as_of`; raises NotFoundError when there is, or then was, no such number."""
    query = numbers_as_of(as_of).where(schema.number.c.id == number_id)
    with engine.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None and as_of is not None:
        raise NotFoundError(f"number {number_id} was not in the ledger at {as_of.isoformat()}")
    if row is None:
        raise NotFoundError(f"number {number_id} is not in the ledger: `numbers` lists the ids that are")
    return to_number(row)
