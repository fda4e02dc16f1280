"""Which experiments something happened to since an entry of the chain: for whoever looks again and again."""

from collections.abc import Iterable

import sqlalchemy as sa

from cell_assets.ledger import schema
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.records import Changes


@repeatable
def changes_since(engine: LedgerEngine, entry_id: int | None) -> Changes:
    """See `Ledger.changes_since`."""
    newest = sa.select(sa.func.coalesce(sa.func.max(schema.entry.c.id), 0))
    experiments = sa.select(schema.experiment.c.name).order_by(schema.experiment.c.id)
    with engine.read() as connection:
        # First: what is recorded meanwhile is seen twice rather than never.
        last = connection.execute(newest).scalar_one()
        if entry_id is None:
            return Changes(last, tuple(connection.execute(experiments).scalars()))
        if last == entry_id:
            return Changes(last, ())
        names = engine.texts(sorted(_names(connection, engine, _keys(connection, entry_id, last))))
        plate_of = schema.plate.c.experiment_id == schema.experiment.c.id
        touched = experiments.where(
            schema.experiment.c.name.in_(names) | sa.exists().where(plate_of, schema.plate.c.name.in_(names))
        )
        return Changes(last, tuple(connection.execute(touched).scalars()))


def _keys(connection: sa.Connection, after: int, last: int) -> dict[str, set[int]]:
    """Keys of the rows that were sealed, by table."""
    table = schema.entry.c
    found: dict[str, set[int]] = {}
    for items in connection.execute(
        sa.select(table["items"]).where(table.id > after, table.id <= last)
    ).scalars():
        for name, key, _ in items:
            if name in _NAMES:
                found.setdefault(name, set()).add(key)
    return found


def _names(connection: sa.Connection, engine: LedgerEngine, keys: dict[str, set[int]]) -> set[str]:
    """Names of experiments and plates that these rows are about."""
    names: set[str] = set()
    for table, ids in keys.items():
        wanted = schema.metadata.tables[table].c.id.in_(engine.integers(sorted(ids)))
        said: Iterable[str | None] = connection.execute(_NAMES[table].where(wanted).distinct()).scalars()
        # Of `P1|A/1/000` the plate, of `E1|P1` the experiment.
        names.update(name.partition("|")[0] for name in said if name is not None)
    return names


def _experiment_names(table: sa.Table) -> sa.Select[tuple[str]]:
    return sa.select(schema.experiment.c.name).select_from(table.join(schema.experiment))


_NAMES: dict[str, sa.Select[tuple[str]]] = {
    "run": sa.select(schema.run.c.partition),
    # Bytes let go of, or put back.
    "artifact_state": sa.select(schema.artifact.c.partition).select_from(
        schema.artifact_state.join(schema.artifact)
    ),
    "plate": sa.select(schema.plate.c.name),
    "tombstone": sa.select(sa.func.coalesce(schema.plate.c.name, schema.artifact.c.partition)).select_from(
        schema.tombstone.outerjoin(schema.plate).outerjoin(schema.artifact)
    ),
    "fov_tombstone": sa.select(schema.plate.c.name).select_from(
        schema.fov_tombstone.join(schema.fov).join(schema.plate)
    ),
    "experiment_choices": _experiment_names(schema.experiment_choices),
    "expected_plates": _experiment_names(schema.expected_plates),
    "arrival": sa.select(schema.arrival.c.experiment),
}
"""By table: the experiment, the plate, or the partition that a row is about.

Tables that are not here, such as what a scrub found, change nothing that an experiment needs.
"""
