"""What is recorded about an artifact or plate after it was made: withdrawal, version, event."""

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger import schema
from cell_assets.ledger.chain import Recording, recording
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.records import ModelVersion, Tombstone, Verification
from cell_assets.ledger.rows import record_of


@repeatable
def announce(engine: LedgerEngine, event_of_run: Mapping[int, int]) -> None:
    """Record the Dagster event that shows each run; the first one recorded stands."""
    if not event_of_run:
        return
    rows = [{"run_id": run, "event_storage_id": event} for run, event in sorted(event_of_run.items())]
    with recording(engine) as history:
        known = set(
            history.execute(
                sa.select(schema.run.c.id).where(schema.run.c.id.in_(list(event_of_run)))
            ).scalars()
        )
        unknown = sorted(set(event_of_run) - known)
        if unknown:
            raise NotFoundError(f"run {unknown[0]} is not in the ledger, so no event can show it")
        history.append(schema.announcement, rows, unless=["run_id"])


@repeatable
def withdraw(
    engine: LedgerEngine,
    artifacts: Mapping[int, str],
    plate: str | None,
    positions: Sequence[str],
    reason: str,
) -> None:
    """Withdraw artifacts, each for its own reason, and a plate or FOVs of it; the first reason given stands."""
    with recording(engine) as history:
        _hold(history, artifacts)
        rows = [{"artifact_id": one, "reason": why} for one, why in sorted(artifacts.items())]
        history.append(schema.tombstone, rows, ["artifact_id"])
        if plate is None:
            return
        plate_id = _plate_id(history, plate)
        if not positions:
            history.append(schema.tombstone, [{"plate_id": plate_id, "reason": reason}], ["plate_id"])
        else:
            fovs = [
                {"fov_id": one, "reason": reason} for one in _fov_ids(history, plate, plate_id, positions)
            ]
            history.append(schema.fov_tombstone, fovs, ["fov_id"])


def _hold(history: Recording, artifact_ids: Collection[int]) -> None:
    """Wait for whoever is about to record something that was made from these artifacts, and keep others off."""
    table = schema.artifact.c
    query = sa.select(table.id).where(table.id.in_(history.engine.integers(sorted(artifact_ids))))
    unknown = set(artifact_ids) - set(history.execute(query.order_by(table.id).with_for_update()).scalars())
    if unknown:
        raise NotFoundError(f"artifact {min(unknown)} is not in the ledger, so it cannot be withdrawn")


def _plate_id(history: Recording, name: str) -> int:
    found = history.execute(sa.select(schema.plate.c.id).where(schema.plate.c.name == name))
    plate_id: int | None = found.scalar_one_or_none()
    if plate_id is None:
        raise NotFoundError(f"plate {name!r} is not in the ledger, so it cannot be withdrawn")
    return plate_id


def _fov_ids(history: Recording, plate: str, plate_id: int, positions: Sequence[str]) -> list[int]:
    table = schema.fov.c
    query = sa.select(table.name, table.id).where(
        table.plate_id == plate_id, table.name.in_(history.engine.texts(positions))
    )
    known = {row.name: row.id for row in history.execute(query)}
    for position in positions:
        if position not in known:
            raise NotFoundError(f"plate {plate} has no position {position}, so it cannot be withdrawn")
    return sorted(known.values())


@repeatable
def tombstones(engine: LedgerEngine) -> tuple[Tombstone, ...]:
    """Artifacts and plates that were withdrawn, oldest first."""
    table = schema.tombstone.c
    with engine.read() as connection:
        found = connection.execute(
            sa.select(schema.tombstone, schema.plate.c.name.label("plate"))
            .select_from(schema.tombstone.outerjoin(schema.plate))
            .order_by(table.id)
        )
        return tuple(record_of(Tombstone, row) for row in found)


@repeatable
def record_model_version(engine: LedgerEngine, artifact_id: int, registered_name: str, version: str) -> None:
    """Record a checkpoint's entry in the MLflow registry; the same entry again changes nothing."""
    table = schema.model_version
    with recording(engine) as history:
        _refuse_unknown(history, artifact_id)
        row = {"artifact_id": artifact_id, "registered_name": registered_name, "version": version}
        history.append(table, [row], unless=["registered_name", "version"])
        owner = history.execute(
            sa.select(table.c.artifact_id).where(
                table.c.registered_name == registered_name, table.c.version == version
            )
        ).scalar_one()
    if owner != artifact_id:
        raise BadInputError(
            f"model {registered_name} version {version} belongs to artifact {owner}, not {artifact_id}: "
            "register the checkpoint as a new version"
        )


@repeatable
def model_versions(engine: LedgerEngine, artifact_ids: Sequence[int]) -> tuple[ModelVersion, ...]:
    """Registry entries of these artifacts, oldest first."""
    table = schema.model_version.c
    query = sa.select(schema.model_version).where(table.artifact_id.in_(engine.integers(artifact_ids)))
    with engine.read() as connection:
        return tuple(record_of(ModelVersion, row) for row in connection.execute(query.order_by(table.id)))


@repeatable
def record_verifications(engine: LedgerEngine, said: Sequence[tuple[int, str, str, int]]) -> None:
    """Record what re-hashes said: artifact, verdict, why, bytes read."""
    rows = [
        {"artifact_id": artifact_id, "verdict": verdict, "why": why, "n_bytes": n_bytes}
        for artifact_id, verdict, why, n_bytes in said
    ]
    with recording(engine) as history:
        history.append(schema.verification, rows)


@repeatable
def verifications(engine: LedgerEngine, artifact_ids: Sequence[int]) -> dict[int, Verification]:
    """The newest re-hash of each artifact, by artifact; one that was never re-hashed is left out."""
    table = schema.verification.c
    newest = (
        sa.select(sa.func.max(table.id))
        .where(table.artifact_id.in_(engine.integers(artifact_ids)))
        .group_by(table.artifact_id)
    )
    with engine.read() as connection:
        found = connection.execute(sa.select(schema.verification).where(table.id.in_(newest)))
        return {row.artifact_id: record_of(Verification, row) for row in found}


@repeatable
def store_blob(engine: LedgerEngine, digest: str, content: bytes) -> None:
    """Keep content-addressed bytes; bytes that are there already are left alone."""
    with recording(engine) as history:
        history.append(schema.blob, [{"digest": digest, "content": content}], unless=["digest"])


@repeatable
def blob(engine: LedgerEngine, digest: str) -> bytes:
    """Bytes by content address; raises NotFoundError when they are not kept."""
    with engine.read() as connection:
        found = connection.execute(sa.select(schema.blob.c.content).where(schema.blob.c.digest == digest))
        content = found.scalar_one_or_none()
    if content is None:
        raise NotFoundError(f"blob {digest} is not in the ledger")
    return bytes(content)


def _refuse_unknown(history: Recording, artifact_id: int) -> None:
    known = history.execute(sa.select(schema.artifact.c.id).where(schema.artifact.c.id == artifact_id))
    if known.one_or_none() is None:
        raise NotFoundError(f"artifact {artifact_id} is not in the ledger")
