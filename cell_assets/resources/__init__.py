"""Store, ledger and MLflow as Dagster sees them."""
