"""What of a plate lies beyond thresholds: frames, FOVs, wells, or the plate itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.api.typing import NAType

from cell_assets.imaging.quality.thresholds import Action, Level, Measure, Threshold

if TYPE_CHECKING:
    # Measuring imports scikit-image, which holding values against limits does not need.
    from cell_assets.imaging.quality.plate_quality import PlateQuality, ScreeningTables

_OF_AN_IMAGE = frozenset(
    {Measure.FOCUS_SLOPE, Measure.HIGH_FREQUENCY_SHARE, Measure.BACKGROUND, Measure.OVER_BACKGROUND}
)
"""Measures that an empty frame cannot have: it is no image."""

_COLUMNS = {Measure.BLEACHING_RATE_PER_MIN: "rate_per_min"}
"""Where the table's column has another name than the measure."""


@dataclass(frozen=True)
class Breach:
    """One frame, FOV, well or plate beyond one threshold."""

    threshold: Threshold
    well: str | None
    """None: the whole plate."""
    fov_name: str | None
    """None: every FOV of the well."""
    t: int | None
    """None: every time point."""
    channel: str | None
    """None: a measure of cells, which has no channel."""
    value: float | None
    """None: the frame is empty, so that what is asked of it has no value."""
    limit: float
    controls: str | None = None
    """The two controls that were compared."""

    def __str__(self) -> str:
        where = self.fov_name or self.well or "plate"
        channel = "" if self.channel is None else f" {self.channel}"
        time = "" if self.t is None else f" t={self.t}"
        title = self.threshold.title if self.controls is None else f"{self.threshold.title}, {self.controls},"
        if self.value is None:
            said = "has no value, the frame is empty"
        else:
            said = f"{self.value:.4g} is {'below' if self.value < self.limit else 'above'} {self.limit:g}"
        then = "; left out" if self.threshold.action is Action.EXCLUDE else ""
        return f"{where}{channel}{time}: {title} {said}{then}"


@dataclass(frozen=True)
class HeldAgainst:
    """A plate's quality held against thresholds."""

    breaches: tuple[Breach, ...]
    """By threshold, then in the order of plate_qc's tables."""
    not_told: tuple[tuple[Threshold, str], ...]
    """Thresholds for which the plate has no value at all, and why: nobody knows whether it is good."""


def held_against(quality: "PlateQuality", thresholds: Sequence[Threshold]) -> HeldAgainst:
    """Everything of a plate that lies beyond a threshold.

    A single missing value breaks no threshold, such as the drift of a first frame. The exception is an empty frame:
    it is beyond every threshold of focus and signal, because it shows neither.
    """
    breaches: list[Breach] = []
    not_told: list[tuple[Threshold, str]] = []
    for threshold in thresholds:
        if quality.screening is None:
            not_told.append((threshold, "plate_qc is of an earlier version; make it again"))
            continue
        rows = _values(quality.screening, threshold)
        if quality.empty_frames and threshold.measure in _OF_AN_IMAGE:
            rows = rows.assign(is_empty=_is_empty(rows, quality))
        else:
            rows = rows.assign(is_empty=False)
        if rows["value"].isna().all() and not rows["is_empty"].any():
            not_told.append((threshold, _why_nothing(quality.screening, threshold, rows)))
        breaches += _beyond(rows, threshold)
    return HeldAgainst(tuple(breaches), tuple(not_told))


def _values(tables: "ScreeningTables", threshold: Threshold) -> pd.DataFrame:
    """One row per value that a threshold is about: `channel, well, fov_name, t, controls, value, why_missing`."""
    measure = threshold.measure
    match measure:
        case Measure.BLEACHING_RATE_PER_MIN:
            table = tables.bleaching
        case Measure.N_CELLS:
            table = tables.wells[tables.wells["channel"].isna()]
        case Measure.FLATNESS_MIN_OVER_MAX | Measure.FLATNESS_CV:
            table = tables.channels.rename(columns={"flatness_why_missing": "why_missing"})
        case Measure.POSITION_SHARE:
            table = tables.edge_effects
        case Measure.Z_PRIME | Measure.ROBUST_Z_PRIME | Measure.SSMD | Measure.ROBUST_SSMD:
            table = tables.control_separation
            table = table.assign(controls=table["control"] + " against " + table["other_control"])
        case _:
            table = tables.frames
    if threshold.of is not None:
        table = table[table["measure"] == threshold.of.value]
    if threshold.channel is not None:
        table = table[table["channel"] == threshold.channel]
    value = table[_COLUMNS.get(measure, measure.value)].astype("float64")
    if measure in (Measure.SSMD, Measure.ROBUST_SSMD):
        value = value.abs()
    rows = table.assign(value=value).reindex(
        columns=["channel", "well", "fov_name", "t", "controls", "value", "why_missing"]
    )
    if measure.level in (Level.FRAME, Level.FOV):
        rows["well"] = rows["fov_name"].astype("string").str.rsplit("/", n=1).str[0]
    return rows


def _is_empty(rows: pd.DataFrame, quality: "PlateQuality") -> "pd.Series[bool]":
    empty = {(frame.channel, frame.fov_name, frame.t) for frame in quality.empty_frames}
    named = zip(rows["channel"], rows["fov_name"], rows["t"], strict=True)
    return pd.Series([name in empty for name in named], index=rows.index, dtype=bool)


def _beyond(rows: pd.DataFrame, threshold: Threshold) -> list[Breach]:
    low = -np.inf if threshold.low is None else threshold.low
    high = np.inf if threshold.high is None else threshold.high
    first = threshold.low if threshold.low is not None else threshold.high
    assert first is not None
    beyond = rows[rows["is_empty"] | (rows["value"] < low) | (rows["value"] > high)]
    return [
        Breach(
            threshold,
            well=_text(row["well"]),
            fov_name=_text(row["fov_name"]),
            t=None if pd.isna(row["t"]) else int(row["t"]),
            channel=_text(row["channel"]),
            value=None if row["is_empty"] else float(row["value"]),
            limit=first if row["is_empty"] else low if row["value"] < low else high,
            controls=_text(row["controls"]),
        )
        for row in beyond.to_dict("records")
    ]


def _text(value: str | NAType | float | None) -> str | None:
    return None if pd.isna(value) else str(value)


def _why_nothing(tables: "ScreeningTables", threshold: Threshold, rows: pd.DataFrame) -> str:
    channels = tables.channels["channel"].tolist()
    if threshold.channel is not None and threshold.channel not in channels:
        return f"the plate has no channel {threshold.channel}, its channels are {', '.join(channels)}"
    said = rows["why_missing"].dropna()
    if len(said):
        return str(said.iloc[0])
    if "n_cells" in (threshold.measure, threshold.of):
        return "no label images came with the plate, so nobody counted its cells"
    return "the plate has no value of it"
