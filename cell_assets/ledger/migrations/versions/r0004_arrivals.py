"""What lay in the landing folders, who released what from quarantine, and which plates experiments expect."""

import sqlalchemy as sa
from alembic import op

from cell_assets.ledger.column_types import BigId, DatabaseNow, UtcTime
from cell_assets.ledger.migrations.append_only import forbid_changes

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three tables of history; what is there is left alone."""
    op.create_table(
        "arrival",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text()),
        sa.Column("plate", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("recorded", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.CheckConstraint("state IN ('accepted', 'quarantined', 'ignored')", name=op.f("ck_arrival_state")),
        sa.CheckConstraint("(state = 'accepted') = (reason IS NULL)", name=op.f("ck_arrival_reason_given")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrival")),
    )
    op.create_index(op.f("ix_arrival_folder_id"), "arrival", ["folder", "id"])
    op.create_index(op.f("ix_arrival_plate"), "arrival", ["plate"])
    op.create_table(
        "arrival_release",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("arrival_id", BigId, nullable=False),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("released", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(
            ["arrival_id"], ["arrival.id"], name=op.f("fk_arrival_release_arrival_id_arrival")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrival_release")),
        sa.UniqueConstraint("arrival_id", name=op.f("uq_arrival_release_arrival_id")),
    )
    op.create_table(
        "expected_plates",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("experiment_id", BigId, nullable=False),
        sa.Column("plates", sa.JSON(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("recorded", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_expected_plates_experiment_id_experiment")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_expected_plates")),
    )
    op.create_index(op.f("ix_expected_plates_experiment_id"), "expected_plates", ["experiment_id"])
    for created in ("arrival", "arrival_release", "expected_plates"):
        forbid_changes(created)
