"""A part of the ledger as a ledger of its own: what some artifacts rest on, in one SQLite file.

Every row keeps its id and every entry of the chain is taken whole, so that an extract can be held against what
was sealed when it was recorded. `extract_check.py` does so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa

from cell_assets.errors import CellAssetsError
from cell_assets.ledger import schema
from cell_assets.ledger.chain import GENESIS, SEALED_TABLES, Key, items_of
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.migrations.upgrade import upgrade

_AT_ONCE = 500


@dataclass(frozen=True)
class ChainHead:
    """The newest entry of a ledger at one moment."""

    entry: int
    digest: str


@repeatable
def write_extract(engine: LedgerEngine, artifact_ids: Sequence[int], path: Path) -> ChainHead:
    """Write what is recorded of these artifacts into the new SQLite file `path`; returns the ledger's head.

    Taken are the artifacts, every attempt at their assets' partitions with what it states and what it made, the
    plates that their partitions name, how these arrived, and everything that was remarked of any of these since.
    What an attempt read is taken whole, or left out where it read something that is not in the extract.

    Reads one snapshot. The same rows give the same bytes. Memory grows linearly with the rows taken; time with
    them and with the ledger's entries of transactions that recorded no run, all of which are looked at. Raises
    CellAssetsError when a row that is taken is sealed by no entry.
    """
    # A folder for each attempt: one that lost the ledger may have filled its file before it did.
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        target = LedgerEngine(f"sqlite:///{Path(folder) / 'work.sqlite'}")
        try:
            upgrade(target)
            head = _copy_rows(engine, target, artifact_ids)
            _compact(target, path)
        finally:
            target.close()
    return head


def _copy_rows(engine: LedgerEngine, target: LedgerEngine, artifact_ids: Sequence[int]) -> ChainHead:
    """Copy the rows and the entries that seal them from one snapshot; returns its head."""
    with engine.snapshot() as source, target.write() as transaction:
        sink = transaction.connection
        head = chain_head(source)
        unsealed: dict[str, set[Key]] = {}
        where = _selection(engine, source, artifact_ids)
        for table in SEALED_TABLES:
            rows = source.execute(sa.select(table).where(where[table.name])).all()
            unsealed[table.name] = {key for _, key, _ in items_of(table, rows)}
            if rows:
                sink.execute(sa.insert(table), [dict(row._mapping) for row in rows])
        for entries in _sealing(engine, source, where["run"], unsealed):
            sink.execute(sa.insert(schema.entry), [dict(row._mapping) for row in entries])
    for name, keys in unsealed.items():
        if keys:
            raise CellAssetsError(
                f"{name} {min(keys)} in the ledger is sealed by no entry, so it proves nothing: "
                "`cell-assets verify` says what else was edited"
            )
    return head


def chain_head(source: sa.Connection) -> ChainHead:
    """The newest entry that a connection sees."""
    table = schema.entry.c
    newest = sa.select(table.id, table.digest).order_by(table.id.desc()).limit(1)
    row = source.execute(newest).one_or_none()
    return ChainHead(0, GENESIS) if row is None else ChainHead(row.id, row.digest)


def _selection(
    engine: LedgerEngine, source: sa.Connection, artifact_ids: Sequence[int]
) -> Mapping[str, sa.ColumnElement[bool]]:
    """By sealed table, which of its rows to take."""
    artifact, run, edge, number, plate = (
        table.c for table in (schema.artifact, schema.run, schema.input_edge, schema.number, schema.plate)
    )

    def ids(query: sa.Select[Any]) -> sa.Select[tuple[int]]:
        found = source.execute(query.distinct()).scalars()
        return engine.integers(sorted(one for one in found if one is not None))

    asked = artifact.id.in_(engine.integers(sorted(artifact_ids)))
    partitions = source.execute(sa.select(artifact.partition).where(asked).distinct()).scalars()
    names = sorted({part for partition in partitions for part in partition.split("|")})
    same = sa.and_(artifact.asset == run.asset, artifact.partition == run.partition)
    runs = ids(sa.select(run.id).join(schema.artifact, same).where(asked))
    # What superseded an artifact is named by the run that made it.
    made = sa.select(run.artifact_id).where(run.id.in_(runs))
    artifacts = ids(sa.union(sa.select(artifact.id).where(asked), made).subquery().select())
    outside = edge.run_id.in_(runs) & edge.input_id.not_in(artifacts)
    reads_outside = ids(sa.select(edge.run_id).where(outside))
    plates = ids(sa.select(plate.id).where(plate.name.in_(engine.texts(names))))
    experiments = ids(
        sa.union(
            sa.select(plate.experiment_id).where(plate.id.in_(plates)),
            sa.select(number.experiment_id).where(number.run_id.in_(runs)),
        )
        .subquery()
        .select()
    )
    conditions = ids(sa.select(schema.well.c.condition_id).where(schema.well.c.plate_id.in_(plates)))
    arrivals = ids(sa.select(schema.arrival.c.id).where(schema.arrival.c.plate.in_(engine.texts(names))))
    fovs = ids(sa.select(schema.fov.c.id).where(schema.fov.c.plate_id.in_(plates)))
    made_by = sa.select(run.dirty_diff_digest).where(run.id.in_(runs))
    made_in = sa.select(run.environment_digest).where(run.id.in_(runs))
    return {
        "experiment": schema.experiment.c.id.in_(experiments),
        "plate": plate.id.in_(plates),
        "condition": schema.condition.c.id.in_(conditions),
        "well": schema.well.c.plate_id.in_(plates),
        "fov": schema.fov.c.plate_id.in_(plates),
        "annotation_set": schema.annotation_set.c.plate_id.in_(plates),
        "experiment_choices": schema.experiment_choices.c.experiment_id.in_(experiments),
        "expected_plates": schema.expected_plates.c.experiment_id.in_(experiments),
        "arrival": schema.arrival.c.id.in_(arrivals),
        "arrival_release": schema.arrival_release.c.arrival_id.in_(arrivals),
        "artifact": artifact.id.in_(artifacts),
        "artifact_state": schema.artifact_state.c.artifact_id.in_(artifacts),
        "tombstone": schema.tombstone.c.artifact_id.in_(artifacts) | schema.tombstone.c.plate_id.in_(plates),
        "fov_tombstone": schema.fov_tombstone.c.fov_id.in_(fovs),
        "model_version": schema.model_version.c.artifact_id.in_(artifacts),
        "verification": schema.verification.c.artifact_id.in_(artifacts),
        "blob": schema.blob.c.digest.in_(made_by) | schema.blob.c.digest.in_(made_in),
        "run": run.id.in_(runs),
        "input_edge": edge.run_id.in_(runs) & edge.run_id.not_in(reads_outside),
        "announcement": schema.announcement.c.run_id.in_(runs),
        "number": number.run_id.in_(runs),
    }


def _sealing(
    engine: LedgerEngine,
    source: sa.Connection,
    of_runs: sa.ColumnElement[bool],
    unsealed: dict[str, set[Key]],
) -> Iterator[Sequence[sa.Row[Any]]]:
    """The entries that seal rows of `unsealed`, oldest first within a kind; takes out of it what they seal."""
    entry = schema.entry.c
    runs = sa.select(schema.run.c.id).where(of_runs)
    for kind in (entry.run_id.in_(runs), entry.run_id.is_(None)):
        last = 0
        while True:
            query = sa.select(schema.entry).where(kind, entry.id > last).order_by(entry.id).limit(_AT_ONCE)
            entries = source.execute(query).all()
            if not entries:
                break
            last = entries[-1].id
            wanted = [one for one in entries if _seals_any(one, unsealed)]
            if wanted:
                yield wanted


def _seals_any(entry: sa.Row[Any], unsealed: dict[str, set[Key]]) -> bool:
    seals = False
    for table, key, _ in entry.items:
        if key in unsealed.get(table, ()):
            unsealed[table].discard(key)
            seals = True
    return seals


def _compact(target: LedgerEngine, path: Path) -> None:
    """Copy the database into one file that depends on its rows alone, without journal and free pages."""
    with target.read() as connection:
        connection.commit()
        connection.connection.driver_connection.execute("VACUUM INTO ?", (str(path),))  # type: ignore[union-attr]
