"""Cell counts from label images."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.acquisition import Acquisition
from cell_assets.imaging.quality.typed_rows import INTEGER, TEXT, typed_table

_TYPES = {"fov_name": TEXT, "t": INTEGER, "n_cells": INTEGER, "why_missing": TEXT}


def count_cells(labels: NDArray[np.generic]) -> int:
    """How many labels occur in label pixels of any shape; 0 is ground."""
    # Hashing is linear; numpy's unique sorts.
    present = pd.unique(labels.ravel())
    return int(np.count_nonzero(present))


def cell_counts(acquisition: Acquisition) -> pd.DataFrame:
    """Cells per FOV and t, from the labels that came with the plate; reads one label volume at a time.

    A FOV without labels has one row, whose `t` and `n_cells` are null and whose `why_missing` says why.
    """
    rows: list[dict[str, object]] = []
    for position in acquisition.info.positions:
        if not position.has_labels:
            rows.append({"fov_name": position.name, "why_missing": "no label images came with the plate"})
            continue
        for t in range(position.shape[0]):
            labels = acquisition.given_labels(position.name, t)
            assert labels is not None
            rows.append({"fov_name": position.name, "t": t, "n_cells": count_cells(labels)})
    return typed_table(rows, _TYPES)
