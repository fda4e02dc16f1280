"""What a cell's nearest neighbours in feature space are: its state in other FOVs, itself at other times.

Distances are made in blocks, so that memory stays at a few `BLOCK_ELEMENTS` numbers whatever the number of cells;
time grows with its square.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cell_assets.evaluation.motion.dynamics import unit_vectors
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray

BLOCK_ELEMENTS = 4_000_000
"""Similarities in memory at a time: 32 MB, of which a sort and a mask make up to four times as much."""


@dataclass(frozen=True)
class StateVotes:
    """What neighbours say of each row."""

    positive: BoolArray
    """(N,), more than half of the neighbours are positive; False where `asked` is."""
    asked: BoolArray
    """(N,), there is a row in another FOV."""
    k: int
    """Neighbours of the rows that have the fewest."""


@dataclass(frozen=True)
class IdentityHits:
    """Whether each row's nearest neighbour at another time is the same cell."""

    hit: FloatArray
    """(N,), 1 where it is; 0 elsewhere."""
    chance: FloatArray
    """(N,), share of the rows to choose from that are of the same track: what a blind choice hits."""
    asked: BoolArray
    """(N,), the row's own track is among those to choose from, and so is another."""


def state_votes(
    features: FloatArray, positive: BoolArray, fovs: StrArray, k: int, block_elements: int = BLOCK_ELEMENTS
) -> StateVotes:
    """The majority of the `k` nearest rows (cosine) of other FOVs; all of them where there are fewer.

    Args:
        features: (N, D), every row with a direction.
        positive: (N,) state of every row.
        fovs: (N,) FOV of every row, unique over plates.
    """
    z = unit_vectors(features)
    voted = np.zeros(len(z), dtype=np.bool_)
    asked = np.zeros(len(z), dtype=np.bool_)
    fewest = k
    for fov in np.unique(fovs):
        inside = np.flatnonzero(fovs == fov)
        pool = np.flatnonzero(fovs != fov)
        if not len(pool):
            continue
        n_nearest = min(k, len(pool))
        fewest = min(fewest, n_nearest)
        for rows in _blocks(inside, len(pool), block_elements):
            similarity = z[rows] @ z[pool].T
            nearest = np.argpartition(-similarity, n_nearest - 1, axis=1)[:, :n_nearest]
            voted[rows] = 2 * positive[pool][nearest].sum(axis=1) > n_nearest
        asked[inside] = True
    return StateVotes(voted, asked, fewest)


def identity_hits(
    features: FloatArray,
    tracks: StrArray,
    t: IntArray,
    fovs: StrArray,
    gap_frames: int,
    block_elements: int = BLOCK_ELEMENTS,
) -> IdentityHits:
    """Is the nearest row (cosine) of the same FOV, at least `gap_frames` frames earlier or later, the same track?

    Args:
        features: (N, D), every row with a direction.
        tracks: (N,) track of every row, unique over FOVs.
        t: (N,) frame of every row.
        fovs: (N,) FOV of every row, unique over plates.
    """
    z = unit_vectors(features)
    hit, chance = np.zeros(len(z)), np.zeros(len(z))
    asked = np.zeros(len(z), dtype=np.bool_)
    _, code = np.unique(tracks, return_inverse=True)
    for fov in np.unique(fovs):
        inside = np.flatnonzero(fovs == fov)
        for rows in _blocks(inside, len(inside), block_elements):
            apart = np.abs(t[rows][:, None] - t[inside]) >= gap_frames
            same = apart & (code[rows][:, None] == code[inside])
            similarity = np.where(apart, z[rows] @ z[inside].T, -np.inf)
            n_same, n_apart = same.sum(axis=1), apart.sum(axis=1)
            asked[rows] = (n_same > 0) & (n_same < n_apart)
            nearest = inside[similarity.argmax(axis=1)]
            hit[rows] = asked[rows] & (code[nearest] == code[rows])
            chance[rows] = np.divide(n_same, n_apart, out=np.zeros(len(rows)), where=n_apart > 0)
    return IdentityHits(hit, chance, asked)


def _blocks(rows: IntArray, n_columns: int, block_elements: int) -> Iterator[IntArray]:
    size = max(1, block_elements // max(1, n_columns))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
