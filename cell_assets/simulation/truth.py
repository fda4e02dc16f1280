"""True tracks and states of one field of view, as tables in the columns that trackers and annotators use."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.population import NO_PARENT, CellHistory

TRACK_COLUMNS = ("track_id", "t", "z", "y", "x", "id", "parent_track_id", "parent_id")
"""Ultrack's order. `id` names one row, `parent_id` the row it continues; -1 where there is none."""
STATE_COLUMNS = (
    "fov_name",
    "track_id",
    "t",
    "infection_state",
    "division_state",
    "hours_post_infection",
)
IDS_PER_FRAME = 1_000_000
"""Row ids are (t + 1) * 1,000,000 + track_id, the pattern of Ultrack's own ids."""


class InfectionState(StrEnum):
    UNINFECTED = "uninfected"
    INFECTED = "infected"
    """At least half of the sensor has moved because of the infection."""


class DivisionState(StrEnum):
    INTERPHASE = "interphase"
    MITOSIS = "mitosis"
    """More round than spread: before, and shortly after, the split."""


@dataclass(frozen=True)
class FieldTruth:
    """What is true of one field."""

    track_ids: NDArray[np.int64]
    """(T, N): track of each cell at each frame; 0 while its centre lies outside the picture."""
    tracks: pd.DataFrame
    states: pd.DataFrame

    @property
    def n_tracks(self) -> int:
        return int(self.tracks["track_id"].nunique())

    @property
    def n_divisions(self) -> int:
        """Tracks that end in a division of which at least one daughter is in the picture."""
        parents = self.tracks["parent_track_id"]
        return int(parents[parents != NO_PARENT].nunique())


def field_truth(
    fov_name: str, parameters: SimulationParameters, history: CellHistory, centres_um: NDArray[np.float64]
) -> FieldTruth:
    """Tables of one field from its cells' history and their nuclei's centres (T, N, 3) in the picture, µm.

    A track is one cell's unbroken stay in the picture. A cell that leaves and comes back starts a new track
    without a parent, since nothing in the picture could tell. A daughter names its parent when the
    parent was in the picture at the frame before.
    """
    centres = centres_um / np.array(parameters.voxel_um_zyx)
    last = np.array(parameters.shape_zyx[1:]) - 1
    inside = ((centres[..., 1:] >= 0) & (centres[..., 1:] <= last)).all(axis=-1) & history.alive
    track_ids, parents = _number_tracks(inside, history)
    frames, cells = np.nonzero(track_ids)
    track = track_ids[frames, cells]
    order = np.lexsort((frames, track))
    frames, cells, track = frames[order], cells[order], track[order]
    parent_track = parents[track]
    first = np.ones(len(track), bool)
    first[1:] = track[1:] != track[:-1]
    predecessor = np.where(first, parent_track, track)
    has_predecessor = predecessor != NO_PARENT
    tracks = pd.DataFrame(
        {
            "track_id": track,
            "t": frames,
            "z": centres[frames, cells, 0],
            "y": centres[frames, cells, 1],
            "x": centres[frames, cells, 2],
            "id": (frames + 1) * IDS_PER_FRAME + track,
            "parent_track_id": parent_track,
            "parent_id": np.where(has_predecessor, frames * IDS_PER_FRAME + predecessor, NO_PARENT),
        },
        columns=list(TRACK_COLUMNS),
    )
    return FieldTruth(track_ids, tracks, _states(fov_name, history, frames, cells, track))


def _number_tracks(
    inside: NDArray[np.bool_], history: CellHistory
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Track ids (T, N) from 1 in order of appearance, and each track's parent by id (entry 0 unused)."""
    track_ids = np.zeros(inside.shape, np.int64)
    parents = [NO_PARENT]
    for t in range(len(inside)):
        for cell in np.flatnonzero(inside[t]):
            if t and inside[t - 1, cell]:
                track_ids[t, cell] = track_ids[t - 1, cell]
                continue
            mother = history.parent[cell]
            born_now = t and mother != NO_PARENT and not history.alive[t - 1, cell]
            parents.append(int(track_ids[t - 1, mother]) if born_now and inside[t - 1, mother] else NO_PARENT)
            track_ids[t, cell] = len(parents) - 1
    return track_ids, np.array(parents, dtype=np.int64)


def _states(
    fov_name: str,
    history: CellHistory,
    frames: NDArray[np.int64],
    cells: NDArray[np.int64],
    track: NDArray[np.int64],
) -> pd.DataFrame:
    since = history.hours_since_onset[frames, cells]
    infected = since >= 0
    mitotic = history.rounding[frames, cells] > 0.5
    return pd.DataFrame(
        {
            "fov_name": fov_name,
            "track_id": track,
            "t": frames,
            "infection_state": np.where(
                infected, InfectionState.INFECTED.value, InfectionState.UNINFECTED.value
            ),
            "division_state": np.where(mitotic, DivisionState.MITOSIS.value, DivisionState.INTERPHASE.value),
            "hours_post_infection": pd.Series(since).where(infected).to_numpy(),
        },
        columns=list(STATE_COLUMNS),
    )
