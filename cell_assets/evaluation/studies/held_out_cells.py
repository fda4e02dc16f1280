"""The test cells of a study, row by row: where they lie in each projection, and how far from where they began.

A report keeps this table, so that the same cells can be held against each other in several trainings.
"""

import numpy as np
import pandas as pd

from cell_assets.evaluation.motion.dynamics import first_time_pairs, unit_vectors
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.evaluation.studies.evaluate import canonical_order
from cell_assets.evaluation.units import FloatArray, unit_ids

KEYS = ["plate", "fov_name", "track_id", "t"]
FROM_FIRST = "from_first_"
"""Before the name of a space: distance from the first time point of the track (Eq. 2)."""
ANNOTATED = "annotated_"
"""Before the name of a column of annotations."""


def held_out_cells(study: EmbeddingStudy) -> pd.DataFrame:
    """One row per test cell and time point, in canonical order.

    Columns are `plate, fov_name, track_id, t`, `hours` since the first time point of the film, `pc_1, pc_2`,
    `umap_1, umap_2` where there is a UMAP, `from_first_features` and `from_first_umap`, the distance of the row's unit
    vector from that of its track's first test row (DynaCLR, Eq. 2; 0 to 2), and `annotated_<column>` as text, missing
    where nobody annotated the cell.
    """
    settings, embedded = study.evaluation.settings, study.embedded
    order = canonical_order(embedded.cells)
    rows = order[(embedded.cells["split"].astype(str) == settings.test_split).to_numpy()[order]]
    cells = embedded.cells.iloc[rows].reset_index(drop=True)
    table = cells[KEYS].astype({"plate": str, "fov_name": str, "track_id": np.int64, "t": np.int64})
    table = table.assign(
        hours=cells["t"].to_numpy(dtype=np.float64)
        * (np.nan if settings.interval_min is None else settings.interval_min / 60)
    )
    spaces = {"features": embedded.features[rows]}
    table = table.assign(pc_1=embedded.pca[rows, 0], pc_2=embedded.pca[rows, 1])
    if embedded.umap is not None:
        spaces["umap"] = embedded.umap[rows]
        table = table.assign(umap_1=embedded.umap[rows, 0], umap_2=embedded.umap[rows, 1])
    for space, values in spaces.items():
        table[f"{FROM_FIRST}{space}"] = _from_first(values, cells)
    for column, said in study.annotations.items():
        table[f"{ANNOTATED}{column}"] = said.iloc[rows].astype("string").to_numpy()
    return table


def _from_first(values: FloatArray, cells: pd.DataFrame) -> FloatArray:
    """(N,)"""
    first, row = first_time_pairs(unit_ids(cells, SplitUnit.TRACK), cells["t"].to_numpy(dtype=np.int64))
    found = np.zeros(len(cells))
    z = unit_vectors(values)
    found[row] = np.linalg.norm(z[row] - z[first], axis=1)
    return found
