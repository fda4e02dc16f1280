"""How revisions forbid changes to a table of history. Part of what released revisions do, so it never changes."""

from alembic import op


def create_refusal() -> None:
    """Make the function that PostgreSQL's triggers call; SQLite's hold the words themselves."""
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute(
        """
        CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'table % is append-only: record a newer row instead', TG_TABLE_NAME;
        END $$
        """
    )


def forbid_changes(table: str) -> None:
    """Let the database refuse to update or delete rows of a table."""
    if op.get_bind().dialect.name == "sqlite":
        for change in ("update", "delete"):
            op.execute(
                f'CREATE TRIGGER append_only_{table}_{change} BEFORE {change} ON "{table}" '
                f"BEGIN SELECT RAISE(ABORT, 'table {table} is append-only: record a newer row instead'); END"
            )
    else:
        op.execute(
            f'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON "{table}" '
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history()"
        )
