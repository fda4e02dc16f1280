"""Entries that seal what each transaction recorded; the first one seals all that is there already."""

import sqlalchemy as sa
from alembic import op

from cell_assets.ledger.chain import items_of, key_column, seal
from cell_assets.ledger.column_types import BigId

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
    """Create the table, seal what is there, then forbid changes to it."""
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    op.create_table(
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
    # As the tables are at this revision, whatever the code's tables have grown since.
    tables = sa.MetaData()
    tables.reflect(connection, only=list(_SEALED_TABLES))
    items = []
    for name in _SEALED_TABLES:
        table = tables.tables[name]
        items += items_of(table, connection.execute(sa.select(table).order_by(key_column(table))).all())
    if items:
        seal(connection, is_sqlite, items, None)
    if is_sqlite:
        for change in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER append_only_entry_{change} BEFORE {change} ON entry "
                "BEGIN SELECT RAISE(ABORT, 'table entry is append-only: record a newer row instead'); END"
            )
    else:
        op.execute(
            "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history()"
        )
