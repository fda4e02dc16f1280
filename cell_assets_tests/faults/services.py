"""`cell-assets dev` over a code location whose runs halt where a test says: prints its addresses, then serves."""

import json
import sys
from pathlib import Path

from cell_assets.automation.services import CodeLocation
from cell_assets.automation.serving import Ports, Served, serve
from cell_assets.database.embedded import open_database
from cell_assets.errors import CellAssetsError
from cell_assets.settings import Settings


def say(served: Served) -> None:
    """Tell the test that everything answers."""
    print(json.dumps({"dagster": served.dagster, "mlflow": served.mlflow}), flush=True)


def main() -> str | None:
    """Serve; returns what went wrong."""
    settings = Settings()
    halting = CodeLocation("cell_assets_tests.faults.definitions", folder=Path(__file__).resolve().parents[2])
    try:
        with open_database(settings) as addresses:
            serve(settings, addresses, Ports(), say, halting)
    except CellAssetsError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
