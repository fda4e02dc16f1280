"""FOVs that were withdrawn: what was filmed there is left out of everything that is made from now on."""

import sqlalchemy as sa
from alembic import op

from cell_assets.ledger.column_types import BigId, DatabaseNow, UtcTime
from cell_assets.ledger.migrations.append_only import forbid_changes

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own: SQLite cannot change the rule that a tombstone has one target without a copy of all."""
    op.create_table(
        "fov_tombstone",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("fov_id", BigId, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(["fov_id"], ["fov.id"], name=op.f("fk_fov_tombstone_fov_id_fov")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fov_tombstone")),
        sa.UniqueConstraint("fov_id", name=op.f("uq_fov_tombstone_fov_id")),
    )
    forbid_changes("fov_tombstone")
