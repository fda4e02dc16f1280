"""From database rows to the ledger's records: which columns to select, and how a row becomes a record."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cell_assets.ledger import schema
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.records import (
    Artifact,
    ArtifactState,
    CodeIdentity,
    Intent,
    Number,
    NumberDraft,
    Run,
    RunOutcome,
)

_LAST_STATE = (
    sa.select(schema.artifact_state.c.state)
    .where(schema.artifact_state.c.artifact_id == schema.artifact.c.id)
    .order_by(schema.artifact_state.c.id.desc())
    .limit(1)
    .correlate(schema.artifact)
    .scalar_subquery()
)

state_now: sa.ColumnElement[str] = sa.case(
    (
        sa.exists().where(schema.tombstone.c.artifact_id == schema.artifact.c.id),
        sa.literal_column("'tombstoned'"),
    ),
    else_=sa.func.coalesce(_LAST_STATE, sa.literal_column("'present'")),
)
"""The state that an artifact is in now: withdrawn, else what its newest state row says, else present."""

ARTIFACTS = sa.select(*schema.artifact.c, state_now.label("state"))

RUNS = sa.select(*schema.run.c, schema.announcement.c.event_storage_id).select_from(
    schema.run.outerjoin(schema.announcement, schema.announcement.c.run_id == schema.run.c.id)
)

NUMBERS = sa.select(
    *schema.number.c, schema.run.c.artifact_id, schema.experiment.c.name.label("experiment")
).select_from(
    schema.number.join(schema.run, schema.run.c.id == schema.number.c.run_id).outerjoin(
        schema.experiment, schema.experiment.c.id == schema.number.c.experiment_id
    )
)

INTENTS = sa.select(schema.intent)


def to_artifact(row: sa.Row[Any]) -> Artifact:
    """A row of ARTIFACTS."""
    return Artifact(
        id=row.id,
        asset=row.asset,
        partition=row.partition,
        digest=row.digest,
        digest_type=row.digest_type,
        content_digest=row.content_digest,
        n_bytes=row.n_bytes,
        n_files=row.n_files,
        uri=row.uri,
        format_name=row.format_name,
        format_version=row.format_version,
        state=ArtifactState(row.state),
        created=row.created,
    )


def to_run(row: sa.Row[Any]) -> Run:
    """A row of RUNS."""
    return Run(
        id=row.id,
        asset=row.asset,
        partition=row.partition,
        artifact_id=row.artifact_id,
        dagster_run_id=row.dagster_run_id,
        code=CodeIdentity(
            code_version=row.code_version,
            git_commit=row.git_commit,
            dirty_diff_digest=row.dirty_diff_digest,
            environment_digest=row.environment_digest,
            host=row.host,
        ),
        parameters=row.parameters,
        started=row.started,
        ended=row.ended,
        outcome=RunOutcome(row.outcome),
        error=row.error,
        event_storage_id=row.event_storage_id,
    )


def to_number(row: sa.Row[Any]) -> Number:
    """A row of NUMBERS."""
    draft = NumberDraft(
        report=row.report,
        name=row.name,
        split=row.split,
        value=row.value,
        n=row.n,
        unit=row.unit,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        why_missing=row.why_missing,
    )
    return Number(
        id=row.id,
        run_id=row.run_id,
        artifact_id=row.artifact_id,
        experiment=row.experiment,
        recorded=row.recorded,
        draft=draft,
    )


def to_intent(row: sa.Row[Any]) -> Intent:
    """A row of INTENTS."""
    return Intent(
        id=row.id,
        asset=row.asset,
        partition=row.partition,
        staging=row.staging,
        owner=row.owner,
        lease_until=row.lease_until,
    )


def artifacts_by_id(
    engine: LedgerEngine, connection: sa.Connection, ids: Sequence[int]
) -> dict[int, Artifact]:
    """The artifacts with these ids, by id; unknown ids are left out."""
    found = connection.execute(ARTIFACTS.where(schema.artifact.c.id.in_(engine.integers(ids))))
    return {row.id: to_artifact(row) for row in found}


def inputs_by_run(
    engine: LedgerEngine, connection: sa.Connection, run_ids: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """Ids of the artifacts that each run read, ascending; a run that read none is left out."""
    edge = schema.input_edge.c
    found = connection.execute(
        sa.select(edge.run_id, edge.input_id)
        .where(edge.run_id.in_(engine.integers(run_ids)))
        .order_by(edge.run_id, edge.input_id)
    )
    gathered: dict[int, list[int]] = {}
    for row in found:
        gathered.setdefault(row.run_id, []).append(row.input_id)
    return {run_id: tuple(ids) for run_id, ids in gathered.items()}
