"""Is a division a disruption in feature space? Steps before and across divisions, and the tracks that show them.

DynaCLR §4.2 and Figure 4 show trajectories through a division; here the length of their steps is measured, too.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.motion.dynamics import unit_vectors
from cell_assets.evaluation.motion.track_steps import step_lengths, steps_of
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval, stated_split
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.scoring import EMBEDDING, Score, score_notes
from cell_assets.evaluation.scores.tasks import about_to_divide, track_ends
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation, canonical_order
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, plural, unit_ids

REPORT = "division_displacement"
MOST_TRAJECTORIES = 3


@dataclass(frozen=True)
class DivisionTrajectory:
    """A cell that divides and its first two daughters, as rows of the caller's cell table in order of time."""

    parent: IntArray
    """The last one is the division, the parent's last frame (DynaCLR §3.4.1)."""
    daughters: tuple[IntArray, IntArray]


@dataclass(frozen=True)
class DivisionSteps:
    """Lengths of steps around divisions of held-out tracks, and tracks to look at."""

    scores: tuple[Score, ...]
    near_division: BoolArray
    """(N,) of the caller's rows, whether the cell divides within the horizon."""
    trajectories: tuple[DivisionTrajectory, ...]
    """At most `MOST_TRAJECTORIES`: those followed for longest, so that none is picked for its looks."""

    def estimate(self, metric: str) -> Estimate:
        """Raises `StopIteration` when there is none."""
        return next(score.estimate for score in self.scores if score.metric == metric)


def study_division_steps(
    features: FloatArray,
    cells: pd.DataFrame,
    evaluation: EmbeddingEvaluation,
    tracks: pd.DataFrame,
    horizon_min: float,
) -> DivisionSteps:
    """Mean displacement (Eq. 3, one frame) of steps that end within `horizon_min` of a division, and of all others.

    Steps of tracks that end within the horizon without a division are neither. Intervals are over tracks.

    Args:
        features: (N, D)
        cells: N rows: `plate, fov_name, track_id, t, split, parent_track_id`, in any order.
        tracks: as `track_ends` takes them.
    """
    settings = evaluation.settings
    names = ("before_division", "other_steps", "before_division_over_other_steps", "across_division")
    if settings.interval_min is None:
        why = Estimate.missing("the plate has a single time point or no time interval")
        nowhere = np.zeros(len(cells), dtype=np.bool_)
        return DivisionSteps(tuple(Score(name, EMBEDDING, why) for name in names), nowhere, ())
    order = canonical_order(cells)
    test = order[(cells["split"].astype(str) == settings.test_split).to_numpy()[order]]
    table, z = cells.iloc[test].reset_index(drop=True), unit_vectors(features[test])
    track, t = unit_ids(table, SplitUnit.TRACK), table["t"].to_numpy(dtype=np.int64)
    everywhere = about_to_divide(cells, settings.interval_min, horizon_min, tracks)
    labels = everywhere.reordered(test)
    steps = steps_of(track, t)
    one_frame = steps.frames == 1
    length, unit = step_lengths(steps, z)[one_frame], steps.track[one_frame]
    end = steps.end[one_frame]
    before, other = labels.known[end] & labels.label[end], labels.known[end] & ~labels.label[end]

    def interval(units: np.ndarray, statistic: Statistic) -> Estimate:
        return bootstrap_interval(units, statistic, seed=settings.seed, n_resamples=settings.n_resamples)

    near = f"no test step ends within {horizon_min:g} min of a division"
    far = f"no test step ends more than {horizon_min:g} min before the end of its track"
    across, parents = _across_divisions(z, table, track, tracks)
    estimates = (
        interval(unit[before], metrics.mean(length[before], near))
        if before.any()
        else Estimate.missing(near),
        interval(unit[other], metrics.mean(length[other], far)) if other.any() else Estimate.missing(far),
        interval(unit, _ratio_of_means(length, before, other, f"{near}, or {far}")),
        interval(parents, metrics.mean(across, _NO_DAUGHTERS))
        if len(across)
        else Estimate.missing(_NO_DAUGHTERS),
    )
    scores = tuple(Score(name, EMBEDDING, one) for name, one in zip(names, estimates, strict=True))
    near_division = everywhere.known & everywhere.label
    return DivisionSteps(scores, near_division, _trajectories(cells, tracks, settings.test_split))


def with_division_steps(evaluation: EmbeddingEvaluation, found: DivisionSteps) -> EmbeddingEvaluation:
    """`evaluation` with the numbers and notes of these steps behind its own."""
    settings, split = evaluation.settings, evaluation.split.short
    numbers = [
        score.estimate.as_number(
            report=f"{settings.method}/{REPORT}",
            name=score.name,
            split=stated_split(split, settings.simulated),
            unit=plural(SplitUnit.TRACK),
        )
        for score in found.scores
    ]
    notes = score_notes(REPORT, found.scores)
    return replace(evaluation, numbers=(*evaluation.numbers, *numbers), notes=(*evaluation.notes, *notes))


_NO_DAUGHTERS = "no test track is seen in its last frame and has a daughter in the next one"


def _across_divisions(
    z: FloatArray, table: pd.DataFrame, track: np.ndarray, tracks: pd.DataFrame
) -> tuple[FloatArray, np.ndarray]:
    """Displacement from each dividing track's last frame to its daughters' next one, and the parent's name."""
    rows = pd.DataFrame(
        {"track": track, "t": table["t"].to_numpy(dtype=np.int64), "row": np.arange(len(table))}
    )
    parents = table.assign(track_id=table["parent_track_id"].fillna(-1).astype("int64"))
    born = rows.assign(
        parent=unit_ids(parents, SplitUnit.TRACK), birth=rows.groupby("track")["t"].transform("min")
    )
    born = born[(parents["track_id"] != -1).to_numpy() & (born["t"] == born["birth"])]
    ends = track_ends(table, 1.0, tracks)
    last = rows[ends.divides & (ends.minutes_left == 0)]
    joined = last.merge(born, left_on="track", right_on="parent", suffixes=("", "_daughter"))
    joined = joined[joined["t_daughter"] == joined["t"] + 1]
    left, right = joined["row"].to_numpy(dtype=np.int64), joined["row_daughter"].to_numpy(dtype=np.int64)
    return np.linalg.norm(z[left] - z[right], axis=1), joined["track"].to_numpy(dtype=np.str_)


def _trajectories(
    cells: pd.DataFrame, tracks: pd.DataFrame, test_split: str
) -> tuple[DivisionTrajectory, ...]:
    """Test tracks that are seen to divide, with two daughters of any split, the longest followed first."""
    track = unit_ids(cells, SplitUnit.TRACK)
    n_rows = pd.Series(track).value_counts()
    mothers = cells.assign(track_id=cells["parent_track_id"].fillna(-1).astype("int64"))
    mother = unit_ids(mothers, SplitUnit.TRACK)
    born = pd.DataFrame({"mother": mother, "track": track})[(mothers["track_id"] != -1).to_numpy()]
    daughters_of = born.groupby("mother")["track"].unique()
    ends = track_ends(cells, 1.0, tracks)
    divides = ends.divides & (ends.minutes_left == 0) & (cells["split"].astype(str) == test_split).to_numpy()
    families = [
        (parent, *sorted(daughters)[:2])
        for parent in sorted(set(track[divides]))
        if len(daughters := daughters_of.get(parent, [])) >= 2 and n_rows[parent] >= 2
    ]
    families.sort(key=lambda family: -sum(n_rows[name] for name in family))  # stable: by name where equal
    t = cells["t"].to_numpy()

    def rows(name: str) -> IntArray:
        found = np.flatnonzero(track == name)
        return found[np.argsort(t[found])]

    return tuple(
        DivisionTrajectory(rows(parent), (rows(first), rows(second)))
        for parent, first, second in families[:MOST_TRAJECTORIES]
    )


def _ratio_of_means(values: FloatArray, left: BoolArray, right: BoolArray, undefined_when: str) -> Statistic:
    """Mean over `left` divided by the mean over `right`, on the same resample."""
    a, b = left.astype(np.float64), right.astype(np.float64)

    def function(weights: FloatArray) -> FloatArray:
        return _divide(
            _divide(weights @ (a * values), weights @ a), _divide(weights @ (b * values), weights @ b)
        )

    return Statistic(function, undefined_when)


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
