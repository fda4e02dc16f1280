"""Tables of the ledger. History tables are append-only: rows are superseded by newer rows, never edited."""

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


experiment = Table(
    "experiment",
    metadata,
    _key(),
    Column("name", Text, nullable=False, unique=True),
    Column("registered", UtcTime, nullable=False, server_default=DatabaseNow()),
)

plate = Table(
    "plate",
    metadata,
    _key(),
    _refers("experiment_id", "experiment.id"),
    Column("name", Text, nullable=False, unique=True),
    Column("source_uri", Text, nullable=False),
    Column("source_format", Text, nullable=False),
    Column("ingest_options", JSON, nullable=False),
    Column("registered", UtcTime, nullable=False, server_default=DatabaseNow()),
    Index(None, "experiment_id"),
)

condition = Table(
    "condition",
    metadata,
    _key(),
    Column("digest", Text, nullable=False, unique=True),
    Column("perturbation_type", Text),
    Column("perturbation", Text),
    Column("dose", Float(53)),
    Column("dose_unit", Text),
    Column("moa", Text),
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
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("digest_type", Text, nullable=False),
    Column("content_digest", Text),
    Column("n_bytes", BigId, nullable=False),
    Column("n_files", BigId, nullable=False),
    Column("uri", Text, nullable=False),
    Column("format_name", Text, nullable=False),
    Column("format_version", Text, nullable=False),
    Column("created", UtcTime, nullable=False, server_default=DatabaseNow()),
    UniqueConstraint("asset", "partition", "digest"),
    Index(None, "digest"),
)

artifact_state = Table(
    "artifact_state",
    metadata,
    _key(),
    _refers("artifact_id", "artifact.id"),
    Column("state", Text, nullable=False),
    Column("changed", UtcTime, nullable=False, server_default=DatabaseNow()),
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
    Column("made", UtcTime, nullable=False, server_default=DatabaseNow()),
    CheckConstraint("(artifact_id IS NULL) <> (plate_id IS NULL)", name="one_target"),
    UniqueConstraint("artifact_id"),
    UniqueConstraint("plate_id"),
)

blob = Table(
    "blob",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    Column("stored", UtcTime, nullable=False, server_default=DatabaseNow()),
)
"""Small content-addressed bytes, such as the diff of an uncommitted working tree."""

run = Table(
    "run",
    metadata,
    _key(),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    _refers("artifact_id", "artifact.id", nullable=True),
    Column("dagster_run_id", Text),
    Column("code_version", Text, nullable=False),
    Column("git_commit", Text),
    Column("dirty_diff_digest", Text, ForeignKey("blob.digest")),
    Column("environment_digest", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("started", UtcTime, nullable=False),
    Column("ended", UtcTime, nullable=False, server_default=DatabaseNow()),
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
    Column("run_id", BigId, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("input_id", BigId, ForeignKey("artifact.id"), primary_key=True, autoincrement=False),
    Index(None, "input_id"),
)

announcement = Table(
    "announcement",
    metadata,
    Column("run_id", BigId, ForeignKey("run.id"), primary_key=True, autoincrement=False),
    Column("event_storage_id", BigId, nullable=False),
    Column("announced", UtcTime, nullable=False, server_default=DatabaseNow()),
)
"""The Dagster event that shows a run."""

number = Table(
    "number",
    metadata,
    _key(),
    _refers("run_id", "run.id"),
    _refers("experiment_id", "experiment.id", nullable=True),
    Column("report", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("value", Float(53)),
    Column("n", BigId, nullable=False),
    Column("unit", Text, nullable=False),
    Column("ci_low", Float(53)),
    Column("ci_high", Float(53)),
    Column("why_missing", Text),
    Column("recorded", UtcTime, nullable=False, server_default=DatabaseNow()),
    UniqueConstraint("run_id", "report", "name", "split"),
    CheckConstraint("(value IS NULL) = (why_missing IS NOT NULL)", name="value_or_why"),
    Index(None, "experiment_id"),
)

model_version = Table(
    "model_version",
    metadata,
    _key(),
    _refers("artifact_id", "artifact.id"),
    Column("registered_name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("recorded", UtcTime, nullable=False, server_default=DatabaseNow()),
    UniqueConstraint("registered_name", "version"),
    Index(None, "artifact_id"),
)
"""The MLflow registry's name and version of a checkpoint."""

annotation_set = Table(
    "annotation_set",
    metadata,
    _key(),
    _refers("plate_id", "plate.id"),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("n_rows", BigId, nullable=False),
    Column("recorded", UtcTime, nullable=False, server_default=DatabaseNow()),
    UniqueConstraint("plate_id", "name", "digest"),
)
"""A version of labels that people gave to a plate's cells, named by the digest of its bytes."""

experiment_choices = Table(
    "experiment_choices",
    metadata,
    _key(),
    _refers("experiment_id", "experiment.id"),
    Column("choices", JSON, nullable=False),
    Column("recorded", UtcTime, nullable=False, server_default=DatabaseNow()),
    Index(None, "experiment_id"),
)
"""What people chose for an experiment's segmentation, training and reports; the newest row holds."""

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
    Column("verdict", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("n_bytes", BigId, nullable=False),
    Column("checked", UtcTime, nullable=False, server_default=DatabaseNow()),
    Index(None, "artifact_id"),
)
"""What a re-hash of an artifact's bytes said, and how many it read; the newest row says how old that word is."""

intent = Table(
    "intent",
    metadata,
    _key(),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("staging", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease_until", UtcTime, nullable=False),
    Column("opened", UtcTime, nullable=False, server_default=DatabaseNow()),
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
