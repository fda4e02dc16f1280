"""A process that opens everything of a lab, as the first command of a container does, when it is told to start."""

import logging
import sys

from cell_assets.automation.dagster_home import open_instance
from cell_assets.database.embedded import open_database
from cell_assets.ledger.ledger import Ledger
from cell_assets.resources.mlflow_registry import ModelRegistry
from cell_assets.settings import Settings


def main() -> None:
    """Say `ready`, wait for a line, then open databases, ledger, Dagster and MLflow, and say what they hold.

    Alembic says on standard error what it migrates.
    """
    print("ready", flush=True)
    sys.stdin.readline()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
    settings = Settings()
    with (
        open_database(settings) as addresses,
        Ledger.open(addresses.ledger) as ledger,
        open_instance(settings, addresses) as instance,
    ):
        models = ModelRegistry(addresses.mlflow).registered()
        print(len(ledger.experiments()), instance.get_runs_count(), len(models), flush=True)


if __name__ == "__main__":
    main()
