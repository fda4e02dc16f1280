"""Is the representation smooth because states change slowly, or because it recognises the cell? Numbers for both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.evaluation.motion.identity import (
    MIN_FRAMES,
    smoothness_without_identity,
    state_given_track,
    variance_between_tracks,
)
from cell_assets.evaluation.motion.neighbours import identity_hits, state_votes
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.scoring import CHANCE, EMBEDDING, Score, coarse_units, resampled_unit
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, plural, unit_ids

REPORT = "smoothness_and_identity"
"""What the numbers are about, as their report name says."""


@dataclass(frozen=True)
class InUnits:
    """An estimate and what its interval resamples, for example `tracks`."""

    estimate: Estimate
    units_name: str


@dataclass(frozen=True)
class StateBeyondIdentity:
    """What the representation tells of one annotated state without knowing the cell."""

    state: str
    """Name of the task."""
    in_other_fovs: InUnits
    """Balanced accuracy of the vote of a cell's nearest neighbours in other FOVs; one half by chance."""
    given_track: InUnits
    """Partial R² of the state given the track."""


@dataclass(frozen=True)
class IdentityStudy:
    """Of the test cells."""

    same_cell: InUnits
    """Share of cells whose nearest neighbour in their FOV, some frames away, is the same cell."""
    same_cell_chance: InUnits
    same_cell_gain: InUnits
    """`same_cell` less `same_cell_chance` on the same resamples."""
    smoothness_identity_removed: InUnits
    variance_between_tracks: InUnits
    states: tuple[StateBeyondIdentity, ...]
    gap_frames: int
    """Nearer frames than this are no candidates for `same_cell`."""
    neighbours: int
    """Voters of `StateBeyondIdentity.in_other_fovs`."""
    notes: tuple[str, ...]

    def stated(self) -> Iterator[tuple[Score, str]]:
        """Every score with what its interval resamples."""
        for metric, of, one in (
            ("same_cell", EMBEDDING, self.same_cell),
            ("same_cell", CHANCE, self.same_cell_chance),
            ("same_cell_gain_over", CHANCE, self.same_cell_gain),
            ("smoothness_identity_removed", EMBEDDING, self.smoothness_identity_removed),
            ("variance_between_tracks", EMBEDDING, self.variance_between_tracks),
            *(("state_in_other_fovs", state.state, state.in_other_fovs) for state in self.states),
            *(("state_given_track", state.state, state.given_track) for state in self.states),
        ):
            yield Score(metric, of, one.estimate), one.units_name


def study_identity(
    features: FloatArray,
    cells: pd.DataFrame,
    states: Sequence[Labels],
    *,
    split_unit: SplitUnit,
    interval_min: float | None,
    neighbours: int,
    gap_frames: int,
    seed: int,
    n_resamples: int,
) -> IdentityStudy:
    """Hold smoothness against identity on these rows, which are the test rows in canonical order.

    Args:
        features: (N, D), every row with a direction.
        cells: N rows: `fov_name, track_id, t`, and `plate` where there are several.
        states: annotated states, `label` and `known` of the same N rows.
    """
    tracks, fovs = unit_ids(cells, SplitUnit.TRACK), unit_ids(cells, SplitUnit.FOV)
    t = cells["t"].to_numpy(dtype=np.int64)
    hits = identity_hits(features, tracks, t, fovs, gap_frames)
    over = _Resampling(cells, coarse_units(split_unit), seed, n_resamples)
    why = f"no FOV has a test track that lives for {gap_frames + 1} frames beside another"
    hit, chance = metrics.mean(hits.hit[hits.asked]), metrics.mean(hits.chance[hits.asked])
    removed = (
        Estimate.missing("the plate has a single time point or no time interval", len(np.unique(tracks)))
        if interval_min is None
        else smoothness_without_identity(
            features, tracks, t, interval_min, seed=seed, n_resamples=n_resamples
        )
    )
    between = variance_between_tracks(features, tracks, seed=seed, n_resamples=n_resamples)
    return IdentityStudy(
        same_cell=over.of(hit, hits.asked, why),
        same_cell_chance=over.of(chance, hits.asked, why),
        same_cell_gain=over.of(metrics.difference(hit, chance), hits.asked, why),
        smoothness_identity_removed=InUnits(removed, plural(SplitUnit.TRACK)),
        variance_between_tracks=InUnits(between, plural(SplitUnit.TRACK)),
        states=tuple(_state(features, tracks, fovs, one, over, neighbours) for one in states),
        gap_frames=gap_frames,
        neighbours=neighbours,
        notes=_notes(len(cells), int(hits.asked.sum()), gap_frames, neighbours, bool(states)),
    )


@dataclass(frozen=True)
class _Resampling:
    cells: pd.DataFrame
    candidates: tuple[SplitUnit, ...]
    seed: int
    n_resamples: int

    def of(self, statistic: Statistic, rows: BoolArray, why_none: str) -> InUnits:
        """A statistic of those rows, over FOVs where there are enough."""
        scored = self.cells[rows]
        unit = resampled_unit(scored, self.candidates)
        if not len(scored):
            return InUnits(Estimate.missing(why_none), plural(unit))
        estimate = bootstrap_interval(
            unit_ids(scored, unit), statistic, seed=self.seed, n_resamples=self.n_resamples
        )
        return InUnits(estimate, plural(unit))


def _state(
    features: FloatArray, tracks: np.ndarray, fovs: np.ndarray, labels: Labels, over: _Resampling, k: int
) -> StateBeyondIdentity:
    known = labels.known
    label = labels.label[known]
    votes = state_votes(features[known], label, fovs[known], k)
    asked = np.zeros(len(known), dtype=np.bool_)
    asked[known] = votes.asked
    score = metrics.balanced_accuracy(label[votes.asked], votes.positive[votes.asked])
    why = labels.why_none or "annotated test cells are of one FOV only"
    given = (
        state_given_track(features[known], tracks[known], label, seed=over.seed, n_resamples=over.n_resamples)
        if known.any()
        else Estimate.missing(labels.why_none or "no test cell is annotated")
    )
    return StateBeyondIdentity(
        labels.name, over.of(score, asked, why), InUnits(given, plural(SplitUnit.TRACK))
    )


def _notes(n_rows: int, n_asked: int, gap: int, k: int, has_states: bool) -> tuple[str, ...]:
    notes = [
        f"same_cell: {n_asked} of {n_rows} test cells are asked for, those that are seen again at least {gap} frames "
        "away beside another cell. Chance is the share of cells to choose from that are the same one: one by the "
        "number of tracks alive, where all live alike.",
        "smoothness_identity_removed and variance_between_tracks: a state that lasts longer than its track cannot be "
        "told from who the cell is. Where the first is near 1 or a little above, the track's mean was all that made "
        f"the embedding smooth. It is of tracks with at least {MIN_FRAMES} time points.",
    ]
    if has_states:
        notes.append(
            f"state_in_other_fovs: balanced accuracy of the majority among the {k} nearest annotated test cells of "
            "other FOVs (cosine), where a cell cannot meet itself; one half by chance. state_given_track: partial R²; "
            "it asks only of cells that change their state while they are followed."
        )
    return tuple(notes)
