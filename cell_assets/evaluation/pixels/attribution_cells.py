"""Which cell images are attributed: tracks to look at, and random cells for the numbers. Always of the test split."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.state_heads import StateHead, StateHeads
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, IntArray, unit_ids

_EXAMPLES, _SCORED = 1, 2
"""Places in the seed's path, so that one choice does not move the other."""


@dataclass(frozen=True)
class ExampleTrack:
    """One track that changes its state, to be drawn over time."""

    column: str
    """The annotation that changes."""
    rows: IntArray
    """(T,) rows of `StateHeads.cells` in order of time."""


@dataclass(frozen=True)
class ChosenCells:
    """What is attributed, as rows of `StateHeads.cells`."""

    examples: tuple[ExampleTrack, ...]
    scored: Mapping[str, IntArray]
    """By column, ascending: the cells that the numbers are of."""

    @property
    def rows(self) -> IntArray:
        """Every row that is needed, once, ascending."""
        parts = [*(track.rows for track in self.examples), *self.scored.values()]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def choose_cells(heads: StateHeads, parameters: AttributionParameters) -> ChosenCells:
    """A seeded choice among test rows whose state somebody named.

    Examples: tracks that hold both states, in random order. Scored: of each state `cells_per_state` random cell
    images, first one of every track, then a second one, so that as many tracks as can be stand behind a number.
    """
    tracks = unit_ids(heads.cells, SplitUnit.TRACK)
    examples: list[ExampleTrack] = []
    scored: dict[str, IntArray] = {}
    for number, head in enumerate(heads.heads):
        usable = heads.test & head.known
        draw = np.random.default_rng([parameters.seed, _EXAMPLES, number])
        changing = sorted(set(tracks[usable & head.label]) & set(tracks[usable & ~head.label]))
        for track in draw.permutation(np.array(changing, dtype=np.str_))[: parameters.example_tracks]:
            rows = _around_change(heads, head, usable & (tracks == track), parameters.example_times)
            examples.append(ExampleTrack(head.column, rows))
        draw = np.random.default_rng([parameters.seed, _SCORED, number])
        scored[head.column] = np.sort(
            np.concatenate(
                [
                    _spread_over_tracks(
                        np.flatnonzero(usable & state), tracks, parameters.cells_per_state, draw
                    )
                    for state in (head.label, ~head.label)
                ]
            )
        )
    return ChosenCells(tuple(examples), scored)


def _around_change(heads: StateHeads, head: StateHead, inside: BoolArray, times: int) -> IntArray:
    """Up to `times` of a track's rows: the ones beside its first change, the others evenly spread to its ends."""
    rows = np.flatnonzero(inside)
    rows = rows[np.argsort(heads.cells["t"].to_numpy()[rows], kind="stable")]
    first_after = int(np.flatnonzero(np.diff(head.label[rows]))[0]) + 1
    before, after = rows[:first_after], rows[first_after:]
    # Where one side is short, the other takes its places.
    n_after = min(len(after), max(times // 2, times - len(before)))
    n_before = min(len(before), times - n_after)
    return np.concatenate([evenly_spaced(before[::-1], n_before)[::-1], evenly_spaced(after, n_after)])


def evenly_spaced(rows: IntArray, n: int) -> IntArray:
    """At most `n` of `rows`, from the first to the last."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, n).round().astype(np.int64))]


def _spread_over_tracks(rows: IntArray, tracks: np.ndarray, n: int, draw: np.random.Generator) -> IntArray:
    shuffled = draw.permutation(rows)
    turn = pd.Series(tracks[shuffled]).groupby(tracks[shuffled]).cumcount().to_numpy()
    return shuffled[np.argsort(turn, kind="stable")][:n]
