"""A code location of two assets, for tests of the processes around it."""

import os
import time
from pathlib import Path

import dagster as dg


@dg.asset
def quick() -> None:
    """Ends at once."""


@dg.asset
def endless() -> None:
    """Says that it runs, then never ends by itself."""
    Path(os.environ["CELL_ASSETS_HOME"], "endless_runs").touch()
    while True:
        time.sleep(1)


defs = dg.Definitions(
    assets=[quick, endless],
    jobs=[dg.define_asset_job("quick_job", [quick]), dg.define_asset_job("endless_job", [endless])],
)
