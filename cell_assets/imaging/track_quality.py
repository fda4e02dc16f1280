"""What is doubtful about the tracks of one position: jumps, speeds, daughters, and where tracks end.

No files. Nothing here changes a track: a person, or a correction, decides.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.imaging.label_geometry import Spacing
from cell_assets.imaging.track_tables import NO_PARENT, Column, ImageExtent

_MAD_TO_SD = 1.4826
"""Standard deviations in one median absolute deviation of a normal distribution."""


class TrackBegin(StrEnum):
    """Why a track begins."""

    MOVIE = "movie"
    BIRTH = "birth"
    """It has a parent."""
    BORDER = "border"
    MID_FRAME = "mid_frame"
    UNKNOWN = "unknown"
    """No cell size is known, so that near the border has no meaning."""


class TrackEnd(StrEnum):
    """Why a track ends."""

    MOVIE = "movie"
    DIVISION = "division"
    """It has daughters, however many."""
    BORDER = "border"
    MID_FRAME = "mid_frame"
    UNKNOWN = "unknown"


class TrackQualityLimits(BaseModel):
    """From where on something is doubtful."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speed_deviations: float = Field(default=5.0, gt=0)
    """A speed is implausible past the median by so many robust standard deviations (1.4826 MAD). At 5, one
    step in 25,000 of a random walk in the plane, whose step lengths are Rayleigh distributed."""
    border_lengths: float = Field(default=1.0, gt=0)
    """A centroid closer to the image's edge (y, x) than so many median cell lengths is at the border."""
    most_doubtful: float = Field(default=0.05, ge=0, le=1)
    """Share of the tracks that may have one kind of fault before the position is told of it."""


class LengthDistribution(BaseModel):
    """Cells per track."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shortest: int
    quarter: float
    median: float
    three_quarters: float
    longest: int


class TrackQualitySummary(BaseModel):
    """Counts of tracks, unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: TrackQualityLimits
    n_tracks: int
    lengths: LengthDistribution | None
    """None without tracks."""
    n_of_one_frame: int | None = None
    """Seen once, neither where the movie begins nor where it ends; None in tracks of version 1."""
    step_limit_um_per_min: float | None
    """A faster step is a jump. None where speeds have no spread to draw a limit from: fewer than two steps, no
    interval, or more than half of the steps at one speed."""
    track_limit_um_per_min: float | None
    """A track whose median step is faster is implausible; None likewise."""
    n_steps_jumped: int
    n_with_jumps: int
    n_too_fast: int
    n_with_one_daughter: int
    n_with_excess_daughters: int
    """More than two."""
    begins: dict[TrackBegin, int]
    ends: dict[TrackEnd, int]

    def faults(self) -> tuple[str, ...]:
        """A phrase for each kind of fault that more than `most_doubtful` of the tracks have."""
        counts = {
            "jump": self.n_with_jumps,
            "are too fast": self.n_too_fast,
            "have one daughter": self.n_with_one_daughter,
            "have more than two daughters": self.n_with_excess_daughters,
            "are seen in one frame only": self.n_of_one_frame or 0,
            "begin in mid-frame": self.begins.get(TrackBegin.MID_FRAME, 0),
            "vanish in mid-frame": self.ends.get(TrackEnd.MID_FRAME, 0),
        }
        most = self.limits.most_doubtful * self.n_tracks
        return tuple(f"{n} of {self.n_tracks} tracks {what}" for what, n in counts.items() if n > most)


@dataclass(frozen=True)
class TrackQuality:
    """Quality of the tracks of one position."""

    tracks: pd.DataFrame
    """One row per track: `track_id, begin, end, n_cells, n_missed` (frames inside without a cell), `n_jumps,
    median_speed_um_per_min, top_speed_um_per_min` (null without a step), `is_too_fast, n_daughters, begins,
    ends`."""
    summary: TrackQualitySummary


def track_quality(
    table: pd.DataFrame,
    extent: ImageExtent,
    spacing: Spacing,
    interval_min: float | None,
    limits: TrackQualityLimits,
) -> TrackQuality:
    """Judge a sound track table, whose cell lengths are in `length_um` where it has them.

    A step is from one cell of a track to the next, so that a missed frame makes it slower, not longer. Steps
    from mother to daughter are not judged: halves of a cell lie apart however slowly they move.
    """
    cells = table.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)
    speed = _speeds(cells, spacing, interval_min)
    per_track = cells.assign(speed=speed).groupby(Column.TRACK_ID, sort=True)
    tracks = per_track[Column.T].agg(["min", "max", "size"])
    tracks.columns = pd.Index(["begin", "end", "n_cells"])
    tracks["n_missed"] = tracks["end"] - tracks["begin"] + 1 - tracks["n_cells"]
    step_limit = _limit(speed, limits)
    tracks["n_jumps"] = per_track["speed"].agg(lambda of_track: _past(of_track.to_numpy(), step_limit).sum())
    tracks["n_jumps"] = tracks["n_jumps"].astype(np.int64)
    tracks["median_speed_um_per_min"] = per_track["speed"].median()
    tracks["top_speed_um_per_min"] = per_track["speed"].max()
    medians = tracks["median_speed_um_per_min"].to_numpy(np.float64)
    track_limit = _limit(medians, limits)
    tracks["is_too_fast"] = _past(medians, track_limit)
    parents = per_track[Column.PARENT_TRACK_ID].first()
    daughters = parents[parents != NO_PARENT].value_counts()
    tracks["n_daughters"] = daughters.reindex(tracks.index, fill_value=0).astype(np.int64)
    at_border = _at_border(cells, extent, spacing, limits)
    first, last = per_track.head(1).index, per_track.tail(1).index
    tracks["begins"] = _fates(
        [tracks["begin"] == 0, parents != NO_PARENT], at_border, first, (TrackBegin.MOVIE, TrackBegin.BIRTH)
    )
    tracks["ends"] = _fates(
        [tracks["end"] == extent.t - 1, tracks["n_daughters"] > 0],
        at_border,
        last,
        (TrackEnd.MOVIE, TrackEnd.DIVISION),
    )
    return TrackQuality(tracks.reset_index(), _summary(tracks, step_limit, track_limit, limits))


def _summary(
    tracks: pd.DataFrame, step_limit: float | None, track_limit: float | None, limits: TrackQualityLimits
) -> TrackQualitySummary:
    begins, ends = tracks["begins"].value_counts(), tracks["ends"].value_counts()
    lengths = None
    if len(tracks):
        low, quarter, median, three, high = np.percentile(tracks["n_cells"], [0, 25, 50, 75, 100])
        lengths = LengthDistribution(
            shortest=int(low), quarter=quarter, median=median, three_quarters=three, longest=int(high)
        )
    return TrackQualitySummary(
        limits=limits,
        n_tracks=len(tracks),
        lengths=lengths,
        n_of_one_frame=int(
            (
                (tracks["n_cells"] == 1)
                & (tracks["begins"] != TrackBegin.MOVIE)
                & (tracks["ends"] != TrackEnd.MOVIE)
            ).sum()
        ),
        step_limit_um_per_min=step_limit,
        track_limit_um_per_min=track_limit,
        n_steps_jumped=int(tracks["n_jumps"].sum()),
        n_with_jumps=int((tracks["n_jumps"] > 0).sum()),
        n_too_fast=int(tracks["is_too_fast"].sum()),
        n_with_one_daughter=int((tracks["n_daughters"] == 1).sum()),
        n_with_excess_daughters=int((tracks["n_daughters"] > 2).sum()),
        begins={fate: int(begins.get(fate.value, 0)) for fate in TrackBegin},
        ends={fate: int(ends.get(fate.value, 0)) for fate in TrackEnd},
    )


def _speeds(cells: pd.DataFrame, spacing: Spacing, interval_min: float | None) -> NDArray[np.float64]:
    """µm/min of the step to each cell; NaN for a track's first."""
    speed = np.full(len(cells), np.nan)
    if interval_min is None or len(cells) < 2:
        return speed
    where = cells[["z", "y", "x"]].to_numpy(np.float64) * spacing
    minutes = np.diff(cells[Column.T].to_numpy()) * interval_min
    same = np.diff(cells[Column.TRACK_ID].to_numpy()) == 0
    apart = np.linalg.norm(np.diff(where, axis=0), axis=1)
    speed[1:][same] = apart[same] / minutes[same]
    return speed


def _limit(speed: NDArray[np.float64], limits: TrackQualityLimits) -> float | None:
    known = speed[np.isfinite(speed)]
    if known.size < 2:
        return None
    median = np.median(known)
    spread = _MAD_TO_SD * np.median(np.abs(known - median))
    return float(median + limits.speed_deviations * spread) if spread > 0 else None


def _past(speed: NDArray[np.float64], limit: float | None) -> NDArray[np.bool_]:
    return np.zeros(len(speed), bool) if limit is None else np.greater(speed, limit)


def _at_border(
    cells: pd.DataFrame, extent: ImageExtent, spacing: Spacing, limits: TrackQualityLimits
) -> NDArray[np.bool_] | None:
    """Per cell; None where no length is known."""
    lengths = cells["length_um"].to_numpy(np.float64) if "length_um" in cells else np.empty(0)
    lengths = lengths[np.isfinite(lengths)]
    if not lengths.size:
        return None
    near = limits.border_lengths * float(np.median(lengths))
    at_border = np.zeros(len(cells), bool)
    for axis, size, side in (("y", extent.y, spacing[1]), ("x", extent.x, spacing[2])):
        at = cells[axis].to_numpy(np.float64)
        # Pixel centres are whole numbers: the image spans -0.5 to size - 0.5.
        at_border |= np.minimum(at + 0.5, size - 0.5 - at) * side < near
    return at_border


def _fates(
    known: "list[pd.Series[bool]]",
    at_border: NDArray[np.bool_] | None,
    cells: pd.Index,
    names: tuple[TrackBegin, TrackBegin] | tuple[TrackEnd, TrackEnd],
) -> "pd.Series[str]":
    """Per track: the first of `known` that holds, else by its first or last cell."""
    if at_border is None:
        rest = np.full(len(cells), TrackEnd.UNKNOWN.value, dtype=object)
    else:
        rest = np.where(at_border[cells], TrackEnd.BORDER.value, TrackEnd.MID_FRAME.value).astype(object)
    choices = [mask.to_numpy(bool) for mask in known]
    fates = np.select(choices, [name.value for name in names], rest) if len(cells) else rest
    return pd.Series(fates, index=known[0].index)
