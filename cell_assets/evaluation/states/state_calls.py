"""What a probe calls every cell, for a column of two states, that is not the probe which learned from the cell.

Test cells are called by a probe of all train and val cells; those are called by probes of the other folds
(cross-fitting), so that intervals of onset and rates of error can be calibrated on every annotated track. The probe's
strength is chosen for its probabilities. No founder has tracks on two sides, however the manifest splits.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit

from cell_assets.evaluation.scores.probes import Criterion, ProbeData, fit_probe, fold_heads, why_no_probe
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import Split, SplitUnit
from cell_assets.evaluation.units import (
    BoolArray,
    FloatArray,
    require_columns,
    unit_ids,
)
from cell_assets.imaging.patches import HOURS

MOST_RETURNS = 0.1
"""Up to this share of an annotated state's changes may lead back, as slips of annotation do, before it no longer
counts as lasting."""


@dataclass(frozen=True)
class Direction:
    """Into which of two states cells turn, counted along the annotated tracks that probes learn from."""

    state: str
    other: str
    n_into: int
    """Changes from `other` to `state` between consecutive annotated frames of a track."""
    n_back: int

    @property
    def is_lasting(self) -> bool:
        """Whether cells that have turned stay so."""
        return self.n_into > 0 and self.n_back <= MOST_RETURNS * (self.n_into + self.n_back)


@dataclass(frozen=True)
class TimeAxis:
    """Time of every row."""

    values: FloatArray
    """(N,)"""
    unit: str
    """`h` or `min`."""
    title: str
    """For example `hours post perturbation`."""
    interval: float
    """Between frames, in `unit`."""


@dataclass(frozen=True)
class StateCalls:
    """Cells with the probability that they are in `direction.state`, by a probe that did not learn from them."""

    column: str
    direction: Direction
    rows: pd.DataFrame
    """One row per cell and time point, by track and time: `plate, fov_name, track_id, (lineage_root,) t, condition,
    split, time, annotated` (missing where nobody annotated it), `probability`. Of train and val, rows that a fold's
    probe calls."""
    time_unit: str
    time_title: str
    interval: float
    notes: tuple[str, ...]


def time_axis(cells: pd.DataFrame, interval_min: float) -> TimeAxis:
    """Hours post perturbation where the table knows them of every row, else minutes since the first frame."""
    if HOURS in cells.columns:
        hours = pd.to_numeric(cells[HOURS], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isfinite(hours).all():
            # Start + t * interval of several plates differs in the last digits, and equal times are one time.
            return TimeAxis(np.round(hours, 6), "h", "hours post perturbation", interval_min / 60)
    minutes = np.round(cells["t"].to_numpy(dtype=np.float64) * interval_min, 6)
    return TimeAxis(minutes, "min", "minutes since the first frame", interval_min)


def call_states(
    features: FloatArray,
    cells: pd.DataFrame,
    labels: Labels,
    *,
    interval_min: float,
    split_unit: SplitUnit,
    seed: int,
) -> StateCalls | str:
    """Train a probe on annotated train and val rows and apply it to all test rows, or say why that cannot be.

    Train and val rows are called by folds of what the split keeps whole, and of founders where that is less. The
    features may come from a network that saw train cells without their labels, which no fold undoes.

    Args:
        features: (N, D)
        cells: N rows: `fov_name, track_id, t, condition, split`, and `plate` and `lineage_root` where known.
        labels: which rows are in one of the two states; named like the annotation's column.
    """
    require_columns(cells, ["fov_name", "track_id", "t", "condition", "split"], "cell")
    learned_from, is_test, n_relatives = _sides(cells)
    fit = learned_from & labels.known
    direction = _direction(cells, labels, learned_from)
    if direction.state != labels.positive:
        labels = replace(labels, label=~labels.label & labels.known)
    whole = _whole(cells, split_unit)
    units = unit_ids(cells, whole)
    train = ProbeData(features[fit], labels.label[fit], units[fit])
    rows = ProbeData(features[is_test], labels.label[is_test], units[is_test])
    why = why_no_probe(train, rows)
    if why is not None:
        return why
    probe = fit_probe(train, rows, split_unit=whole, seed=seed, criterion=Criterion.LOG_LOSS)
    probability = np.full(len(cells), np.nan)
    probability[is_test] = probe.probability
    for fold in fold_heads(train, probe.strength, seed):
        unseen = learned_from & np.isin(units, fold.units)
        probability[unseen] = expit(fold.head.logit(features[unseen]))
    called = ~np.isnan(probability)
    time = time_axis(cells, interval_min)
    annotated = pd.array(labels.label[called], dtype="boolean")
    annotated[~labels.known[called]] = pd.NA
    wanted = ("plate", "fov_name", "track_id", "lineage_root", "t", "condition", "split")
    kept = [column for column in wanted if column in cells.columns]
    table = cells.loc[called, kept].reset_index(drop=True)
    text = table.columns.intersection(["plate", "fov_name", "condition", "split"])
    table = table.astype(dict.fromkeys(text, str)).assign(
        time=time.values[called], annotated=annotated, probability=probability[called]
    )
    notes = [
        f"{labels.name} over time: {probe.how_chosen}, on train and val rows. Of those, every row is called by a probe "
        "of the other folds."
    ]
    if n_relatives:
        notes.append(
            f"{labels.name} over time: {n_relatives} cell images are left out, because their founder also has "
            "tracks in the test split."
        )
    order = [column for column in ("plate", "fov_name", "track_id", "t") if column in table.columns]
    return StateCalls(
        column=labels.name,
        direction=direction,
        rows=table.sort_values(order, ignore_index=True),
        time_unit=time.unit,
        time_title=time.title,
        interval=time.interval,
        notes=tuple(notes),
    )


def as_annotated(calls: StateCalls) -> StateCalls:
    """The annotated cells, each called what it is annotated to be."""
    rows = calls.rows[calls.rows["annotated"].notna()]
    return replace(calls, rows=rows.assign(probability=rows["annotated"].astype(np.float64)))


def _sides(cells: pd.DataFrame) -> tuple[BoolArray, BoolArray, int]:
    """Rows (N,) that probes may learn from, test rows (N,), and how many rows are neither for a relative's sake."""
    split = cells["split"].astype(str)
    is_test = (split == Split.TEST).to_numpy()
    learned_from = split.isin([Split.TRAIN, Split.VAL]).to_numpy()
    if "lineage_root" not in cells.columns:
        return learned_from, is_test, 0
    lineages = unit_ids(cells, SplitUnit.LINEAGE)
    related = learned_from & np.isin(lineages, np.unique(lineages[is_test]))
    return learned_from & ~related, is_test, int(related.sum())


def _whole(cells: pd.DataFrame, split_unit: SplitUnit) -> SplitUnit:
    """What no two folds share."""
    by_founder = split_unit is SplitUnit.TRACK and "lineage_root" in cells.columns
    return SplitUnit.LINEAGE if by_founder else split_unit


def _direction(cells: pd.DataFrame, labels: Labels, learned_from: BoolArray) -> Direction:
    """The state that most changes lead into; the task's own positive state when changes go both ways."""
    rows = pd.DataFrame(
        {
            "track": unit_ids(cells, SplitUnit.TRACK),
            "t": cells["t"].to_numpy(dtype=np.int64),
            "label": labels.label,
        }
    )[learned_from & labels.known].sort_values(["track", "t"])
    same = (rows["track"] == rows["track"].shift()).to_numpy()[1:]
    before, after = rows["label"].to_numpy()[:-1], rows["label"].to_numpy()[1:]
    into, back = int((same & ~before & after).sum()), int((same & before & ~after).sum())
    forward = Direction(labels.positive, labels.negative, into, back)
    reverse = Direction(labels.negative, labels.positive, back, into)
    return reverse if reverse.is_lasting and not forward.is_lasting else forward
