"""Which patches the policy `manifest` keeps. No Dagster here."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.exclusions import is_excluded
from cell_assets.imaging.kept_patches import KeptRows
from cell_assets.imaging.patches import CELLS_PARQUET, ROW
from cell_assets.imaging.track_tables import Column


def rows_to_keep(manifest: Path, tables: Mapping[tuple[str, str], Path]) -> list[KeptRows]:
    """The rows of patch tables that a manifest does not leave out, whether or not it lists them.

    Tracks that it does not list, as those of a plate that is only embedded, are kept: nothing was said against them.

    Args:
        manifest: its folder.
        tables: folders of patch tables, by plate and position.
    """
    from cell_assets.evaluation.manifest import read_manifest

    exclusions = read_manifest(manifest)[1].exclusions
    chosen = []
    for (plate, position), table in tables.items():
        cells = pd.read_parquet(table / CELLS_PARQUET, columns=[Column.T, ROW])
        left_out = is_excluded(cells.assign(plate=plate, fov_name=position), exclusions)
        chosen.append(KeptRows(position, table, cells.loc[~left_out, ROW].to_numpy(np.int64)))
    return chosen
