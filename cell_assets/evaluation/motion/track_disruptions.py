"""False tracking errors, put into tracks that are taken as true: identity swaps and false fusions.

A swap exchanges the names of two neighbours from a frame on. In a merge a track shows its neighbour for a few frames
and then its own cell again (DynaCLR, Appendix Figure 3). Pixels and embeddings stay as they are; what changes is which
track they are said to belong to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cell_assets.evaluation.studies.study_parameters import DisruptionParameters
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray


class DisruptionKind(StrEnum):
    """What goes wrong."""

    SWAP = "swap"
    MERGE = "merge"


@dataclass(frozen=True)
class TrackedCells:
    """Cells along tracks; every array has N rows, one per cell and time point, in canonical order."""

    track: StrArray
    """Name of the track, unique over plates."""
    t: IntArray
    """Frame."""
    fov: StrArray
    """Plate and FOV; cells of different ones are never neighbours."""
    is_test: BoolArray
    """Whether the track is held out. Neighbours are sought on the same side only, so that nothing crosses over."""
    position_um: FloatArray
    """(N, A) centroid, µm."""


@dataclass(frozen=True)
class Disruption:
    """One injected error."""

    kind: DisruptionKind
    track: str
    partner: str
    start: int
    """First frame in which `track` shows the partner's cell."""
    stop: int | None
    """First frame in which it shows its own again; None for a swap, which lasts."""
    distance_um: float
    """Between both centroids in frame `start`."""


@dataclass(frozen=True)
class DisruptedTracks:
    """The same rows under wrong names."""

    track: StrArray
    """(N,) the track that each row is said to belong to."""
    source: IntArray
    """(N,) the row whose embedding and centroid each row shows; its own, except where tracks are merged."""
    events: tuple[Disruption, ...]

    def units(self) -> dict[str, str]:
        """Each disrupted track's independent unit: partners share theirs, since one error disrupts both."""
        pairs = [(event.track, event.partner) for event in self.events]
        return {name: min(pair) for pair in pairs for name in pair}


def swap_identities(track: StrArray, t: IntArray, first: str, second: str, start: int) -> StrArray:
    """`track` (N,) with both names exchanged from frame `start` on. Doing it twice undoes it."""
    late = t >= start
    swapped = np.where(late & (track == first), second, track)
    return np.where(late & (track == second), first, swapped)


def merge_into(
    track: StrArray, t: IntArray, source: IntArray, merged: str, neighbour: str, frames: range
) -> IntArray:
    """`source` (N,) where `merged` shows the rows of `neighbour` in `frames`; both have a row in each of them."""
    shown = source.copy()
    for frame in frames:
        of = {name: np.flatnonzero((track == name) & (t == frame))[0] for name in (merged, neighbour)}
        shown[of[merged]] = source[of[neighbour]]
    return shown


def inject(
    cells: TrackedCells, kind: DisruptionKind, parameters: DisruptionParameters, seed: int
) -> DisruptedTracks:
    """Disrupt a share of the tracks of each side, every one at most once, where a neighbour comes near enough.

    Partners meet in the frame of their closest approach, where trackers confuse them.

    The draws depend on names, frames, centroids and `seed` alone, not on embeddings.
    """
    rng = np.random.default_rng([seed, list(DisruptionKind).index(kind)])
    neighbourhood = _Neighbourhood.of(cells)
    events: list[Disruption] = []
    for is_test in (False, True):
        names = np.unique(cells.track[cells.is_test == is_test])
        most = max(2, round(parameters.share_of_tracks * len(names)))
        taken: set[str] = set()
        for name in rng.permutation(names):
            if len(taken) + 2 > most:
                break
            if name in taken:
                continue
            event = _draw(neighbourhood, kind, str(name), taken, parameters, rng)
            if event is not None:
                events.append(event)
                taken |= {event.track, event.partner}
    track, source = cells.track.copy(), np.arange(len(cells.track))
    for event in events:
        if event.stop is None:
            track = swap_identities(track, cells.t, event.track, event.partner, event.start)
        else:
            frames = range(event.start, event.stop)
            source = merge_into(cells.track, cells.t, source, event.track, event.partner, frames)
    return DisruptedTracks(track, source, tuple(events))


@dataclass(frozen=True)
class _Neighbourhood:
    """Who is where in each frame."""

    cells: TrackedCells
    row: dict[tuple[str, int], int]
    """By track and frame."""
    frame: dict[tuple[str, bool, int], IntArray]
    """Rows by FOV, side and frame."""
    frames_of: dict[str, list[int]]
    """Frames of each track, rising."""

    @classmethod
    def of(cls, cells: TrackedCells) -> "_Neighbourhood":
        row: dict[tuple[str, int], int] = {}
        frame: dict[tuple[str, bool, int], list[int]] = {}
        frames_of: dict[str, list[int]] = {}
        for k in np.lexsort((cells.t, cells.track)):
            name, t = str(cells.track[k]), int(cells.t[k])
            row[name, t] = int(k)
            frames_of.setdefault(name, []).append(t)
            frame.setdefault((str(cells.fov[k]), bool(cells.is_test[k]), t), []).append(int(k))
        return cls(cells, row, {key: np.array(rows) for key, rows in frame.items()}, frames_of)

    def is_followed(self, name: str, frames: range) -> bool:
        return all((name, frame) in self.row for frame in frames)

    def near(self, name: str, t: int, max_distance_um: float) -> Iterator[tuple[str, float]]:
        """Other cells of the same frame, FOV and side with their distance in µm."""
        own = self.row[name, t]
        rows = self.frame[str(self.cells.fov[own]), bool(self.cells.is_test[own]), t]
        distance = np.linalg.norm(self.cells.position_um[rows] - self.cells.position_um[own], axis=1)
        for place in np.flatnonzero((distance <= max_distance_um) & (rows != own)):
            yield str(self.cells.track[rows[place]]), float(distance[place])


def _draw(
    where: _Neighbourhood,
    kind: DisruptionKind,
    name: str,
    taken: set[str],
    parameters: DisruptionParameters,
    rng: np.random.Generator,
) -> Disruption | None:
    """An error of this track with one of its nearest neighbours, in the frame of their closest approach.

    None where no neighbour is near enough while both are followed.
    """
    n_frames = 1 if kind is DisruptionKind.SWAP else int(rng.integers(1, parameters.max_merged_frames + 1))
    closest: dict[str, tuple[float, int]] = {}
    for start in where.frames_of[name]:
        # A merged track is followed before and after; of swapped ones both are seen on both sides of the swap.
        own = range(start - 1, start + 1 if kind is DisruptionKind.SWAP else start + n_frames + 1)
        theirs = own if kind is DisruptionKind.SWAP else range(start, start + n_frames)
        if not where.is_followed(name, own):
            continue
        for partner, distance in where.near(name, start, parameters.max_distance_um):
            if partner not in taken and where.is_followed(partner, theirs):
                closest[partner] = min(closest.get(partner, (np.inf, 0)), (distance, start))
    if not closest:
        return None
    nearest = sorted((distance, start, partner) for partner, (distance, start) in closest.items())
    distance, start, partner = nearest[int(rng.integers(min(parameters.nearest, len(nearest))))]
    stop = None if kind is DisruptionKind.SWAP else start + n_frames
    return Disruption(kind, name, partner, start, stop, distance)
