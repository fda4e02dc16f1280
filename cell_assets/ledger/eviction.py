"""Bytes that are let go and bytes that are back, and the rule that no number loses what it rests on.

An eviction holds the artifact and all that was made from it while it looks for numbers. Whoever records something
made from one of them waits for that, and is refused when what he read was evicted meanwhile.
"""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger import graph, schema
from cell_assets.ledger.chain import Recording, recording
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.intents import close_within
from cell_assets.ledger.records import ArtifactState, Intent


@repeatable
def record_eviction(engine: LedgerEngine, artifact_id: int) -> None:
    """Record that an artifact's bytes are gone; see `Ledger.record_eviction`."""
    with recording(engine) as history:
        resting = _hold_all_made_from(history, artifact_id)
        _refuse_numbers(history, artifact_id, resting)
        if not _is_evicted(history, artifact_id):
            _append_state(history, artifact_id, ArtifactState.EVICTED)


@repeatable
def record_return(engine: LedgerEngine, intent: Intent, artifact_id: int) -> None:
    """Record that evicted bytes are back; see `Ledger.record_return`."""
    with recording(engine) as history:
        close_within(history.connection, intent)
        _hold(history, [artifact_id])
        if _is_evicted(history, artifact_id):
            _append_state(history, artifact_id, ArtifactState.PRESENT)


@repeatable
def evicted(engine: LedgerEngine) -> frozenset[int]:
    """Artifacts whose bytes were let go, withdrawn ones among them."""
    with engine.read() as connection:
        return frozenset(connection.execute(_evicted_ids()).scalars())


@repeatable
def newest_state_change(engine: LedgerEngine, artifact_ids: Sequence[int]) -> int:
    """See `Ledger.newest_state_change`."""
    table = schema.artifact_state.c
    with engine.read() as connection:
        newest = sa.select(sa.func.coalesce(sa.func.max(table.id), 0))
        among = table.artifact_id.in_(engine.integers(artifact_ids))
        return int(connection.execute(newest.where(among)).scalar_one())


def evicted_among(history: Recording, artifact_ids: Sequence[int]) -> int | None:
    """The first of these artifacts whose bytes were let go."""
    wanted = _evicted_ids().where(
        schema.artifact_state.c.artifact_id.in_(history.engine.integers(artifact_ids))
    )
    first: int | None = history.execute(
        wanted.order_by(schema.artifact_state.c.artifact_id).limit(1)
    ).scalar_one_or_none()
    return first


def _evicted_ids() -> sa.Select[tuple[int]]:
    table, later = schema.artifact_state, schema.artifact_state.alias("later")
    is_newest = ~sa.exists().where(later.c.artifact_id == table.c.artifact_id, later.c.id > table.c.id)
    return sa.select(table.c.artifact_id).where(table.c.state == ArtifactState.EVICTED.value, is_newest)


def _is_evicted(history: Recording, artifact_id: int) -> bool:
    return evicted_among(history, [artifact_id]) is not None


def _append_state(history: Recording, artifact_id: int, state: ArtifactState) -> None:
    history.append(schema.artifact_state, [{"artifact_id": artifact_id, "state": state.value}])


def _hold_all_made_from(history: Recording, artifact_id: int) -> frozenset[int]:
    """The artifact and all that was made from it, held until the transaction ends: nothing is added meanwhile."""
    held: frozenset[int] = frozenset()
    wanted = frozenset({artifact_id})
    while wanted - held:
        _hold(history, wanted - held)
        held |= wanted
        # Somebody may have added to what was not held yet.
        wanted = graph.descendants(history.engine, history.connection, [artifact_id]).artifact_ids
    return held


def _hold(history: Recording, artifact_ids: Collection[int]) -> None:
    table = schema.artifact.c
    query = sa.select(table.id).where(table.id.in_(history.engine.integers(sorted(artifact_ids))))
    unknown = set(artifact_ids) - set(history.execute(query.order_by(table.id).with_for_update()).scalars())
    if unknown:
        raise NotFoundError(f"artifact {min(unknown)} is not in the ledger")


def _refuse_numbers(history: Recording, artifact_id: int, resting: frozenset[int]) -> None:
    """Refuse while a number that was not withdrawn is stated by one of `resting`, superseded or not."""
    number, run, tombstone = schema.number.c, schema.run.c, schema.tombstone.c
    query = (
        sa.select(number.id, number.report, number.name)
        .select_from(schema.number.join(schema.run))
        .where(
            run.artifact_id.in_(history.engine.integers(sorted(resting))),
            ~sa.exists().where(tombstone.artifact_id == run.artifact_id),
        )
        .order_by(number.id)
        .limit(1)
    )
    found = history.execute(query).one_or_none()
    if found is not None:
        raise BadInputError(
            f"artifact {artifact_id} stays: number {found.id} ({found.report} {found.name}) rests on it"
        )
