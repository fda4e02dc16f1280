"""Cell counts of hand-made labels; movies are counted in the test of the E. coli colony."""

import numpy as np
import pytest

from cell_assets.imaging.quality.cell_counts import count_cells


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64"])
def test_labels_are_counted_once_and_ground_is_none(dtype: str) -> None:
    labels = np.zeros((2, 4, 4), dtype)
    labels[0, :2], labels[1, 0], labels[1, 3, 3] = 7, 7, 100
    assert count_cells(labels) == 2
    assert count_cells(np.zeros_like(labels)) == 0
    assert count_cells(np.ones_like(labels)) == 1
