"""A process that prepares a lab's databases, as the first command of a container does, when it is told to start."""

import logging
import sys

from cell_assets.automation.preparing import prepare_databases
from cell_assets.settings import Settings


def main() -> None:
    """Say `ready`, wait for a line, then make databases, ledger, Dagster's and MLflow's tables, and say what there is.

    Alembic says on standard error what it migrates.
    """
    print("ready", flush=True)
    sys.stdin.readline()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
    prepared = prepare_databases(Settings())
    print(len(prepared.databases), prepared.ledger_revision, flush=True)


if __name__ == "__main__":
    main()
