"""What a probe calls every held-out cell, for a column of two states; calibration and test cells are both unseen.

The probe of a task's scores learns from train and val. Here val is kept back, so that intervals of onset can be
calibrated on tracks that the probe never saw, and the probe's strength is chosen for its probabilities. No founder
has tracks on two sides, however the manifest splits.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cell_assets.evaluation.scores.probes import Criterion, ProbeData, fit_probe, why_no_probe
from cell_assets.evaluation.scores.tasks import Labels
from cell_assets.evaluation.splits import Split, SplitUnit
from cell_assets.evaluation.units import (
    BoolArray,
    FloatArray,
    StrArray,
    require_columns,
    unit_ids,
)
from cell_assets.imaging.patches import HOURS

MOST_RETURNS = 0.1
"""Up to this share of an annotated state's changes may lead back, as slips of annotation do, before it no longer
counts as lasting."""
_ROLES = (
    Split.TRAIN,
    Split.VAL,
    Split.TEST,
)  # a founder's tracks are for the last of these that any of them is for


@dataclass(frozen=True)
class Direction:
    """Into which of two states cells turn, counted along annotated training tracks."""

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
    """Held-out cells with the probability that they are in `direction.state`."""

    column: str
    direction: Direction
    rows: pd.DataFrame
    """One row per held-out cell and time point, by track and time: `plate, fov_name, track_id, (lineage_root,) t,
    condition, split, time, annotated` (missing where nobody annotated it), `probability`. `split` is val or test."""
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
    """Train a probe on annotated train rows and apply it to all val and test rows, or say why that cannot be.

    Args:
        features: (N, D)
        cells: N rows: `fov_name, track_id, t, condition, split`, and `plate` and `lineage_root` where known.
        labels: which rows are in one of the two states; named like the annotation's column.
    """
    require_columns(cells, ["fov_name", "track_id", "t", "condition", "split"], "cell")
    role, n_relatives = _roles(cells)
    fit = (role == Split.TRAIN) & labels.known
    held = np.isin(role, [Split.VAL, Split.TEST])
    direction = _direction(cells, labels, role == Split.TRAIN)
    if direction.state != labels.positive:
        labels = replace(labels, label=~labels.label & labels.known)
    units = unit_ids(cells, split_unit)
    train = ProbeData(features[fit], labels.label[fit], units[fit])
    rows = ProbeData(features[held], labels.label[held], units[held])
    why = why_no_probe(train, rows)
    if why is not None:
        return why
    probe = fit_probe(train, rows, split_unit=split_unit, seed=seed, criterion=Criterion.LOG_LOSS)
    time = time_axis(cells, interval_min)
    annotated = pd.array(labels.label[held], dtype="boolean")
    annotated[~labels.known[held]] = pd.NA
    wanted = ("plate", "fov_name", "track_id", "lineage_root", "t", "condition")
    kept = [column for column in wanted if column in cells.columns]
    table = cells.loc[held, kept].reset_index(drop=True)
    text = table.columns.intersection(["plate", "fov_name", "condition"])
    table = table.astype(dict.fromkeys(text, str)).assign(
        split=role[held], time=time.values[held], annotated=annotated, probability=probe.probability
    )
    notes = [f"{labels.name} over time: {probe.how_chosen}, on train rows alone."]
    if n_relatives:
        notes.append(
            f"{labels.name} over time: {n_relatives} cell images are left out, because their founder also has "
            "tracks in a split that is held out from theirs."
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
    """The annotated of the held-out cells, each called what it is annotated to be."""
    rows = calls.rows[calls.rows["annotated"].notna()]
    return replace(calls, rows=rows.assign(probability=rows["annotated"].astype(np.float64)))


def _roles(cells: pd.DataFrame) -> tuple[StrArray, int]:
    """Split of every row (N,), empty where a relative is held out from it, and how many rows that empties."""
    split = cells["split"].astype(str).to_numpy(dtype=np.str_)
    rank = pd.Series(split).map({role.value: place for place, role in enumerate(_ROLES)})
    is_used = rank.notna().to_numpy()
    role = np.where(is_used, split, "")
    if "lineage_root" not in cells.columns:
        return role, 0
    most_held_out = rank.groupby(unit_ids(cells, SplitUnit.LINEAGE)).transform("max")
    apart = is_used & (rank < most_held_out).to_numpy()
    return np.where(apart, "", role), int(apart.sum())


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
