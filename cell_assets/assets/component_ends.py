"""Patches of the cells at both ends of an embedding's leading components, for a report's picture."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.feature_correlation import FeatureCorrelations, extreme_rows
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import FloatArray, IntArray, unit_ids
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table
from cell_assets.reporting.cell_ends import CellEnds

_SHOWN_COMPONENTS = 3
_SHOWN_CELLS = 6


def component_ends(
    found: FeatureCorrelations | None,
    cells: pd.DataFrame,
    tables: Mapping[tuple[str, str], Path],
    acquisitions: Mapping[str, Path],
) -> tuple[CellEnds, ...]:
    """Middle planes of the patches of test cells at both ends of the first components; nothing without features.

    Args:
        cells: the rows that `found` is about, each with the `row` of its patch.
        tables: patch table by plate and position.
        acquisitions: raw acquisition by plate, from which patches are cut where a table stores none.

    Raises:
        BadInputError: the patch table of a position with embedded cells is missing or not readable.
    """
    if found is None:
        return ()
    rows = np.flatnonzero(found.test & cells["row"].notna().to_numpy())
    tracks = unit_ids(cells.iloc[rows], SplitUnit.TRACK)
    opened: dict[tuple[str, str], PatchTable] = {}
    used = cells.iloc[rows]
    for key in {(str(plate), str(fov)) for plate, fov in zip(used["plate"], used["fov_name"], strict=True)}:
        if key not in tables:
            raise BadInputError(
                f"plate {key[0]}, position {key[1]}: has embedded cells and no patch table; materialise patch_table "
                "and then the embeddings again"
            )
        opened[key] = open_patch_table(tables[key], acquisition=acquisitions[key[0]])
    if len({table.info.channel_names for table in opened.values()}) > 1:
        return ()  # channels of plates differ, and a row of the picture is of one channel
    shown = []
    for component in range(min(_SHOWN_COMPONENTS, found.components.shape[1])):
        low, high = extreme_rows(found.components[rows, component], tracks, _SHOWN_CELLS)
        if len(low):
            read = [middle_planes(cells, opened, rows[end]) for end in (low, high)]
            names = next(iter(opened.values())).info.channel_names
            shown.append(CellEnds(f"PC {component + 1}", read[0], read[1], names))
    return tuple(shown)


def middle_planes(
    cells: pd.DataFrame, opened: Mapping[tuple[str, str], PatchTable], rows: IntArray
) -> FloatArray:
    """(n, C, Y, X) of the patches of these rows.

    Args:
        cells: with the `plate`, `fov_name` and patch table's `row` of each.
        opened: patch table by plate and position.
    """
    patches = []
    for row in cells.iloc[rows].to_dict("records"):
        table = opened[str(row["plate"]), str(row["fov_name"])]
        (patch,) = table.read(np.array([int(row["row"])]))
        patches.append(patch[:, patch.shape[1] // 2].astype(np.float64))
    return np.stack(patches)
