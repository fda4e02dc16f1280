"""From database rows to the ledger's records: which columns to select, and how a row becomes a record."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from cell_assets.ledger import schema
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.records import (
    Artifact,
    ArtifactState,
    CodeIdentity,
    Number,
    NumberDraft,
    Run,
    RunOutcome,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Record = TypeVar("_Record", bound="DataclassInstance")


def _state_at(moment: datetime | None) -> sa.ColumnElement[str]:
    """The state of an artifact: withdrawn, else what its newest state row says, else present."""
    buried = schema.tombstone.c.artifact_id == schema.artifact.c.id
    of_artifact = schema.artifact_state.c.artifact_id == schema.artifact.c.id
    if moment is not None:
        buried &= schema.tombstone.c.made <= moment
        of_artifact &= schema.artifact_state.c.changed <= moment
    last = (
        sa.select(schema.artifact_state.c.state)
        .where(of_artifact)
        .order_by(schema.artifact_state.c.id.desc())
        .limit(1)
        .correlate(schema.artifact)
        .scalar_subquery()
    )
    return sa.case(
        (sa.exists().where(buried), sa.literal_column("'tombstoned'")),
        else_=sa.func.coalesce(last, sa.literal_column("'present'")),
    )


state_now = _state_at(None)


def artifacts_as_of(moment: datetime | None) -> sa.Select[Any]:
    """Every artifact with the state that it was in at `moment`; None: that it is in now."""
    return sa.select(*schema.artifact.c, _state_at(moment).label("state"))


ARTIFACTS = artifacts_as_of(None)

RUNS = sa.select(*schema.run.c, schema.announcement.c.event_storage_id).select_from(
    schema.run.outerjoin(schema.announcement, schema.announcement.c.run_id == schema.run.c.id)
)


def numbers_as_of(moment: datetime | None) -> sa.Select[Any]:
    """Every number recorded by `moment`, with what was known of it then; None: with all that is known now."""
    withdrawn = schema.tombstone.c.artifact_id == schema.run.c.artifact_id
    if moment is not None:
        withdrawn &= schema.tombstone.c.made <= moment
    query = sa.select(
        *schema.number.c,
        schema.run.c.artifact_id,
        schema.experiment.c.name.label("experiment"),
        schema.tombstone.c.reason.label("withdrawn_because"),
    ).select_from(
        schema.number.join(schema.run, schema.run.c.id == schema.number.c.run_id)
        .outerjoin(schema.experiment, schema.experiment.c.id == schema.number.c.experiment_id)
        .outerjoin(schema.tombstone, withdrawn)
    )
    return query if moment is None else query.where(schema.number.c.recorded <= moment)


NUMBERS = numbers_as_of(None)


def record_of(kind: "type[_Record]", row: sa.Row[Any], **made: Any) -> "_Record":
    """The record whose fields are the row's columns of the same names, but for those `made` from them."""
    return kind(
        **{name: getattr(row, name) for name in kind.__dataclass_fields__ if name not in made}, **made
    )


def to_artifact(row: sa.Row[Any]) -> Artifact:
    """A row of `artifacts_as_of`."""
    return record_of(Artifact, row, state=ArtifactState(row.state))


def to_run(row: sa.Row[Any]) -> Run:
    """A row of RUNS."""
    return record_of(Run, row, code=record_of(CodeIdentity, row), outcome=RunOutcome(row.outcome))


def to_number(row: sa.Row[Any]) -> Number:
    """A row of `numbers_as_of`."""
    return record_of(Number, row, draft=record_of(NumberDraft, row))


def artifacts_by_id(
    engine: LedgerEngine, connection: sa.Connection, ids: Sequence[int], as_of: datetime | None = None
) -> dict[int, Artifact]:
    """The artifacts with these ids, by id; unknown ids are left out."""
    found = connection.execute(artifacts_as_of(as_of).where(schema.artifact.c.id.in_(engine.integers(ids))))
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
