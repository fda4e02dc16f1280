"""What audits rest on: entries that seal each transaction, the first one all that is there, and verdicts."""

import sqlalchemy as sa
from alembic import op

from cell_assets.ledger.chain import GENESIS, entry_digest, items_of, key_column
from cell_assets.ledger.column_types import BigId, DatabaseNow, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SEALED_TABLES = (
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
    """Create the tables, seal what is there, then forbid changes to them."""
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
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
    tables.reflect(connection, only=list(_SEALED_TABLES))
    items = []
    for name in _SEALED_TABLES:
        table = tables.tables[name]
        items += items_of(table, connection.execute(sa.select(table).order_by(key_column(table))).all())
    if items:
        said = [list(item) for item in items]
        first = {"previous": GENESIS, "items": said, "digest": entry_digest(GENESIS, said)}
        connection.execute(sa.insert(entry).values(first))
    for created in ("entry", "verification"):
        _forbid_changes(created, is_sqlite)


def _forbid_changes(table: str, is_sqlite: bool) -> None:
    if is_sqlite:
        for change in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER append_only_{table}_{change} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'table {table} is append-only: record a newer row instead'); END"
            )
    else:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history()"
        )
