"""What audits rest on: entries that seal each transaction, the first one all that is there, and verdicts."""

import sqlalchemy as sa
from alembic import op

from cell_assets.ledger.column_types import BigId, DatabaseNow, UtcTime
from cell_assets.ledger.entries import GENESIS, entry_digest, items_of, key_column
from cell_assets.ledger.migrations.append_only import forbid_changes
from cell_assets.ledger.migrations.versions.r0001_first_schema import HISTORY_TABLES

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, seal what is there, then forbid changes to them."""
    connection = op.get_bind()
    entry = op.create_table(
        "entry",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("run_id", BigId),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_entry_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entry")),
        sa.UniqueConstraint("digest", name=op.f("uq_entry_digest")),
        sa.UniqueConstraint("run_id", name=op.f("uq_entry_run_id")),
    )
    op.create_table(
        "verification",
        sa.Column("id", BigId, sa.Identity(), nullable=False),
        sa.Column("artifact_id", BigId, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("n_bytes", BigId, nullable=False),
        sa.Column("checked", UtcTime(), server_default=DatabaseNow(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_verification_artifact_id_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
    )
    op.create_index(op.f("ix_verification_artifact_id"), "verification", ["artifact_id"])
    # As the tables are at this revision, whatever the code's tables have grown since.
    tables = sa.MetaData()
    tables.reflect(connection, only=list(HISTORY_TABLES))
    items = []
    for name in HISTORY_TABLES:
        table = tables.tables[name]
        items += items_of(table, connection.execute(sa.select(table).order_by(key_column(table))).all())
    if items:
        said = [list(item) for item in items]
        first = {"previous": GENESIS, "items": said, "digest": entry_digest(GENESIS, said)}
        connection.execute(sa.insert(entry).values(first))
    for created in ("entry", "verification"):
        forbid_changes(created)
