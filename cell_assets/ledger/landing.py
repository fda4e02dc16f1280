"""What lies in the landing folders: arrivals and their quarantine, and the plates that experiments wait for."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger import schema
from cell_assets.ledger.chain import recording
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.lab import experiment_id_of
from cell_assets.ledger.names import check_name
from cell_assets.ledger.records import Arrival, ArrivalDraft, ArrivalRelease, ArrivalState, ExpectedPlates
from cell_assets.ledger.rows import record_of


@repeatable
def record_arrivals(engine: LedgerEngine, drafts: Sequence[ArrivalDraft]) -> tuple[Arrival, ...]:
    """Record what was found in folders; see `Ledger.record_arrivals`."""
    folders = engine.texts(sorted({draft.folder for draft in drafts}))
    with recording(engine) as history:
        holding = {
            one.folder: one for one in _newest(history.connection, schema.arrival.c.folder.in_(folders))
        }
        rows = [
            {**asdict(draft), "state": draft.state.value}
            for draft in drafts
            if not _holds(holding.get(draft.folder), draft)
        ]
        history.append(schema.arrival, rows)
        now = {one.folder: one for one in _newest(history.connection, schema.arrival.c.folder.in_(folders))}
    return tuple(now[draft.folder] for draft in drafts)


def _holds(newest: Arrival | None, draft: ArrivalDraft) -> bool:
    if newest is None or newest.is_released:
        return False
    return all(getattr(newest, name) == value for name, value in asdict(draft).items())


@repeatable
def arrivals(engine: LedgerEngine, experiment: str | None) -> tuple[Arrival, ...]:
    """The newest word about every folder, or about those of one experiment, ordered by folder."""
    condition = sa.true() if experiment is None else schema.arrival.c.experiment == experiment
    with engine.read() as connection:
        return _newest(connection, condition)


@repeatable
def release_arrival(engine: LedgerEngine, arrival_id: int, released_by: str, why: str) -> Arrival:
    """Let a quarantined arrival be tried again; see `Ledger.release_arrival`."""
    with recording(engine) as history:
        arrival = _quarantined(history.connection, arrival_id)
        row = {"arrival_id": arrival_id, "released_by": released_by, "why": why}
        if not history.append(schema.arrival_release, [row], unless=["arrival_id"]):
            raise BadInputError(
                f"{arrival.folder} is released already: the next look at the landing folders tries it again"
            )
        return _quarantined(history.connection, arrival_id)


def _quarantined(connection: sa.Connection, arrival_id: int) -> Arrival:
    """An arrival that is the newest word about its folder, and in quarantine."""
    found = _newest(connection, schema.arrival.c.id == arrival_id)
    if not found:
        raise NotFoundError(f"arrival {arrival_id} is not the newest word about a folder in the ledger")
    if found[0].state is not ArrivalState.QUARANTINED:
        raise BadInputError(
            f"{found[0].folder} is {found[0].state}, not in quarantine, so nothing need be released"
        )
    return found[0]


def _newest(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> tuple[Arrival, ...]:
    """The newest word about each folder where that word meets the condition, ordered by folder."""
    arrival, release = schema.arrival, schema.arrival_release
    newer = sa.alias(arrival)
    superseded = sa.exists().where(newer.c.folder == arrival.c.folder, newer.c.id > arrival.c.id)
    rows = connection.execute(sa.select(arrival).where(condition, ~superseded)).all()
    released = (
        sa.select(release, arrival.c.folder)
        .join(arrival, arrival.c.id == release.c.arrival_id)
        .order_by(release.c.id)
    )
    by_folder = {row.folder: record_of(ArrivalRelease, row) for row in connection.execute(released)}
    # Sorted here, as databases order text by their own rules.
    return tuple(_to_arrival(row, by_folder) for row in sorted(rows, key=lambda row: row.folder))


def _to_arrival(row: sa.Row[Any], releases: dict[str, ArrivalRelease]) -> Arrival:
    return record_of(Arrival, row, state=ArrivalState(row.state), release=releases.get(row.folder))


@repeatable
def record_expected_plates(
    engine: LedgerEngine, experiment: str, plates: Sequence[str], closed: bool, digest: str
) -> ExpectedPlates:
    """Record which plates an experiment waits for; see `Ledger.record_expected_plates`."""
    check_name("experiment", experiment)
    for plate in plates:
        check_name("plate", plate)
    said = {"plates": list(plates), "closed": closed, "digest": digest}
    with recording(engine) as history:
        experiment_id = experiment_id_of(history, experiment)
        newest = _newest_expected(history.connection, experiment)
        if newest is None or (list(newest.plates), newest.closed, newest.digest) != tuple(said.values()):
            history.append(schema.expected_plates, [{"experiment_id": experiment_id, **said}])
        holds = _newest_expected(history.connection, experiment)
    assert holds is not None
    return holds


@repeatable
def expected_plates(engine: LedgerEngine, experiment: str) -> ExpectedPlates | None:
    """Which plates an experiment waits for; None when nobody said."""
    with engine.read() as connection:
        return _newest_expected(connection, experiment)


def _newest_expected(connection: sa.Connection, experiment: str) -> ExpectedPlates | None:
    table = schema.expected_plates
    row = connection.execute(
        sa.select(table, schema.experiment.c.name.label("experiment"))
        .join(schema.experiment, schema.experiment.c.id == table.c.experiment_id)
        .where(schema.experiment.c.name == experiment)
        .order_by(table.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else record_of(ExpectedPlates, row, plates=tuple(row.plates))
