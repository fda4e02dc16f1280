"""How near other cells are, and how many."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cell_assets.imaging.features.labelled_plane import FloatArray
from cell_assets.imaging.label_geometry import Spacing, label_geometry


def neighbours(labels: NDArray[np.generic], spacing: Spacing, radius_um: float) -> dict[str, FloatArray]:
    """Of every label of `(Z, Y, X)` `labels`, by rising label, `(n,)` each; distances in µm between centroids.

    `Nuclei_Neighbors_FirstClosestDistance` and `SecondClosestDistance`, missing (NaN) where the frame has no such
    cell, and `Nuclei_Neighbors_NumberOfNeighbors_<radius>`: others within `radius_um`. Cells outside the field are
    not seen, so that near its edge distances are at most and numbers at least these.
    """
    centroid = label_geometry(labels, spacing).centroid * np.asarray(spacing)
    n = len(centroid)
    names = [f"Nuclei_Neighbors_{which}ClosestDistance" for which in ("First", "Second")]
    number = f"Nuclei_Neighbors_NumberOfNeighbors_{radius_um:g}"
    if not n:
        return {name: np.empty(0) for name in (*names, number)}
    tree = cKDTree(centroid)
    distance, _ = tree.query(centroid, k=3)
    # The nearest is the cell itself; what does not exist is infinitely far.
    nearest = np.where(np.isfinite(distance[:, 1:]), distance[:, 1:], np.nan)
    within = tree.query_ball_point(centroid, radius_um, return_length=True) - 1
    return {names[0]: nearest[:, 0], names[1]: nearest[:, 1], number: within.astype(np.float64)}
