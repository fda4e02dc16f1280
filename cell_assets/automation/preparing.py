"""Making everything in the databases that the processes of a lab expect there when they start."""

from dataclasses import dataclass

from cell_assets.automation.dagster_home import open_instance
from cell_assets.database.addresses import existing_databases
from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import REVISIONS
from cell_assets.resources.mlflow_registry import ModelRegistry
from cell_assets.settings import Settings


@dataclass(frozen=True)
class PreparedDatabases:
    """What is there now."""

    databases: tuple[str, ...]
    ledger_revision: str


def prepare_databases(settings: Settings) -> PreparedDatabases:
    """Make the databases and tables that are missing, and bring the ledger to this version's schema.

    For deployments that start Dagster's and MLflow's own programs, which race when several find no tables; any number
    of processes may call this at once. Raises as `open_database` and `Ledger.open` do.
    """
    with open_database(settings) as addresses:
        Ledger.open(addresses.ledger).close()
        with open_instance(settings, addresses):
            ModelRegistry(addresses.mlflow).registered()
        return PreparedDatabases(tuple(sorted(existing_databases(addresses.base))), REVISIONS[-1])
