"""How far photobleaching misleads a model: what its probes lose, and how far its embeddings move.

Two tables hold what the numbers rest on. `cells` has a row for every dimmed cell image and share of remaining light:
`plate, fov_name, track_id, t, remaining, displacement` and, for each annotation column that has a probe, its label
(null where not annotated) and the probability of the positive state. `tracks` has a row for each of their tracks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.motion.dynamics import pairs_at_lag, unit_vectors
from cell_assets.evaluation.pixels.bleaching_parameters import ALL_LIGHT, BleachingParameters, percent
from cell_assets.evaluation.pixels.state_heads import StateHeads
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.scores.scoring import (
    EMBEDDING,
    Prediction,
    Scoring,
    coarse_units,
    resampled_unit,
    units_note,
)
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, plural, unit_ids
from cell_assets.ledger.records import NumberDraft

REPORT = "bleaching"
CELLS_FILE, TRACKS_FILE = "cells.parquet", "tracks.parquet"
_METRIC = "balanced_accuracy"
_KEYS = ["plate", "fov_name", "track_id", "t"]
_TRACK = _KEYS[:3]
_SAME_TO = 0.02
"""Relative difference of features up to which published ones are the network's: batches round differently."""


def at_share(name: str, share: float) -> str:
    """Name of a number at a share of the light, for example `displacement_at_50_percent`."""
    return f"{name}_at_{percent(share)}_percent"


def accuracy_name(column: str) -> str:
    """Balanced accuracy of a column's probe."""
    return f"{_METRIC}_{column}"


def lost_name(column: str) -> str:
    """Balanced accuracy without dimming, less that with it, of the same cells."""
    return f"{_METRIC}_lost_{column}"


DISPLACEMENT = "displacement"
"""Mean distance between the normalised embeddings of a cell with all of its light and with a share of it: DynaCLR
Eq. 3, with dimming where that has time."""
PER_INTERVAL = "displacement_per_interval"
"""The same over the mean displacement of the same tracks in one frame (Eq. 3 at τ = 1)."""


def label_column(column: str) -> str:
    """Whether the cell is in the positive state of an annotation column."""
    return f"label_{column}"


def probability_column(column: str) -> str:
    """Probability of the positive state of an annotation column."""
    return f"probability_{column}"


def probed_columns(cells: pd.DataFrame) -> tuple[str, ...]:
    """Annotation columns of the `cells` table that have a probe."""
    stem = label_column("")
    return tuple(name.removeprefix(stem) for name in cells.columns if name.startswith(stem))


def draw_cells(heads: StateHeads, parameters: BleachingParameters) -> IntArray:
    """Ascending rows of `heads.cells`: test cell images, drawn by the seed where there are more than asked for."""
    test = np.flatnonzero(heads.test)
    n = min(parameters.most_cells, len(test))
    return np.sort(np.random.default_rng(parameters.seed).choice(test, n, replace=False))


def dimmed_scores(
    heads: StateHeads, rows: IntArray, features: Mapping[float, NDArray[np.floating]]
) -> pd.DataFrame:
    """The `cells` table.

    Args:
        rows: (n,) of `heads.cells`.
        features: (n, D) of these rows by share of remaining light, all of it among them.

    Raises:
        BadInputError: an embedding is zero or not finite and so has no direction.
    """
    undimmed = unit_vectors(features[ALL_LIGHT].astype(np.float64))
    where = heads.cells[_KEYS].iloc[rows].reset_index(drop=True).astype({"plate": str, "fov_name": str})
    frames = []
    for share, found in features.items():
        seen = found.astype(np.float64)
        moved = np.linalg.norm(unit_vectors(seen) - undimmed, axis=1)
        frame = where.assign(remaining=share, **{DISPLACEMENT: moved})
        for head in heads.heads:
            label = pd.array(head.label[rows], dtype="boolean")
            label[~head.known[rows]] = pd.NA
            frame[label_column(head.column)] = label
            frame[probability_column(head.column)] = 1 / (1 + np.exp(-head.linear.logit(seen)))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def refuse_other_features(heads: StateHeads, published: FloatArray, rows: IntArray, seen: NDArray) -> None:
    """Raise `BadInputError` where undimmed features (n, D) are not the published ones of these rows."""
    expected = published[rows]
    difference = np.linalg.norm(seen - expected, axis=1) / np.linalg.norm(expected, axis=1)
    if len(rows) and difference.max() > _SAME_TO:
        worst = heads.cells.iloc[rows[int(difference.argmax())]]
        raise BadInputError(
            f"the checkpoint says something else of {' '.join(str(worst[key]) for key in _KEYS)} than the embeddings "
            "do: they were made with another checkpoint or other patches; make the embeddings again"
        )


def steps_of_tracks(cells: pd.DataFrame, features: FloatArray, of: pd.DataFrame) -> pd.DataFrame:
    """The `tracks` table: `plate, fov_name, track_id, n_steps, mean_step`, for every track that `of` holds.

    A step is the displacement over one frame (Eq. 3 at τ = 1), of all published cell images of the track; `mean_step`
    is null where a track has none.

    Args:
        cells: N rows in any order.
        features: (N, D) as published.
    """
    wanted = of[_TRACK].drop_duplicates().reset_index(drop=True)
    of_tracks = np.isin(unit_ids(cells, SplitUnit.TRACK), unit_ids(wanted, SplitUnit.TRACK))
    own = cells[of_tracks]
    names = unit_ids(own, SplitUnit.TRACK)
    start, end = pairs_at_lag(names, own["t"].to_numpy(np.int64), 1)
    z = unit_vectors(features[of_tracks])
    lengths = pd.Series(np.linalg.norm(z[end] - z[start], axis=1)).groupby(names[start])
    ids = unit_ids(wanted, SplitUnit.TRACK)
    return wanted.assign(
        n_steps=lengths.size().reindex(ids, fill_value=0).to_numpy(np.int64),
        mean_step=lengths.mean().reindex(ids).to_numpy(np.float64),
    )


def bleaching_numbers(
    cells: pd.DataFrame,
    tracks: pd.DataFrame,
    columns: Sequence[str],
    method: str,
    split: str,
    split_unit: SplitUnit,
    parameters: BleachingParameters,
) -> tuple[NumberDraft, ...]:
    """Balanced accuracies, what is lost of them, and displacements, by share of remaining light.

    Accuracies have intervals over FOVs or tracks as the report's have, a loss on the same resamples; displacements over
    tracks.

    Args:
        columns: annotation columns that have a probe.
        split: which rows these are, for example `test tracks`.
    """
    numbers: list[NumberDraft] = []
    for column in columns:
        labelled = cells[cells[label_column(column)].notna().to_numpy()]
        seen = labelled[labelled["remaining"] == ALL_LIGHT]
        unit = _unit(seen, split_unit)
        scoring = Scoring(
            seen[label_column(column)].to_numpy(np.bool_),
            unit_ids(seen, unit),
            parameters.seed,
            parameters.n_resamples,
        )
        said = {
            share: Prediction(
                EMBEDDING,
                labelled.loc[labelled["remaining"] == share, probability_column(column)].to_numpy(np.float64),
                None,
            )
            for share in parameters.remaining
        }
        estimates = {
            at_share(accuracy_name(column), share): scoring.estimate(_METRIC, prediction)
            for share, prediction in said.items()
        } | {
            at_share(lost_name(column), share): scoring.gain(_METRIC, said[ALL_LIGHT], said[share])
            for share in parameters.dimmed
        }
        numbers += [_draft(name, estimate, unit, method, split) for name, estimate in estimates.items()]
    displacements = _displacements(cells, tracks, parameters)
    return (
        *numbers,
        *(_draft(name, one, SplitUnit.TRACK, method, split) for name, one in displacements.items()),
    )


def numbers_without_probe(
    without: Mapping[str, str], method: str, split: str, parameters: BleachingParameters
) -> tuple[NumberDraft, ...]:
    """What cannot be said of columns that have no probe; `without` says of each why."""
    return tuple(
        _draft(at_share(name(column), share), Estimate.missing(why), SplitUnit.TRACK, method, split)
        for column, why in without.items()
        for name, shares in ((accuracy_name, parameters.remaining), (lost_name, parameters.dimmed))
        for share in shares
    )


def numbers_without_light(
    why: str, columns: Sequence[str], method: str, split: str, parameters: BleachingParameters
) -> tuple[NumberDraft, ...]:
    """All numbers without a value, for a model of which nothing can bleach."""
    return numbers_without_probe(dict.fromkeys(columns, why), method, split, parameters) + tuple(
        _draft(at_share(name, share), Estimate.missing(why), SplitUnit.TRACK, method, split)
        for name in (DISPLACEMENT, PER_INTERVAL)
        for share in parameters.dimmed
    )


def bleaching_notes(cells: pd.DataFrame, columns: Sequence[str], split_unit: SplitUnit) -> tuple[str, ...]:
    """Where intervals are over less than was wished for."""
    notes = []
    candidates = coarse_units(split_unit)
    for column in columns:
        seen = cells[(cells["remaining"] == ALL_LIGHT) & cells[label_column(column)].notna()]
        n_coarse = len(np.unique(unit_ids(seen, candidates[0])))
        notes.append(units_note(column, _unit(seen, split_unit), candidates, n_coarse))
    return tuple(note for note in notes if note is not None)


def _unit(scored: pd.DataFrame, split_unit: SplitUnit) -> SplitUnit:
    return resampled_unit(scored, coarse_units(split_unit))


def _displacements(
    cells: pd.DataFrame, tracks: pd.DataFrame, parameters: BleachingParameters
) -> dict[str, Estimate]:
    """By name of the number; a row a track, so that a ratio resamples both of its sides together."""
    names = unit_ids(tracks, SplitUnit.TRACK)
    n_steps = tracks["n_steps"].to_numpy(np.float64)
    steps = np.where(n_steps > 0, tracks["mean_step"].to_numpy(np.float64) * n_steps, 0.0)
    moved, per_step = {}, {}
    for share in parameters.dimmed:
        dimmed = cells[cells["remaining"] == share]
        codes = pd.Categorical(unit_ids(dimmed, SplitUnit.TRACK), categories=names).codes
        sums = np.bincount(codes, dimmed[DISPLACEMENT].to_numpy(np.float64), len(names)).astype(np.float64)
        counts = np.bincount(codes, minlength=len(names)).astype(np.float64)
        mean = _mean(sums, counts)
        moved[at_share(DISPLACEMENT, share)] = _interval(names, mean, parameters)
        per_step[at_share(PER_INTERVAL, share)] = _interval(
            names, _ratio(mean, _mean(steps, n_steps)), parameters
        )
    return moved | per_step


def _mean(sums: FloatArray, counts: FloatArray) -> Statistic:
    return Statistic(lambda w: _divide(w @ sums, w @ counts), "there is no cell")


def _ratio(above: Statistic, below: Statistic) -> Statistic:
    return Statistic(
        lambda w: _divide(above.function(w), below.function(w)),
        "no track of these cells was seen in two consecutive frames, or none moves",
    )


def _divide(above: FloatArray, below: FloatArray) -> FloatArray:
    good: BoolArray = below > 0
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=good)


def _interval(names: NDArray[np.str_], statistic: Statistic, parameters: BleachingParameters) -> Estimate:
    return bootstrap_interval(names, statistic, seed=parameters.seed, n_resamples=parameters.n_resamples)


def _draft(name: str, estimate: Estimate, unit: SplitUnit, method: str, split: str) -> NumberDraft:
    return estimate.as_number(
        report=f"{method}/{REPORT}",
        name=name,
        split=split,
        unit=plural(unit),
    )
