"""Tables of the ledger. History tables are append-only: rows are superseded by newer rows, never edited."""

from datetime import datetime

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from cell_assets.ledger.column_types import BigId, DatabaseNow, UtcTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key() -> Column[int]:
    return Column("id", BigId, Identity(), primary_key=True)


def _refers(name: str, target: str, nullable: bool = False) -> Column[int]:
    return Column(name, BigId, ForeignKey(target), nullable=nullable)


def _key_of(name: str, target: str) -> Column[int]:
    """A key, or part of one, that is the key of another table's row."""
    return Column(name, BigId, ForeignKey(target), primary_key=True, autoincrement=False)


def _texts(*names: str, nullable: bool = False) -> list[Column[str]]:
    return [Column(name, Text, nullable=nullable) for name in names]


def _moment(name: str) -> Column[datetime]:
    """When the row was added, by the database's clock."""
    return Column(name, UtcTime, nullable=False, server_default=DatabaseNow())


experiment = Table(
    "experiment",
    metadata,
    _key(),
    Column("name", Text, nullable=False, unique=True),
    _moment("registered"),
)

plate = Table(
    "plate",
    metadata,
    _key(),
    _refers("experiment_id", "experiment.id"),
    Column("name", Text, nullable=False, unique=True),
    *_texts("source_uri", "source_format"),
    Column("ingest_options", JSON, nullable=False),
    _moment("registered"),
    Index(None, "experiment_id"),
)

condition = Table(
    "condition",
    metadata,
    _key(),
    Column("digest", Text, nullable=False, unique=True),
    *_texts("perturbation_type", "perturbation", nullable=True),
    Column("dose", Float(53)),
    *_texts("dose_unit", "moa", nullable=True),
    Column("is_control", Boolean),
)
"""What was done to a well. `digest` is over the other columns, because NULLs escape a UNIQUE constraint."""

well = Table(
    "well",
    metadata,
    _key(),
    _refers("plate_id", "plate.id"),
    Column("name", Text, nullable=False),
    _refers("condition_id", "condition.id"),
    UniqueConstraint("plate_id", "name"),
    Index(None, "condition_id"),
)

fov = Table(
    "fov",
    metadata,
    _key(),
    _refers("plate_id", "plate.id"),
    _refers("well_id", "well.id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("plate_id", "name"),
    Index(None, "well_id"),
)

artifact = Table(
    "artifact",
    metadata,
    _key(),
    *_texts("asset", "partition", "digest", "digest_type"),
    Column("content_digest", Text),
    Column("n_bytes", BigId, nullable=False),
    Column("n_files", BigId, nullable=False),
    *_texts("uri", "format_name", "format_version"),
    _moment("created"),
    UniqueConstraint("asset", "partition", "digest"),
    Index(None, "digest"),
)

artifact_state = Table(
    "artifact_state",
    metadata,
    _key(),
    _refers("artifact_id", "artifact.id"),
    Column("state", Text, nullable=False),
    _moment("changed"),
    CheckConstraint("state IN ('present', 'evicted')", name="state"),
    Index(None, "artifact_id"),
)
"""Bytes gone (`evicted`) or back (`present`); an artifact without a row here is present."""

tombstone = Table(
    "tombstone",
    metadata,
    _key(),
    _refers("artifact_id", "artifact.id", nullable=True),
    _refers("plate_id", "plate.id", nullable=True),
    Column("reason", Text, nullable=False),
    _moment("made"),
    CheckConstraint("(artifact_id IS NULL) <> (plate_id IS NULL)", name="one_target"),
    UniqueConstraint("artifact_id"),
    UniqueConstraint("plate_id"),
)

fov_tombstone = Table(
    "fov_tombstone",
    metadata,
    _key(),
    _refers("fov_id", "fov.id"),
    Column("reason", Text, nullable=False),
    _moment("made"),
    UniqueConstraint("fov_id"),
)
"""FOVs that are left out from now on, whatever was made of them before."""

blob = Table(
    "blob",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    _moment("stored"),
)
"""Small content-addressed bytes, such as the diff of an uncommitted working tree."""

run = Table(
    "run",
    metadata,
    _key(),
    *_texts("asset", "partition"),
    _refers("artifact_id", "artifact.id", nullable=True),
    Column("dagster_run_id", Text),
    Column("code_version", Text, nullable=False),
    Column("git_commit", Text),
    Column("dirty_diff_digest", Text, ForeignKey("blob.digest")),
    *_texts("environment_digest", "host"),
    Column("parameters", JSON, nullable=False),
    Column("started", UtcTime, nullable=False),
    _moment("ended"),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    CheckConstraint("outcome IN ('succeeded', 'failed')", name="outcome"),
    CheckConstraint("(outcome = 'succeeded') = (artifact_id IS NOT NULL)", name="made_something"),
    CheckConstraint("(outcome = 'failed') = (error IS NOT NULL)", name="error_given"),
    Index(None, "asset", "partition", "id"),
    Index(None, "artifact_id"),
)

input_edge = Table(
    "input_edge",
    metadata,
    _key_of("run_id", "run.id"),
    _key_of("input_id", "artifact.id"),
    Index(None, "input_id"),
)

announcement = Table(
    "announcement",
    metadata,
    _key_of("run_id", "run.id"),
    Column("event_storage_id", BigId, nullable=False),
    _moment("announced"),
)
"""The Dagster event that shows a run."""

number = Table(
    "number",
    metadata,
    _key(),
    _refers("run_id", "run.id"),
    _refers("experiment_id", "experiment.id", nullable=True),
    *_texts("report", "name", "split"),
    Column("value", Float(53)),
    Column("n", BigId, nullable=False),
    Column("unit", Text, nullable=False),
    Column("ci_low", Float(53)),
    Column("ci_high", Float(53)),
    Column("why_missing", Text),
    _moment("recorded"),
    UniqueConstraint("run_id", "report", "name", "split"),
    CheckConstraint("(value IS NULL) = (why_missing IS NOT NULL)", name="value_or_why"),
    Index(None, "experiment_id"),
)

model_version = Table(
    "model_version",
    metadata,
    _key(),
    _refers("artifact_id", "artifact.id"),
    *_texts("registered_name", "version"),
    _moment("recorded"),
    UniqueConstraint("registered_name", "version"),
    Index(None, "artifact_id"),
)
"""The MLflow registry's name and version of a checkpoint."""

annotation_set = Table(
    "annotation_set",
    metadata,
    _key(),
    _refers("plate_id", "plate.id"),
    *_texts("name", "digest", "source_uri"),
    Column("n_rows", BigId, nullable=False),
    _moment("recorded"),
    UniqueConstraint("plate_id", "name", "digest"),
)
"""A version of labels that people gave to a plate's cells, named by the digest of its bytes."""

experiment_choices = Table(
    "experiment_choices",
    metadata,
    _key(),
    _refers("experiment_id", "experiment.id"),
    Column("choices", JSON, nullable=False),
    _moment("recorded"),
    Index(None, "experiment_id"),
)
"""What people chose for an experiment's segmentation, training and reports; the newest row holds."""

arrival = Table(
    "arrival",
    metadata,
    _key(),
    *_texts("folder", "digest", "fingerprint"),
    *_texts("experiment", "plate", nullable=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    _moment("recorded"),
    CheckConstraint("state IN ('accepted', 'quarantined', 'ignored')", name="state"),
    CheckConstraint("(state = 'accepted') = (reason IS NULL)", name="reason_given"),
    Index(None, "folder", "id"),
    Index(None, "plate"),
)
"""What lay in a folder of a landing folder and what became of it; the newest row of a folder holds.

Experiment and plate are the names that its `plate.yaml` gives, registered or not.
"""

arrival_release = Table(
    "arrival_release",
    metadata,
    _key(),
    _refers("arrival_id", "arrival.id"),
    *_texts("released_by", "why"),
    _moment("released"),
    UniqueConstraint("arrival_id"),
)
"""Who let a quarantined arrival be tried again."""

expected_plates = Table(
    "expected_plates",
    metadata,
    _key(),
    _refers("experiment_id", "experiment.id"),
    Column("plates", JSON, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("digest", Text, nullable=False),
    _moment("recorded"),
    Index(None, "experiment_id"),
)
"""Which plates an experiment waits for, by an `experiment.yaml` of that digest; the newest row holds."""

entry = Table(
    "entry",
    metadata,
    _key(),
    Column("previous", Text, nullable=False),
    Column("items", JSON, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    _refers("run_id", "run.id", nullable=True),
    UniqueConstraint("run_id"),
)
"""Seals the rows of one transaction, see `chain.py`; `run_id` where that transaction recorded a run."""

verification = Table(
    "verification",
    metadata,
    _key(),
    _refers("artifact_id", "artifact.id"),
    *_texts("verdict", "why"),
    Column("n_bytes", BigId, nullable=False),
    _moment("checked"),
    Index(None, "artifact_id"),
)
"""What a re-hash of an artifact's bytes said, and how many it read; the newest row says how old that word is."""

intent = Table(
    "intent",
    metadata,
    _key(),
    *_texts("asset", "partition", "staging", "owner"),
    Column("lease_until", UtcTime, nullable=False),
    _moment("opened"),
    Column("closed", UtcTime),
)
"""The only table whose rows change: a lease is renewed and an intent closes."""

Index(
    "ix_intent_open",
    intent.c.id,
    postgresql_where=intent.c.closed.is_(None),
    sqlite_where=intent.c.closed.is_(None),
)

HISTORY_TABLES = tuple(table.name for table in metadata.sorted_tables if table is not intent)
"""Tables in which triggers forbid UPDATE and DELETE."""
