"""The ledger's schema, revision by revision, and the way to the newest one."""
