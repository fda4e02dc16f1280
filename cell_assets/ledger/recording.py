"""Writing history: what one finished or failed attempt leaves in the ledger, each in one transaction."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from cell_assets.errors import BadInputError
from cell_assets.ledger import graph, schema
from cell_assets.ledger.chain import Recording, recording
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.eviction import evicted_among
from cell_assets.ledger.intents import close_within
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
from cell_assets.ledger.rows import ARTIFACTS, to_artifact

_RECREATION_LOCK = sa.text("SELECT pg_advisory_xact_lock(7310594461)")
"""Serialises the rare transactions that add inputs to an existing artifact: two of them could otherwise close
a cycle that neither sees."""


@repeatable
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
    with recording(engine) as history:
        close_within(history.connection, intent)
        reader = f"{output.asset} {output.partition}"
        _refuse_unknown(history, receipts, reader)
        experiment_id = _experiment_id(history, experiment)
        artifact, recreated = _artifact(history, output)
        if recreated:
            _refuse_cycle(history, artifact, input_ids)
        run_id = _append_run(history, output.asset, output.partition, run, artifact.id, None)
        _append_edges(history, run_id, input_ids)
        _refuse_gone(history, receipts, reader)
        _append_numbers(history, run_id, experiment_id, numbers)
    return Commit(artifact, run_id, recreated)


@repeatable
def record_failure(
    engine: LedgerEngine,
    asset: str,
    partition: str,
    run: RunDraft,
    error: str,
    receipts: Sequence[ReadReceipt],
) -> int:
    """Record an attempt that made nothing; returns the run's id."""
    with recording(engine) as history:
        _refuse_unknown(history, receipts, f"{asset} {partition}")
        run_id = _append_run(history, asset, partition, run, None, error.replace("\0", "") or "no message")
        _append_edges(history, run_id, _distinct(receipts))
    return run_id


def _distinct(receipts: Sequence[ReadReceipt]) -> list[int]:
    return sorted({receipt.artifact_id for receipt in receipts})


def _refuse_unknown(history: Recording, receipts: Sequence[ReadReceipt], reader: str) -> None:
    """Refuse a receipt that names no artifact of this ledger."""
    if not receipts:
        return
    table = schema.artifact.c
    found = history.execute(
        sa.select(table.id, table.asset, table.partition, table.digest).where(
            table.id.in_(history.engine.integers(_distinct(receipts)))
        )
    )
    known = {row.id: (row.asset, row.partition, row.digest) for row in found}
    for receipt in receipts:
        if known.get(receipt.artifact_id) != (receipt.asset, receipt.partition, receipt.digest):
            raise BadInputError(
                f"{reader} says it read artifact {receipt.artifact_id} "
                f"({receipt.asset} {receipt.partition} {receipt.digest[:12]}), which this ledger does not "
                "hold: read inputs through the store of the same ledger"
            )


def _refuse_gone(history: Recording, receipts: Sequence[ReadReceipt], reader: str) -> None:
    """Refuse inputs that are withdrawn or evicted. Call it when their edges are recorded.

    An edge locks its input until the transaction ends, and who withdraws or evicts an artifact waits for that lock:
    either it is seen here, or what is made here is seen by whoever withdraws or evicts.
    """
    if not receipts:
        return
    table = schema.tombstone.c
    buried = sa.select(sa.func.min(table.artifact_id)).where(
        table.artifact_id.in_(history.engine.integers(_distinct(receipts)))
    )
    first = history.execute(buried).scalar_one()
    if first is not None:
        receipt = next(one for one in receipts if one.artifact_id == first)
        raise BadInputError(
            f"{reader} was built upon {receipt.asset} {receipt.partition} (artifact {first}), which has been "
            "withdrawn: make it again from what stands"
        )
    first = evicted_among(history, _distinct(receipts))
    if first is not None:
        receipt = next(one for one in receipts if one.artifact_id == first)
        raise BadInputError(
            f"the bytes of {receipt.asset} {receipt.partition} (artifact {first}) were evicted while {reader} was "
            "made from them: make it again"
        )


def _experiment_id(history: Recording, name: str | None) -> int | None:
    if name is None:
        return None
    found = history.execute(sa.select(schema.experiment.c.id).where(schema.experiment.c.name == name))
    experiment_id = found.scalar_one_or_none()
    if experiment_id is None:
        raise BadInputError(
            f"experiment {name!r} is not in the ledger: register it before recording its numbers"
        )
    return experiment_id


def _artifact(history: Recording, output: OutputDraft) -> tuple[Artifact, bool]:
    """The output's artifact and whether the same bytes stood there before."""
    created = history.append(schema.artifact, [asdict(output)], unless=["asset", "partition", "digest"])
    if created:
        (row,) = created
        made = Artifact(**asdict(output), id=row.id, created=row.created, state=ArtifactState.PRESENT)
        return made, False
    table = schema.artifact.c
    row = history.execute(
        ARTIFACTS.where(
            table.asset == output.asset, table.partition == output.partition, table.digest == output.digest
        )
    ).one()
    if row.state == ArtifactState.TOMBSTONED:
        buried = sa.select(schema.tombstone.c.reason).where(schema.tombstone.c.artifact_id == row.id)
        raise BadInputError(
            f"{output.asset} {output.partition} came out as the very bytes of artifact {row.id}, which was "
            f"withdrawn ({history.execute(buried).scalar_one()}): change its inputs, parameters or code first"
        )
    if row.state == ArtifactState.EVICTED:
        back = {"artifact_id": row.id, "state": ArtifactState.PRESENT.value}
        history.append(schema.artifact_state, [back])
        row = history.execute(ARTIFACTS.where(table.id == row.id)).one()
    return to_artifact(row), True


def _refuse_cycle(history: Recording, artifact: Artifact, input_ids: list[int]) -> None:
    """A new artifact has no descendants, so only an artifact that is made again can close a cycle."""
    already = history.execute(
        sa.select(schema.input_edge.c.input_id)
        .join(schema.run, schema.run.c.id == schema.input_edge.c.run_id)
        .where(schema.run.c.artifact_id == artifact.id)
    ).scalars()
    added = sorted(set(input_ids) - set(already))
    if not added:
        return
    if not history.engine.is_sqlite:
        history.execute(_RECREATION_LOCK)
    if artifact.id in graph.ancestors(history.engine, history.connection, added).artifact_ids:
        raise BadInputError(
            f"{artifact.asset} {artifact.partition} (artifact {artifact.id}) cannot be made from artifacts "
            f"{added}: at least one of them was itself made from it"
        )


def _append_run(
    history: Recording,
    asset: str,
    partition: str,
    run: RunDraft,
    artifact_id: int | None,
    error: str | None,
) -> int:
    _check_diff(history, run.code.dirty_diff_digest)
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
    (row,) = history.append(schema.run, [values])
    return row.id


def _check_diff(history: Recording, digest: str | None) -> None:
    if digest is None:
        return
    blob = history.execute(sa.select(schema.blob.c.digest).where(schema.blob.c.digest == digest))
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


def _append_edges(history: Recording, run_id: int, input_ids: list[int]) -> None:
    history.append(schema.input_edge, [{"run_id": run_id, "input_id": one} for one in input_ids])


def _append_numbers(
    history: Recording, run_id: int, experiment_id: int | None, numbers: Sequence[NumberDraft]
) -> None:
    ids = {"run_id": run_id, "experiment_id": experiment_id}
    history.append(schema.number, [{**ids, **asdict(draft), **_plain(draft)} for draft in numbers])


def _plain(draft: NumberDraft) -> dict[str, float | int | None]:
    """The draft's quantities as Python's own types: psycopg2 writes NumPy scalars by their repr."""
    bounds = {"value": draft.value, "ci_low": draft.ci_low, "ci_high": draft.ci_high}
    return {"n": int(draft.n), **{name: None if one is None else float(one) for name, one in bounds.items()}}
