"""The lab's objects: experiments and the plates, wells, positions, conditions and annotations they hold."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger import schema
from cell_assets.ledger.chain import Recording, recording
from cell_assets.ledger.engine import LedgerEngine, repeatable
from cell_assets.ledger.names import check_name, check_position, check_well
from cell_assets.ledger.recording import checked_json
from cell_assets.ledger.records import AnnotationSet, JsonValue, Plate, PlateDraft, WellDraft
from cell_assets.ledger.rows import record_of


@repeatable
def register_experiment(engine: LedgerEngine, name: str) -> None:
    """Add an experiment; does nothing when it is there."""
    check_name("experiment", name)
    with recording(engine) as history:
        experiment_id_of(history, name)


@repeatable
def experiments(engine: LedgerEngine) -> tuple[str, ...]:
    """Names of all experiments, oldest first."""
    with engine.read() as connection:
        names = connection.execute(sa.select(schema.experiment.c.name).order_by(schema.experiment.c.id))
        return tuple(names.scalars())


@repeatable
def register_plate(engine: LedgerEngine, draft: PlateDraft) -> Plate:
    """Add a plate with its wells and positions; see `Ledger.register_plate`."""
    _check_draft(draft)
    options = checked_json(draft.ingest_options, f"ingest options of plate {draft.name}")
    with recording(engine) as history:
        row = {
            "experiment_id": experiment_id_of(history, draft.experiment),
            "name": draft.name,
            "source_uri": draft.source_uri,
            "source_format": draft.source_format,
            "ingest_options": options,
        }
        for registered in history.append(schema.plate, [row], unless=["name"]):
            _append_wells_and_fovs(history, registered.id, draft)
        (plate,) = _plates(history.connection, schema.plate.c.name == draft.name)
    _refuse_other_content(plate.draft, draft)
    return plate


@repeatable
def plates(engine: LedgerEngine, experiment: str | None) -> tuple[Plate, ...]:
    """All plates, or those of one experiment, oldest first; three queries however many there are."""
    condition = sa.true() if experiment is None else schema.experiment.c.name == experiment
    with engine.read() as connection:
        return _plates(connection, condition)


@repeatable
def plate(engine: LedgerEngine, name: str) -> Plate | None:
    """One plate by name; None when it is not registered."""
    with engine.read() as connection:
        found = _plates(connection, schema.plate.c.name == name)
    return found[0] if found else None


@repeatable
def record_choices(engine: LedgerEngine, experiment: str, choices: Mapping[str, JsonValue]) -> None:
    """Record what was chosen for an experiment, unless it is what holds already."""
    plain = checked_json(choices, f"choices for experiment {experiment}")
    with recording(engine) as history:
        experiment_id = history.execute(
            sa.select(schema.experiment.c.id).where(schema.experiment.c.name == experiment)
        ).scalar_one_or_none()
        if experiment_id is None:
            raise NotFoundError(f"experiment {experiment!r} is not in the ledger: ingest a plate of it first")
        if _newest_choices(history.connection, experiment) != plain:
            chosen = {"experiment_id": experiment_id, "choices": plain}
            history.append(schema.experiment_choices, [chosen])


@repeatable
def choices_of(engine: LedgerEngine, experiment: str) -> Mapping[str, JsonValue]:
    """What was last chosen for an experiment; empty when nothing was."""
    with engine.read() as connection:
        return _newest_choices(connection, experiment)


def _newest_choices(connection: sa.Connection, experiment: str) -> Mapping[str, JsonValue]:
    table = schema.experiment_choices
    newest = connection.execute(
        sa.select(table.c.choices)
        .join(schema.experiment, schema.experiment.c.id == table.c.experiment_id)
        .where(schema.experiment.c.name == experiment)
        .order_by(table.c.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return {} if newest is None else newest


@repeatable
def record_annotation_set(
    engine: LedgerEngine, plate_name: str, name: str, digest: str, source_uri: str, n_rows: int
) -> AnnotationSet:
    """Record one version of a plate's labels; the same digest again returns the record that is there."""
    table = schema.annotation_set
    with recording(engine) as history:
        plate_id = history.execute(
            sa.select(schema.plate.c.id).where(schema.plate.c.name == plate_name)
        ).scalar_one_or_none()
        if plate_id is None:
            raise NotFoundError(f"plate {plate_name!r} is not in the ledger: ingest it before annotating it")
        version = {"plate_id": plate_id, "name": name, "digest": digest}
        labels = {**version, "source_uri": source_uri, "n_rows": n_rows}
        history.append(table, [labels], unless=list(version))
        key = (table.c.plate_id == plate_id, table.c.name == name, table.c.digest == digest)
        row = history.execute(sa.select(table).where(*key)).one()
    return _to_annotation_set(row, plate_name)


@repeatable
def annotation_sets(engine: LedgerEngine, plate_name: str) -> tuple[AnnotationSet, ...]:
    """Every recorded version of a plate's labels, oldest first."""
    table = schema.annotation_set
    with engine.read() as connection:
        found = connection.execute(
            sa.select(table)
            .join(schema.plate, schema.plate.c.id == table.c.plate_id)
            .where(schema.plate.c.name == plate_name)
            .order_by(table.c.id)
        )
        return tuple(_to_annotation_set(row, plate_name) for row in found)


def _to_annotation_set(row: sa.Row[Any], plate_name: str) -> AnnotationSet:
    return record_of(AnnotationSet, row, plate=plate_name)


def experiment_id_of(history: Recording, name: str) -> int:
    """Key of an experiment, which is added when it is not there."""
    table = schema.experiment
    history.append(table, [{"name": name}], unless=["name"])
    return history.execute(sa.select(table.c.id).where(table.c.name == name)).scalar_one()


def _check_draft(draft: PlateDraft) -> None:
    check_name("experiment", draft.experiment)
    check_name("plate", draft.name)
    wells = [check_well(draft.name, well.name) for well in draft.wells]
    positions = [check_position(draft.name, position) for position in draft.positions]
    _refuse_repeats(draft.name, "well", wells)
    _refuse_repeats(draft.name, "position", positions)
    for position in positions:
        if _well_of(position) not in wells:
            raise BadInputError(
                f"plate {draft.name}: position {position} lies in well {_well_of(position)}, "
                "which the plate does not list: list the well"
            )


def _refuse_repeats(plate_name: str, kind: str, names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise BadInputError(
            f"plate {plate_name}: {kind} {repeated[0]} is listed more than once: list it once"
        )


def _refuse_other_content(registered: PlateDraft, offered: PlateDraft) -> None:
    then, now = asdict(registered), asdict(offered)
    now["ingest_options"] = checked_json(offered.ingest_options, "ingest options")
    differing = [name for name in then if then[name] != now[name]]
    if differing:
        raise BadInputError(
            f"plate {offered.name} is registered already with other {', '.join(differing)}: a plate never "
            "changes, so give this one another name"
        )


def _well_of(position: str) -> str:
    return position.rpartition("/")[0]


def _append_wells_and_fovs(history: Recording, plate_id: int, draft: PlateDraft) -> None:
    conditions = _conditions(history, draft.wells)
    wells = [
        {"plate_id": plate_id, "name": well.name, "condition_id": conditions[_condition_digest(well)]}
        for well in draft.wells
    ]
    well_ids = {row.name: row.id for row in history.append(schema.well, wells)}
    fovs = [
        {"plate_id": plate_id, "well_id": well_ids[_well_of(position)], "name": position}
        for position in draft.positions
    ]
    history.append(schema.fov, fovs)


def _condition(well: WellDraft) -> dict[str, Any]:
    columns = asdict(well)
    del columns["name"]
    return columns


def _condition_digest(well: WellDraft) -> str:
    said = json.dumps(_condition(well), sort_keys=True, allow_nan=False)
    return hashlib.sha256(said.encode()).hexdigest()


def _conditions(history: Recording, wells: Sequence[WellDraft]) -> dict[str, int]:
    """Key of every condition among `wells`, by digest; new ones are added."""
    distinct = {_condition_digest(well): _condition(well) for well in wells}
    table = schema.condition
    # Sorted, so that two plates registered at once wait for each other's conditions in the same order.
    for digest, columns in sorted(distinct.items()):
        history.append(table, [{"digest": digest, **columns}], unless=["digest"])
    found = history.execute(
        sa.select(table.c.digest, table.c.id).where(table.c.digest.in_(history.engine.texts(list(distinct))))
    )
    return {row.digest: row.id for row in found}


def _plates(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> tuple[Plate, ...]:
    withdrawn = sa.exists().where(schema.tombstone.c.plate_id == schema.plate.c.id)
    chosen = schema.plate.join(schema.experiment, schema.experiment.c.id == schema.plate.c.experiment_id)
    rows = connection.execute(
        sa.select(
            *schema.plate.c, schema.experiment.c.name.label("experiment"), withdrawn.label("tombstoned")
        )
        .select_from(chosen)
        .where(condition)
        .order_by(schema.plate.c.id)
    ).all()
    wells: dict[int, list[WellDraft]] = {row.id: [] for row in rows}
    positions: dict[int, list[str]] = {row.id: [] for row in rows}
    withdrawn_positions: dict[int, dict[str, str]] = {row.id: {} for row in rows}
    columns = [column for column in schema.condition.c if column.name not in ("id", "digest")]
    for row in connection.execute(
        sa.select(schema.well.c.plate_id, schema.well.c.name, *columns)
        .select_from(
            chosen.join(schema.well, schema.well.c.plate_id == schema.plate.c.id).join(
                schema.condition, schema.condition.c.id == schema.well.c.condition_id
            )
        )
        .where(condition)
        .order_by(schema.well.c.id)
    ):
        wells[row.plate_id].append(record_of(WellDraft, row))
    for row in connection.execute(
        sa.select(schema.fov.c.plate_id, schema.fov.c.name, schema.fov_tombstone.c.reason)
        .select_from(
            chosen.join(schema.fov, schema.fov.c.plate_id == schema.plate.c.id).outerjoin(
                schema.fov_tombstone, schema.fov_tombstone.c.fov_id == schema.fov.c.id
            )
        )
        .where(condition)
        .order_by(schema.fov.c.id)
    ):
        positions[row.plate_id].append(row.name)
        if row.reason is not None:
            withdrawn_positions[row.plate_id][row.name] = row.reason
    return tuple(
        _to_plate(row, wells[row.id], positions[row.id], withdrawn_positions[row.id]) for row in rows
    )


def _to_plate(
    row: sa.Row[Any], wells: list[WellDraft], positions: list[str], withdrawn: dict[str, str]
) -> Plate:
    draft = record_of(PlateDraft, row, wells=tuple(wells), positions=tuple(positions))
    return record_of(Plate, row, draft=draft, withdrawn=withdrawn)
