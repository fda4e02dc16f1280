"""PostgreSQL: its addresses, and an embedded server where none is configured."""
