"""Tracking of given objects by laptrack (Fukai & Kawaguchi, Bioinformatics 2023): the two linear assignment
problems of Jaqaman et al., Nature Methods 2008.

The first links objects from frame to frame; the second joins the pieces, across missed frames and at
divisions. laptrack was chosen over btrack and trackpy because it solves both, splits included, in pure SciPy
with costs of our own. Importing this module imports laptrack, which takes a second: only do so to track.
"""

import itertools

import numpy as np
import pandas as pd
from laptrack import LapTrack
from numpy.typing import NDArray

from cell_assets.imaging.label_geometry import Spacing
from cell_assets.imaging.laptrack_parameters import ELONGATION, LaptrackParameters
from cell_assets.imaging.track_tables import NO_PARENT, Column


def laptrack_links(objects: pd.DataFrame, spacing: Spacing, parameters: LaptrackParameters) -> pd.DataFrame:
    """Link `objects` into tracks: one row per label and frame, columns `t, label, area, z, y, x` in voxels and
    `elongation_y_um, elongation_x_um` (see `LabelGeometry`).

    Returns `objects`, ordered by time and label, with `track_id, id, parent_track_id, parent_id`; tracks are
    numbered from 1 by first appearance. The same objects give the same tracks.

    Memory is linear in objects, but for one matrix of 8 bytes per pair of objects in successive frames; time
    grows with the square of the number of track pieces, as laptrack compares each with all others.
    """
    table = objects.sort_values([Column.T, "label"], ignore_index=True)
    before = _predecessors(table, spacing, parameters)
    followers = np.bincount(before[before >= 0], minlength=len(table))
    track = np.zeros(len(table), np.int64)
    parent = np.full(len(table), NO_PARENT, np.int64)
    n_tracks = 0
    for row, above in enumerate(before):
        if above >= 0 and followers[above] == 1:
            track[row], parent[row] = track[above], parent[above]
            continue
        n_tracks += 1
        track[row] = n_tracks
        if above >= 0:
            parent[row] = track[above]
    return table.assign(
        **{
            Column.TRACK_ID: track,
            Column.ID: np.arange(1, len(table) + 1),
            Column.PARENT_TRACK_ID: parent,
            Column.PARENT_ID: np.where(before >= 0, before + 1, NO_PARENT),
        }
    )


def _predecessors(table: pd.DataFrame, spacing: Spacing, parameters: LaptrackParameters) -> NDArray[np.int64]:
    """Row that each row continues or is the daughter of, always an earlier one; -1 for none."""
    before = np.full(len(table), -1, np.int64)
    if table.empty:
        return before
    times = table[Column.T].to_numpy()
    points = np.column_stack(
        [
            table[["z", "y", "x"]].to_numpy(np.float64) * spacing,
            parameters.size_um * np.log2(table["area"].to_numpy(np.float64)),
            parameters.gap_um * times,
            parameters.axis_weight * _undirected(table[list(ELONGATION)].to_numpy(np.float64)),
        ]
    )
    starts = np.searchsorted(times, np.arange(times[0], times[-1] + 2))
    frames = [points[start:stop] for start, stop in itertools.pairwise(starts)]
    for (t_from, i_from), (t_to, i_to) in _tracker(parameters).predict(frames).edges():
        before[starts[t_to] + i_to] = starts[t_from] + i_from
    return before


def _undirected(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors `(n, 2)` y, x at twice their angle, at which a vector and its opposite are one: y, x again."""
    angle = 2 * np.arctan2(vectors[:, 0], vectors[:, 1])
    return np.linalg.norm(vectors, axis=1)[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])


def _directed(undirected: NDArray[np.float64]) -> NDArray[np.float64]:
    """One of the two vectors `(2,)` of which `_undirected` made this."""
    angle = np.arctan2(undirected[0], undirected[1]) / 2
    return np.hypot(*undirected) * np.array([np.sin(angle), np.cos(angle)])


def _tracker(parameters: LaptrackParameters) -> LapTrack:
    half, gap = parameters.size_um, parameters.gap_um
    most = parameters.max_distance_um**2

    def daughter_cost(child: NDArray[np.float64], mother: NDArray[np.float64]) -> float:
        move = child[:4] - mother[:4]
        to_half = np.zeros(3)
        to_half[1:] = _directed(mother[5:] / parameters.axis_weight) / 4
        # Either half: the elongation's sign means nothing.
        apart = min(np.sum((move[:3] - to_half) ** 2), np.sum((move[:3] + to_half) ** 2))
        return float(apart + (move[3] + half) ** 2 + np.sum((child[5:] - mother[5:] / 2) ** 2))

    def gap_cost(end: NDArray[np.float64], start: NDArray[np.float64]) -> float:
        move = start - end
        same = move[:4] @ move[:4] + move[5:] @ move[5:]
        # A mother's last link may be to either daughter: she ends there, and each is half of her.
        return float(min(same, daughter_cost(start, end)) + (move[4] - gap) ** 2)

    # Stated rather than left to laptrack, whose own are percentiles of the movie's costs. Successive frames
    # are one interval apart, which every link between them pays.
    broken, apart = parameters.break_um**2 + gap**2, most
    costs = {
        "metric": "sqeuclidean",
        "cutoff": most + gap**2,
        "track_start_cost": broken,
        "track_end_cost": broken,
        "gap_closing_metric": gap_cost,
        "gap_closing_cutoff": most,
        "gap_closing_max_frame_count": parameters.max_gap_intervals,
        "splitting_metric": daughter_cost,
        "splitting_cutoff": most if parameters.split else False,
        "segment_start_cost": apart,
        "segment_end_cost": apart,
        "no_splitting_cost": apart,
    }
    return LapTrack.model_validate(costs)
