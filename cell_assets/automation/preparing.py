"""Making everything in the databases that the processes of a lab expect there when they start."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cell_assets.automation.dagster_home import open_instance
from cell_assets.database.addresses import DatabaseAddresses, existing_databases, making_tables
from cell_assets.database.embedded import open_database
from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.migrations.upgrade import REVISIONS
from cell_assets.resources.mlflow_registry import ModelRegistry
from cell_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True)
class PreparedDatabases:
    """What is there now."""

    databases: tuple[str, ...]
    ledger_revision: str


def prepare_databases(settings: Settings) -> PreparedDatabases:
    """Make the databases and tables that are missing, and bring all three to the schema of what is installed.

    For deployments that start Dagster's and MLflow's own programs, which race when several find no tables, and do not
    bring older ones up to date; any number of processes may call this at once. Raises as `open_database` and
    `Ledger.open` do, and BadInputError when a newer Dagster or MLflow made the tables.
    """
    with open_database(settings) as addresses:
        Ledger.open(addresses.ledger).close()
        with open_instance(settings, addresses) as instance:
            _migrate_dagster(instance, addresses)
        ModelRegistry(addresses.mlflow).migrate()
        return PreparedDatabases(tuple(sorted(existing_databases(addresses.base))), REVISIONS[-1])


def _migrate_dagster(instance: "DagsterInstance", addresses: DatabaseAddresses) -> None:
    from alembic.util import CommandError

    # Dagster itself keeps no two of these apart.
    with making_tables(addresses.dagster):
        try:
            instance.upgrade()
        except CommandError as error:
            raise BadInputError(
                f"Dagster's database is of a newer version than the installed dagster ({error}): install the version "
                "that made it"
            ) from None
