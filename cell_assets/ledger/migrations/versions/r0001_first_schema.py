"""The first schema: lab objects, artifacts, runs and their inputs, numbers, and append-only history."""

import sqlalchemy as sa
from alembic import op

from cell_assets.ledger.column_types import BigId, DatabaseNow, UtcTime
from cell_assets.ledger.migrations.append_only import create_refusal, forbid_changes

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HISTORY_TABLES = (
    "announcement",
    "annotation_set",
    "artifact",
    "artifact_state",
    "blob",
    "condition",
    "experiment",
    "experiment_choices",
    "fov",
    "input_edge",
    "model_version",
    "number",
    "plate",
    "run",
    "tombstone",
    "well",
)


def upgrade() -> None:
    """Create every table, then forbid changes to history."""
    _create_tables()
    create_refusal()
    for table in HISTORY_TABLES:
        forbid_changes(table)


def _create_tables() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("digest_type", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.Text()),
        sa.Column("n_bytes", BigId, nullable=False),
        sa.Column("n_files", BigId, nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("format_name", sa.Text(), nullable=False),
        sa.Column("format_version", sa.Text(), nullable=False),
        sa.Column("created", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("asset", "partition", "digest", name=op.f("uq_artifact_asset_partition_digest")),
    )
    op.create_index(op.f("ix_artifact_digest"), "artifact", ["digest"])
    op.create_table(
        "blob",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("stored", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blob")),
    )
    op.create_table(
        "condition",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("perturbation_type", sa.Text()),
        sa.Column("perturbation", sa.Text()),
        sa.Column("dose", sa.Float(53)),
        sa.Column("dose_unit", sa.Text()),
        sa.Column("moa", sa.Text()),
        sa.Column("is_control", sa.Boolean()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_condition")),
        sa.UniqueConstraint("digest", name=op.f("uq_condition_digest")),
    )
    op.create_table(
        "experiment",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("registered", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
        sa.UniqueConstraint("name", name=op.f("uq_experiment_name")),
    )
    op.create_table(
        "intent",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("staging", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until", UtcTime(), nullable=False),
        sa.Column("opened", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.Column("closed", UtcTime()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intent")),
    )
    op.create_index(
        "ix_intent_open",
        "intent",
        ["id"],
        postgresql_where=sa.text("closed IS NULL"),
        sqlite_where=sa.text("closed IS NULL"),
    )
    op.create_table(
        "artifact_state",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("artifact_id", BigId, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.CheckConstraint("state IN ('present', 'evicted')", name=op.f("ck_artifact_state_state")),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_artifact_state_artifact_id_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_state")),
    )
    op.create_index(op.f("ix_artifact_state_artifact_id"), "artifact_state", ["artifact_id"])
    op.create_table(
        "model_version",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("artifact_id", BigId, nullable=False),
        sa.Column("registered_name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("recorded", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_model_version_artifact_id_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint(
            "registered_name", "version", name=op.f("uq_model_version_registered_name_version")
        ),
    )
    op.create_index(op.f("ix_model_version_artifact_id"), "model_version", ["artifact_id"])
    op.create_table(
        "plate",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("experiment_id", BigId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source_uri", sa.Text(), nullable=False),
        sa.Column("source_format", sa.Text(), nullable=False),
        sa.Column("ingest_options", sa.JSON(), nullable=False),
        sa.Column("registered", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_plate_experiment_id_experiment")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plate")),
        sa.UniqueConstraint("name", name=op.f("uq_plate_name")),
    )
    op.create_index(op.f("ix_plate_experiment_id"), "plate", ["experiment_id"])
    op.create_table(
        "run",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("artifact_id", BigId),
        sa.Column("dagster_run_id", sa.Text()),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("git_commit", sa.Text()),
        sa.Column("dirty_diff_digest", sa.Text()),
        sa.Column("environment_digest", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("started", UtcTime(), nullable=False),
        sa.Column("ended", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint("(outcome = 'failed') = (error IS NOT NULL)", name=op.f("ck_run_error_given")),
        sa.CheckConstraint(
            "(outcome = 'succeeded') = (artifact_id IS NOT NULL)", name=op.f("ck_run_made_something")
        ),
        sa.CheckConstraint("outcome IN ('succeeded', 'failed')", name=op.f("ck_run_outcome")),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name=op.f("fk_run_artifact_id_artifact")),
        sa.ForeignKeyConstraint(
            ["dirty_diff_digest"], ["blob.digest"], name=op.f("fk_run_dirty_diff_digest_blob")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_artifact_id"), "run", ["artifact_id"])
    op.create_index(op.f("ix_run_asset_partition_id"), "run", ["asset", "partition", "id"])
    op.create_table(
        "annotation_set",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("plate_id", BigId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("source_uri", sa.Text(), nullable=False),
        sa.Column("n_rows", BigId, nullable=False),
        sa.Column("recorded", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(["plate_id"], ["plate.id"], name=op.f("fk_annotation_set_plate_id_plate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation_set")),
        sa.UniqueConstraint(
            "plate_id", "name", "digest", name=op.f("uq_annotation_set_plate_id_name_digest")
        ),
    )
    op.create_table(
        "experiment_choices",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("experiment_id", BigId, nullable=False),
        sa.Column("choices", sa.JSON(), nullable=False),
        sa.Column("recorded", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiment.id"],
            name=op.f("fk_experiment_choices_experiment_id_experiment"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment_choices")),
    )
    op.create_index(
        op.f("ix_experiment_choices_experiment_id"), "experiment_choices", ["experiment_id"], unique=False
    )
    op.create_table(
        "announcement",
        sa.Column("run_id", BigId, autoincrement=False, nullable=False),
        sa.Column("event_storage_id", BigId, nullable=False),
        sa.Column("announced", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_announcement_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_announcement")),
    )
    op.create_table(
        "input_edge",
        sa.Column("run_id", BigId, autoincrement=False, nullable=False),
        sa.Column("input_id", BigId, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["input_id"], ["artifact.id"], name=op.f("fk_input_edge_input_id_artifact")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_input_edge_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "input_id", name=op.f("pk_input_edge")),
    )
    op.create_index(op.f("ix_input_edge_input_id"), "input_edge", ["input_id"])
    op.create_table(
        "number",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("run_id", BigId, nullable=False),
        sa.Column("experiment_id", BigId),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(53)),
        sa.Column("n", BigId, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("ci_low", sa.Float(53)),
        sa.Column("ci_high", sa.Float(53)),
        sa.Column("why_missing", sa.Text()),
        sa.Column("recorded", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.CheckConstraint(
            "(value IS NULL) = (why_missing IS NOT NULL)", name=op.f("ck_number_value_or_why")
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_number_experiment_id_experiment")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_number_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_number")),
        sa.UniqueConstraint(
            "run_id", "report", "name", "split", name=op.f("uq_number_run_id_report_name_split")
        ),
    )
    op.create_index(op.f("ix_number_experiment_id"), "number", ["experiment_id"])
    op.create_table(
        "tombstone",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("artifact_id", BigId),
        sa.Column("plate_id", BigId),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.CheckConstraint(
            "(artifact_id IS NULL) <> (plate_id IS NULL)", name=op.f("ck_tombstone_one_target")
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_tombstone_artifact_id_artifact")
        ),
        sa.ForeignKeyConstraint(["plate_id"], ["plate.id"], name=op.f("fk_tombstone_plate_id_plate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstone")),
        sa.UniqueConstraint("artifact_id", name=op.f("uq_tombstone_artifact_id")),
        sa.UniqueConstraint("plate_id", name=op.f("uq_tombstone_plate_id")),
    )
    op.create_table(
        "well",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("plate_id", BigId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("condition_id", BigId, nullable=False),
        sa.ForeignKeyConstraint(
            ["condition_id"], ["condition.id"], name=op.f("fk_well_condition_id_condition")
        ),
        sa.ForeignKeyConstraint(["plate_id"], ["plate.id"], name=op.f("fk_well_plate_id_plate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_well")),
        sa.UniqueConstraint("plate_id", "name", name=op.f("uq_well_plate_id_name")),
    )
    op.create_index(op.f("ix_well_condition_id"), "well", ["condition_id"])
    op.create_table(
        "fov",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("plate_id", BigId, nullable=False),
        sa.Column("well_id", BigId, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["plate_id"], ["plate.id"], name=op.f("fk_fov_plate_id_plate")),
        sa.ForeignKeyConstraint(["well_id"], ["well.id"], name=op.f("fk_fov_well_id_well")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fov")),
        sa.UniqueConstraint("plate_id", "name", name=op.f("uq_fov_plate_id_name")),
    )
    op.create_index(op.f("ix_fov_well_id"), "fov", ["well_id"])
