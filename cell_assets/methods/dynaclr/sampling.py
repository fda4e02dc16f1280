"""Which cells are compared with which: the three sampling strategies of the paper (section 3.1).

Draws are vectorised over a whole epoch and depend on (seed, epoch, split) alone, so that an epoch can be
drawn again after a resume and no worker or batch order can change it. No pixels here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.cells import (
    EXCLUDED_CODE,
    SPLITS,
    UNLISTED_CODE,
    BoolArray,
    CellIndex,
    IntArray,
)


class SamplingStrategy(StrEnum):
    """How positives and negatives are chosen (section 3.1)."""

    CLASSICAL = "classical"
    """Positive: the anchor, augmented again. Negative: any other cell image."""
    CELL_AWARE = "cell-aware"
    """Positive: the anchor, augmented again. Negative: another track at any time."""
    TIME_AND_CELL_AWARE = "time-and-cell-aware"
    """Positive: the same track at t+τ. Negative: another track at t+τ."""


class Relatives(StrEnum):
    """Whether cells of the anchor's own lineage may be its negatives, where sampling knows tracks.

    The paper says "a different cell" and no more. A sister or daughter looks like the anchor for a reason.
    """

    EXCLUDE = "exclude"
    """No sister, mother, daughter or further relative."""
    ALLOW = "allow"
    """Every other track."""


@dataclass(frozen=True)
class AnchorCount:
    """Where the cells of a split went: every cell is an anchor or has one reason not to be."""

    cells: int
    anchors: int
    without_later_image: int
    """Cells whose track has no image at t+τ (it ended, divided, or lost a frame)."""
    without_negative: int
    """Cells for which no negative is left once direct relatives are excluded."""
    relatives_only: int
    """Anchors whose candidates are all of their own lineage, so that only direct relatives are excluded."""
    cells_in_other_splits: int
    cells_not_in_manifest: int
    cells_left_out: int
    """Cells that the manifest leaves out because of their plate's quality."""


@dataclass(frozen=True)
class EpochDraws:
    """One epoch: every anchor once, in shuffled order. Entries index the `CellIndex`."""

    anchor: IntArray
    positive: IntArray
    negative: IntArray

    def __len__(self) -> int:
        return len(self.anchor)


def lag_frames(cells: CellIndex, tau_min: float, tolerance_min: float) -> IntArray:
    """Frames that make up τ in every table.

    Raises:
        BadInputError: a table has no time interval, or no whole number of its frames (1 or more) is within
            `tolerance_min` minutes of `tau_min`, or within a tenth of a frame where that is less.
    """
    intervals = cells.interval_of_table
    if np.isnan(intervals).any():
        unknown = int(np.flatnonzero(np.isnan(intervals))[0])
        raise BadInputError(
            f"{cells.name_of_table[unknown]}: interval_min is not known, so that tau_min={tau_min:g} cannot be "
            "placed; give it at ingest, or train with strategy=cell-aware"
        )
    lags = np.maximum(np.rint(tau_min / intervals), 1).astype(np.int64)
    allowed = np.minimum(tolerance_min, intervals / 10)
    off = np.abs(lags * intervals - tau_min) > allowed + 1e-9
    if off.any():
        first = int(np.flatnonzero(off)[0])
        interval, lag = float(intervals[first]), int(lags[first])
        raise BadInputError(
            f"{cells.name_of_table[first]}: tau_min={tau_min:g} is not within {allowed[first]:g} min of a multiple "
            f"of the frame interval {interval:g} min; choose a multiple, for example tau_min={lag * interval:g}"
        )
    return lags


@dataclass(frozen=True)
class _Pool:
    """Candidates for negatives, sorted by moment and track; a moment is a time that tables share.

    Track codes ascend with lineage, so that a moment, a lineage at a moment and a track at a moment are all
    contiguous ranges.
    """

    cells: IntArray
    keys: IntArray
    n_tracks: int

    @classmethod
    def build(cls, cells: IntArray, moment: IntArray, track: IntArray, n_tracks: int) -> Self:
        keys = moment * n_tracks + track
        order = np.argsort(keys, kind="stable")
        return cls(cells[order], keys[order], n_tracks)

    def find(
        self, moment: IntArray, first_track: IntArray, last_track: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Half-open ranges of tracks `first_track` to `last_track` (inclusive) at `moment`."""
        low = np.searchsorted(self.keys, moment * self.n_tracks + first_track)
        high = np.searchsorted(self.keys, moment * self.n_tracks + last_track + 1)
        return low, high


@dataclass(frozen=True)
class _Exclusions:
    """Ranges of the pool that an anchor's negative may not come from: (n, k), ascending and disjoint."""

    low: IntArray
    high: IntArray

    @property
    def size(self) -> IntArray:
        return (self.high - self.low).sum(axis=1)


class TripletSampler:
    """Draws (anchor, positive, negative) among the cells of one split.

    With `Relatives.EXCLUDE` a negative never shares a lineage with its anchor. Where a moment holds no other
    lineage (a movie founded by one cell), only self, parent, children and sisters are excluded, and
    `count.relatives_only` says for how many anchors. Classical sampling knows no tracks and so no relatives.

    Raises:
        BadInputError: τ does not fit a table's interval, or no cell of the split can be an anchor.
    """

    def __init__(
        self,
        cells: CellIndex,
        split: str,
        strategy: SamplingStrategy,
        seed: int,
        tau_min: float = 30.0,
        tau_tolerance_min: float = 0.0,
        relatives: Relatives = Relatives.EXCLUDE,
    ) -> None:
        self.cells = cells
        self.split = split
        self.strategy = strategy
        self.relatives = relatives
        self.seed = seed
        members = np.flatnonzero(cells.in_split(split))
        timed = strategy is SamplingStrategy.TIME_AND_CELL_AWARE
        if timed:
            lags = lag_frames(cells, tau_min, tau_tolerance_min)
            positive, has_later = _same_track_later(cells, members, lags[cells.table])
            moments = np.unique(np.round(cells.minutes * 1000).astype(np.int64), return_inverse=True)[1]
        else:
            positive, has_later = members, np.ones(len(members), bool)
            moments = np.zeros(len(cells), np.int64)
        n_tracks = len(cells.parent_of_track)
        self._pool = _Pool.build(members, moments[members], cells.track[members], n_tracks)

        anchor, positive = members[has_later], positive[has_later]
        moment = moments[positive]
        everything = np.zeros_like(moment)
        start, end = self._pool.find(moment, everything, everything + n_tracks - 1)
        excluded, relatives_only = self._exclusions(anchor, moment, end - start)
        available = end - start - excluded.size
        usable = available > 0
        self._anchor, self._positive = anchor[usable], positive[usable]
        self._start, self._available = start[usable], available[usable]
        self._excluded = _Exclusions(excluded.low[usable], excluded.high[usable])
        self.count = AnchorCount(
            cells=len(members),
            anchors=int(usable.sum()),
            without_later_image=int((~has_later).sum()),
            without_negative=int((~usable).sum()),
            relatives_only=int((relatives_only & usable).sum()),
            cells_in_other_splits=int(((cells.split != SPLITS.index(split)) & (cells.split >= 0)).sum()),
            cells_not_in_manifest=int((cells.split == UNLISTED_CODE).sum()),
            cells_left_out=int((cells.split == EXCLUDED_CODE).sum()),
        )

    def __len__(self) -> int:
        return len(self._anchor)

    @property
    def anchors(self) -> IntArray:
        """Entries of the `CellIndex` that are anchors, ascending."""
        return self._anchor

    @property
    def kin(self) -> IntArray:
        """A code for every entry of the `CellIndex`: equal where neither is a negative of the other.

        The cell image itself, its track or its lineage, by strategy and choice of relatives. `draw` alone goes
        further, where a moment holds no other lineage.
        """
        if self.strategy is SamplingStrategy.CLASSICAL:
            return np.arange(len(self.cells))
        if self.relatives is Relatives.ALLOW:
            return self.cells.track
        return self.cells.lineage_of_track[self.cells.track]

    def draw(self, epoch: int) -> EpochDraws:
        """All anchors once, shuffled, with a fresh negative each; the same for the same seed and epoch."""
        sequence = np.random.SeedSequence((self.seed, epoch, SPLITS.index(self.split)))
        generator = np.random.Generator(np.random.Philox(sequence))
        order = generator.permutation(len(self._anchor))
        place = self._start[order] + generator.integers(0, self._available[order])
        low, high = self._excluded.low[order], self._excluded.high[order]
        for column in range(low.shape[1]):
            beyond = place >= low[:, column]
            place = place + np.where(beyond, high[:, column] - low[:, column], 0)
        return EpochDraws(self._anchor[order], self._positive[order], self._pool.cells[place])

    def lags_min(self, draws: EpochDraws) -> NDArray[np.float64]:
        """Minutes from every anchor to its positive, read from the draws themselves."""
        return self.cells.minutes[draws.positive] - self.cells.minutes[draws.anchor]

    def _exclusions(
        self, anchor: IntArray, moment: IntArray, candidates: IntArray
    ) -> tuple[_Exclusions, BoolArray]:
        """Ranges that each anchor must avoid, and for which anchors these are direct relatives only."""
        cells = self.cells
        track = cells.track[anchor]
        if self.strategy is SamplingStrategy.CLASSICAL:
            inverse = np.empty(len(cells), np.int64)
            inverse[self._pool.cells] = np.arange(len(self._pool.cells))
            own = inverse[anchor][:, None]
            return _Exclusions(own, own + 1), np.zeros(len(anchor), bool)
        if self.relatives is Relatives.ALLOW:
            low, high = self._pool.find(moment, track, track)
            return _Exclusions(low[:, None], high[:, None]), np.zeros(len(anchor), bool)
        lineage = cells.lineage_of_track[track]
        first = np.searchsorted(cells.lineage_of_track, lineage)
        last = np.searchsorted(cells.lineage_of_track, lineage, side="right") - 1
        low, high = self._pool.find(moment, first, last)
        alone = (high - low) == candidates
        if not alone.any():
            return _Exclusions(low[:, None], high[:, None]), alone
        relatives = _direct_relatives(cells.parent_of_track, track[alone])
        wide_low = np.zeros((len(anchor), relatives.shape[1]), np.int64)
        wide_high = np.zeros_like(wide_low)
        wide_low[:, 0], wide_high[:, 0] = low, high
        at = np.broadcast_to(moment[alone][:, None], relatives.shape)
        relative_low, relative_high = self._pool.find(at, relatives, relatives)
        absent = relatives < 0
        wide_low[alone] = np.where(absent, 0, relative_low)
        wide_high[alone] = np.where(absent, 0, relative_high)
        return _Exclusions(wide_low, wide_high), alone


def _same_track_later(
    cells: CellIndex, members: IntArray, lag_of_cell: IntArray
) -> tuple[IntArray, BoolArray]:
    """For every member, the cell of the same track `lag_of_cell` frames later, and whether there is one."""
    if not len(members):
        return members, np.zeros(0, bool)
    lags = lag_of_cell[members]
    span = int(cells.t.max() + lag_of_cell.max()) + 1
    keys = cells.track[members] * span + cells.t[members]
    order = np.argsort(keys, kind="stable")
    wanted = keys + lags
    place = np.minimum(np.searchsorted(keys[order], wanted), len(members) - 1)
    later = members[order][place]
    return later, keys[order][place] == wanted


def _direct_relatives(parent_of_track: IntArray, tracks: IntArray) -> IntArray:
    """(n, k) track codes of self, parent, children and sisters, ascending, padded with -1 at the left."""
    by_parent = np.argsort(parent_of_track, kind="stable")
    parents = parent_of_track[by_parent]

    def children(track: int) -> list[int]:
        low, high = np.searchsorted(parents, [track, track + 1])
        return by_parent[low:high].tolist()

    distinct, inverse = np.unique(tracks, return_inverse=True)
    families: list[list[int]] = []
    for track in distinct.tolist():
        parent = int(parent_of_track[track])
        sisters = [parent, *children(parent)] if parent >= 0 else []
        families.append(sorted({track, *children(track), *sisters}))
    width = max((len(family) for family in families), default=1)
    padded = np.array([[-1] * (width - len(family)) + family for family in families], np.int64)
    return padded.reshape(len(families), width)[inverse]
