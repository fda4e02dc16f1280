"""The plate_quality artifact: what a screening lab asks of a plate before it trusts a number from it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.acquisition import Acquisition, AcquisitionInfo
from cell_assets.imaging.histograms import PixelHistogram
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.quality.bleaching import Bleaching, bleaching
from cell_assets.imaging.quality.cell_counts import cell_counts
from cell_assets.imaging.quality.control_separation import control_separation
from cell_assets.imaging.quality.edge_effects import EdgeEffect, edge_effect
from cell_assets.imaging.quality.flatness import IlluminationSample
from cell_assets.imaging.quality.frame_measures import MEASURES, ChannelFrames, projection
from cell_assets.imaging.quality.pixel_statistics import (
    ChannelStatistics,
    EmptyFrame,
    Level,
    channel_histogram,
    statistics_table,
)
from cell_assets.imaging.quality.saturation import saturation_level
from cell_assets.imaging.quality.thresholds import ComparedValue
from cell_assets.imaging.quality.typed_rows import INTEGER, REAL, TEXT, typed_table
from cell_assets.imaging.quality.wells import PlateLayout, plate_layout, well_values

FORMAT_NAME, FORMAT_VERSION = "cell_assets.plate_quality", "2"
_READABLE = ("1", FORMAT_VERSION)

COMPARED = tuple(value.value for value in ComparedValue)
"""Measures of wells by which controls, and edge and interior, are compared."""

TABLE, SUMMARY = "quality.parquet", "quality.json"

_CHANNEL_TYPES = {
    "channel": TEXT,
    "saturation_level": INTEGER,
    "saturation_level_from": TEXT,
    "flatness_n_fovs": INTEGER,
    "flatness_min_over_max": REAL,
    "flatness_cv": REAL,
    "flatness_why_missing": TEXT,
}
_BLEACHING_TYPES = {
    "channel": TEXT,
    "fov_name": TEXT,
    "n_time_points": INTEGER,
    **dict.fromkeys(("rate_per_min", "rate_low", "rate_high", "half_life_min", "r_squared"), REAL),
    "why_missing": TEXT,
}
_EDGE_TYPES = {
    "channel": TEXT,
    "measure": TEXT,
    "n_edge": INTEGER,
    "n_interior": INTEGER,
    **dict.fromkeys(("edge_median", "interior_median", "row_range", "column_range", "position_share"), REAL),
    "why_missing": TEXT,
}

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) after every frame of a FOV."""


@dataclass(frozen=True)
class ScreeningTables:
    """Each is written as `<field>.parquet`."""

    frames: pd.DataFrame
    """One row per channel, FOV and t, see `ChannelFrames.table`."""
    wells: pd.DataFrame
    """One row per channel and well: MEASURES of `frames`, medians. Cell counts have rows of their own, whose
    channel is null."""
    channels: pd.DataFrame
    """One row per channel: `saturation_level` and where it comes from, both null for real numbers; flatness of
    illumination, see `Flatness`."""
    bleaching: pd.DataFrame
    """One row per channel and FOV, see `Bleaching`."""
    edge_effects: pd.DataFrame
    """One row per channel and measure, see `EdgeEffect`."""
    control_separation: pd.DataFrame
    """One row per channel, measure and pair of controls, see `control_separation`."""
    cell_counts: pd.DataFrame
    """One row per FOV and t, see `cell_counts`."""

    def write(self, folder: Path) -> None:
        """Write every table into `folder`."""
        for one in fields(self):
            write_parquet(getattr(self, one.name), folder / f"{one.name}.parquet")

    @classmethod
    def read(cls, folder: Path) -> "ScreeningTables":
        """The tables that `write` wrote."""
        return cls(**{one.name: read_parquet(folder / f"{one.name}.parquet") for one in fields(cls)})


@dataclass(frozen=True)
class PlateQuality:
    """Quality of every channel of a plate."""

    table: pd.DataFrame
    """Statistics of pixel values, see `pixel_statistics.statistics_table`."""
    empty_frames: tuple[EmptyFrame, ...]
    screening: ScreeningTables | None
    """None in an artifact of format version 1."""

    def write(self, folder: Path) -> None:
        """Write `quality.parquet`, `quality.json` and the screening tables into `folder`."""
        write_parquet(self.table, folder / TABLE)
        if self.screening is not None:
            self.screening.write(folder)
        plate = self.table[self.table["level"] == Level.PLATE].drop(columns=["fov_name", "t", "level"])
        summary = {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "channels": [
                {name: None if pd.isna(value) else value for name, value in record.items()}
                for record in plate.to_dict("records")
            ],
            "empty_frames": [asdict(frame) for frame in self.empty_frames],
        }
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def read_plate_quality(folder: Path) -> PlateQuality:
    """Read a plate_quality artifact of format version 1 or 2.

    Raises:
        BadInputError: `quality.json` cannot be read or states another format, naming the file.
    """
    file = folder / SUMMARY
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{file}: cannot be read ({error}); give a plate_qc folder") from error
    stated = (summary.get("format"), summary.get("version")) if isinstance(summary, dict) else (None, None)
    if stated[0] != FORMAT_NAME or stated[1] not in _READABLE:
        raise BadInputError(
            f"{file}: states format {stated[0]} version {stated[1]}, not {FORMAT_NAME} version "
            f"{' or '.join(_READABLE)}; make plate_qc again"
        )
    return PlateQuality(
        table=read_parquet(folder / TABLE),
        empty_frames=tuple(EmptyFrame(**frame) for frame in summary["empty_frames"]),
        screening=ScreeningTables.read(folder) if stated[1] == FORMAT_VERSION else None,
    )


def plate_quality(acquisition: Acquisition, progress: Progress | None = None) -> PlateQuality:
    """Quality of every frame, FOV, well and channel of a plate, in one pass over its pixels.

    Statistics are exact for 8- and 16-bit pixels. For others, FOV and plate percentiles come from bins over the
    channel's range, which a first pass over the pixels finds. Holds one (Z, Y, X) volume, one image, the rows of
    the tables and a few MB of coarse images; cost grows linearly with pixels.
    """
    info = acquisition.info
    total = len(info.channel_names) * sum(position.shape[0] for position in info.positions)
    done = 0
    measured: list[_ChannelQuality] = []
    for channel, channel_name in enumerate(info.channel_names):
        one = _ChannelQuality(info, channel_name, channel_histogram(acquisition, channel))
        for fov, position in enumerate(info.positions):
            for t in range(position.shape[0]):
                one.add(fov, t, acquisition.read_volume(position.name, t, channel))
                done += 1
                if progress is not None:
                    progress(done, total, f"{channel_name} of {position.name}")
            one.statistics.end_fov(position.name)
        one.finish()
        measured.append(one)
    return PlateQuality(
        table=statistics_table([row for one in measured for row in one.statistics.rows]),
        empty_frames=tuple(frame for one in measured for frame in one.statistics.empty_frames),
        screening=_screening(
            info,
            pd.concat([one.frames for one in measured], ignore_index=True),
            typed_table([one.summary for one in measured], _CHANNEL_TYPES),
            cell_counts(acquisition),
        ),
    )


class _ChannelQuality:
    """Everything that one pass over a channel's pixels gathers."""

    def __init__(self, info: AcquisitionInfo, channel: str, like: PixelHistogram) -> None:
        self._info = info
        self._channel = channel
        self._dtype = np.dtype(info.positions[0].dtype)
        pixel_size = (info.voxel_size_um.y, info.voxel_size_um.x)
        self._frames = ChannelFrames(channel, self._dtype, pixel_size)
        self._illumination = IlluminationSample(len(info.positions))
        self.statistics = ChannelStatistics(channel, like)
        self.frames = pd.DataFrame()
        self.summary: dict[str, object] = {}

    def add(self, fov: int, t: int, pixels: NDArray[np.generic]) -> None:
        name = self._info.positions[fov].name
        histogram = self.statistics.add_frame(name, t, pixels)
        self._frames.add(name, t, pixels, histogram)
        if t == 0 and histogram is not None and self._illumination.wants(fov):
            self._illumination.add(projection(pixels))

    def finish(self) -> None:
        whole = self.statistics.end_plate()
        level = None if whole is None else saturation_level(self._dtype, whole.maximum)
        self.frames = self._frames.table(level)
        self.summary = {
            "channel": self._channel,
            "saturation_level": None if level is None else level.value,
            "saturation_level_from": None if level is None else level.source.value,
            **{f"flatness_{name}": value for name, value in asdict(self._illumination.flatness()).items()},
        }


def _screening(
    info: AcquisitionInfo, frames: pd.DataFrame, channels: pd.DataFrame, counts: pd.DataFrame
) -> ScreeningTables:
    counted = counts.dropna(subset=["n_cells"]).assign(channel=None)
    wells = pd.concat(
        [
            well_values(frames, MEASURES),
            well_values(counted.astype({"n_cells": REAL, "channel": TEXT}), ["n_cells"]),
        ],
        ignore_index=True,
    )
    return ScreeningTables(
        frames=frames,
        wells=wells,
        channels=channels,
        bleaching=_bleaching_table(frames, info.interval_min),
        edge_effects=_edge_table(wells, plate_layout([well.name for well in info.wells])),
        control_separation=control_separation(wells, COMPARED, info.wells),
        cell_counts=counts,
    )


def _bleaching_table(frames: pd.DataFrame, interval_min: float | None) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for (channel, fov_name), fov in frames.groupby(["channel", "fov_name"], sort=False):
        if interval_min is None:
            found = Bleaching(len(fov), why_missing="no interval between time points is stated")
        else:
            found = bleaching(fov["t"].to_numpy(np.float64) * interval_min, fov["over_background"])
        rows.append({"channel": channel, "fov_name": fov_name} | asdict(found))
    return typed_table(rows, _BLEACHING_TYPES)


def _edge_table(wells: pd.DataFrame, layout: PlateLayout | None) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for channel, of_channel in wells.groupby("channel", sort=False, dropna=False):
        by_well = of_channel.set_index("well")
        for measure in COMPARED:
            if not by_well[measure].notna().any():
                continue
            if layout is None:
                found = EdgeEffect(
                    0, 0, why_missing="wells are not named as on a plate of 96, 384 or 1536 wells"
                )
            else:
                found = edge_effect(layout.grid(by_well[measure]))
            rows.append({"channel": channel, "measure": measure} | asdict(found))
    return typed_table(rows, _EDGE_TYPES)
