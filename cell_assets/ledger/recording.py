"""Writing history: what one finished or failed attempt leaves in the ledger, each in one transaction."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.ledger import graph, schema
from cell_assets.ledger.column_types import DatabaseNow
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.records import (
    Artifact,
    ArtifactState,
    Commit,
    Intent,
    JsonValue,
    NumberDraft,
    OutputDraft,
    ReadReceipt,
    RunDraft,
    RunOutcome,
)
from cell_assets.ledger.rows import ARTIFACTS, state_now, to_artifact

_RECREATION_LOCK = sa.text("SELECT pg_advisory_xact_lock(7310594461)")
"""Serialises the rare transactions that add inputs to an existing artifact: two of them could otherwise close
a cycle that neither sees."""


def commit(
    engine: LedgerEngine,
    intent: Intent,
    run: RunDraft,
    output: OutputDraft,
    receipts: Sequence[ReadReceipt],
    numbers: Sequence[NumberDraft],
    experiment: str | None,
) -> Commit:
    """Record one finished output; see `Ledger.commit`."""
    if (intent.asset, intent.partition) != (output.asset, output.partition):
        raise ValueError(
            f"intent {intent.id} is for {intent.asset} {intent.partition}, "
            f"but the output is {output.asset} {output.partition}"
        )
    input_ids = _distinct(receipts)
    with engine.write() as connection:
        _close(connection, intent)
        _check_receipts(
            engine, connection, receipts, f"{output.asset} {output.partition}", withdrawn_too=False
        )
        experiment_id = _experiment_id(connection, experiment)
        artifact, recreated = _artifact(engine, connection, output)
        if recreated:
            _refuse_cycle(engine, connection, artifact, input_ids)
        run_id = _insert_run(connection, output.asset, output.partition, run, artifact.id, None)
        _insert_edges(connection, run_id, input_ids)
        _insert_numbers(connection, run_id, experiment_id, numbers)
    return Commit(artifact, run_id, recreated)


def record_failure(
    engine: LedgerEngine,
    asset: str,
    partition: str,
    run: RunDraft,
    error: str,
    receipts: Sequence[ReadReceipt],
) -> int:
    """Record an attempt that made nothing; returns the run's id."""
    with engine.write() as connection:
        _check_receipts(engine, connection, receipts, f"{asset} {partition}", withdrawn_too=True)
        run_id = _insert_run(connection, asset, partition, run, None, error.replace("\0", "") or "no message")
        _insert_edges(connection, run_id, _distinct(receipts))
    return run_id


def _close(connection: sa.Connection, intent: Intent) -> None:
    closed = connection.execute(
        sa.update(schema.intent)
        .where(schema.intent.c.id == intent.id, schema.intent.c.closed.is_(None))
        .values(closed=DatabaseNow())
    )
    if closed.rowcount != 1:
        raise CellAssetsError(
            f"{intent.asset} {intent.partition} cannot be recorded: its intent {intent.id} is closed, "
            "so its lease ended and the sweep took its place; make it again"
        )


def _distinct(receipts: Sequence[ReadReceipt]) -> list[int]:
    return sorted({receipt.artifact_id for receipt in receipts})


def _check_receipts(
    engine: LedgerEngine,
    connection: sa.Connection,
    receipts: Sequence[ReadReceipt],
    reader: str,
    withdrawn_too: bool,
) -> None:
    """Refuse a receipt that names no artifact of this ledger or, unless `withdrawn_too`, a withdrawn one."""
    if not receipts:
        return
    table = schema.artifact.c
    found = connection.execute(
        sa.select(table.id, table.asset, table.partition, table.digest, state_now.label("state")).where(
            table.id.in_(engine.integers(_distinct(receipts)))
        )
    )
    known = {row.id: row for row in found}
    for receipt in receipts:
        row = known.get(receipt.artifact_id)
        if row is None or (row.asset, row.partition, row.digest) != (
            receipt.asset,
            receipt.partition,
            receipt.digest,
        ):
            raise BadInputError(
                f"{reader} says it read artifact {receipt.artifact_id} "
                f"({receipt.asset} {receipt.partition} {receipt.digest[:12]}), which this ledger does not "
                "hold: read inputs through the store of the same ledger"
            )
        if row.state == ArtifactState.TOMBSTONED and not withdrawn_too:
            raise BadInputError(
                f"{reader} was built upon {receipt.asset} {receipt.partition} "
                f"(artifact {receipt.artifact_id}), which has been withdrawn: make it again from what stands"
            )


def _experiment_id(connection: sa.Connection, name: str | None) -> int | None:
    if name is None:
        return None
    found = connection.execute(sa.select(schema.experiment.c.id).where(schema.experiment.c.name == name))
    experiment_id = found.scalar_one_or_none()
    if experiment_id is None:
        raise BadInputError(
            f"experiment {name!r} is not in the ledger: register it before recording its numbers"
        )
    return experiment_id


def _artifact(engine: LedgerEngine, connection: sa.Connection, output: OutputDraft) -> tuple[Artifact, bool]:
    """The output's artifact and whether the same bytes stood there before."""
    key = ["asset", "partition", "digest"]
    created = connection.execute(
        engine.insert(schema.artifact)
        .values(**asdict(output))
        .on_conflict_do_nothing(index_elements=key)
        .returning(schema.artifact.c.id, schema.artifact.c.created)
    ).one_or_none()
    if created is not None:
        made = Artifact(**asdict(output), id=created.id, created=created.created, state=ArtifactState.PRESENT)
        return made, False
    table = schema.artifact.c
    row = connection.execute(
        ARTIFACTS.where(
            table.asset == output.asset, table.partition == output.partition, table.digest == output.digest
        )
    ).one()
    if row.state == ArtifactState.EVICTED:
        connection.execute(
            sa.insert(schema.artifact_state).values(artifact_id=row.id, state=ArtifactState.PRESENT.value)
        )
        row = connection.execute(ARTIFACTS.where(table.id == row.id)).one()
    return to_artifact(row), True


def _refuse_cycle(
    engine: LedgerEngine, connection: sa.Connection, artifact: Artifact, input_ids: list[int]
) -> None:
    """A new artifact has no descendants, so only an artifact that is made again can close a cycle."""
    already = connection.execute(
        sa.select(schema.input_edge.c.input_id)
        .join(schema.run, schema.run.c.id == schema.input_edge.c.run_id)
        .where(schema.run.c.artifact_id == artifact.id)
    ).scalars()
    added = sorted(set(input_ids) - set(already))
    if not added:
        return
    if not engine.is_sqlite:
        connection.execute(_RECREATION_LOCK)
    if artifact.id in graph.ancestors(engine, connection, added).artifact_ids:
        raise BadInputError(
            f"{artifact.asset} {artifact.partition} (artifact {artifact.id}) cannot be made from artifacts "
            f"{added}: at least one of them was itself made from it"
        )


def _insert_run(
    connection: sa.Connection,
    asset: str,
    partition: str,
    run: RunDraft,
    artifact_id: int | None,
    error: str | None,
) -> int:
    _check_diff(connection, run.code.dirty_diff_digest)
    outcome = RunOutcome.SUCCEEDED if error is None else RunOutcome.FAILED
    values: dict[str, Any] = {
        **asdict(run.code),
        "asset": asset,
        "partition": partition,
        "artifact_id": artifact_id,
        "dagster_run_id": run.dagster_run_id,
        "parameters": checked_json(run.parameters, f"parameters of {asset} {partition}"),
        "started": run.started,
        "outcome": outcome.value,
        "error": error,
    }
    return connection.execute(sa.insert(schema.run).values(**values).returning(schema.run.c.id)).scalar_one()


def _check_diff(connection: sa.Connection, digest: str | None) -> None:
    if digest is None:
        return
    blob = connection.execute(sa.select(schema.blob.c.digest).where(schema.blob.c.digest == digest))
    if blob.scalar_one_or_none() is None:
        raise BadInputError(f"the uncommitted diff {digest} is not in the ledger: store it as a blob first")


def checked_json(value: JsonValue | Any, what: str) -> Any:
    """`value` as plain JSON data; raises BadInputError when it holds something that JSON cannot say."""
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise BadInputError(
                f"{what} hold {value}, which JSON cannot say: give a finite number or leave it out"
            )
        return float(value)
    if isinstance(value, list | tuple):
        return [checked_json(item, what) for item in value]
    if hasattr(value, "items"):
        return {str(key): checked_json(item, what) for key, item in value.items()}
    raise BadInputError(f"{what} hold {value!r} of type {type(value).__name__}, which JSON cannot say")


def _insert_edges(connection: sa.Connection, run_id: int, input_ids: list[int]) -> None:
    if input_ids:
        rows = [{"run_id": run_id, "input_id": input_id} for input_id in input_ids]
        connection.execute(sa.insert(schema.input_edge), rows)


def _insert_numbers(
    connection: sa.Connection, run_id: int, experiment_id: int | None, numbers: Sequence[NumberDraft]
) -> None:
    if numbers:
        rows = [
            {"run_id": run_id, "experiment_id": experiment_id, **asdict(draft), **_plain(draft)}
            for draft in numbers
        ]
        connection.execute(sa.insert(schema.number), rows)


def _plain(draft: NumberDraft) -> dict[str, float | int | None]:
    """The draft's quantities as Python's own types: psycopg2 writes NumPy scalars by their repr."""
    bounds = {"value": draft.value, "ci_low": draft.ci_low, "ci_high": draft.ci_high}
    return {"n": int(draft.n), **{name: None if one is None else float(one) for name, one in bounds.items()}}
