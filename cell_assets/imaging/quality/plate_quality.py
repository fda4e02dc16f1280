"""The plate_quality artifact: what a screening lab asks of a plate before it trusts a number from it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.acquisition import Acquisition
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.quality.control_separation import control_separation
from cell_assets.imaging.quality.frame_measures import MEASURES, ChannelFrames
from cell_assets.imaging.quality.pixel_statistics import (
    ChannelStatistics,
    EmptyFrame,
    Level,
    channel_histogram,
    statistics_table,
)
from cell_assets.imaging.quality.saturation import saturation_level
from cell_assets.imaging.quality.typed_rows import INTEGER, TEXT, typed_table
from cell_assets.imaging.quality.wells import well_values

FORMAT_NAME, FORMAT_VERSION = "cell_assets.plate_quality", "2"
_READABLE = ("1", FORMAT_VERSION)

COMPARED = ("over_background", "background", "high_frequency_share")
"""Measures by which control wells are compared."""

TABLE, SUMMARY = "quality.parquet", "quality.json"

_CHANNEL_TYPES = {"channel": TEXT, "saturation_level": INTEGER, "saturation_level_from": TEXT}

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) after every frame of a FOV."""


@dataclass(frozen=True)
class ScreeningTables:
    """Each is written as `<field>.parquet`."""

    frames: pd.DataFrame
    """One row per channel, FOV and t, see `ChannelFrames.table`."""
    wells: pd.DataFrame
    """One row per channel and well: the measures of `frames`, medians, see `wells.well_values`."""
    channels: pd.DataFrame
    """One row per channel: `saturation_level` and where it comes from, both null for real numbers."""
    control_separation: pd.DataFrame
    """One row per channel, measure and pair of controls, see `control_separation`."""

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
    channel's range, which a first pass over the pixels finds. Holds one (Z, Y, X) volume and one table row per
    frame at a time; cost grows linearly with pixels.
    """
    info = acquisition.info
    total = len(info.channel_names) * sum(position.shape[0] for position in info.positions)
    done = 0
    dtype = np.dtype(info.positions[0].dtype)
    statistics: list[ChannelStatistics] = []
    frames: list[pd.DataFrame] = []
    channels: list[dict[str, object]] = []
    for channel, channel_name in enumerate(info.channel_names):
        pixel_statistics = ChannelStatistics(channel_name, channel_histogram(acquisition, channel))
        measured = ChannelFrames(channel_name, dtype)
        for position in info.positions:
            for t in range(position.shape[0]):
                pixels = acquisition.read_volume(position.name, t, channel)
                measured.add(position.name, t, pixels, pixel_statistics.add_frame(position.name, t, pixels))
                done += 1
                if progress is not None:
                    progress(done, total, f"{channel_name} of {position.name}")
            pixel_statistics.end_fov(position.name)
        whole = pixel_statistics.end_plate()
        level = None if whole is None else saturation_level(dtype, whole.maximum)
        statistics.append(pixel_statistics)
        frames.append(measured.table(level))
        channels.append(
            {
                "channel": channel_name,
                "saturation_level": None if level is None else level.value,
                "saturation_level_from": None if level is None else level.source.value,
            }
        )
    all_frames = pd.concat(frames, ignore_index=True)
    wells = well_values(all_frames, MEASURES)
    return PlateQuality(
        table=statistics_table([row for one in statistics for row in one.rows]),
        empty_frames=tuple(frame for one in statistics for frame in one.empty_frames),
        screening=ScreeningTables(
            frames=all_frames,
            wells=wells,
            channels=typed_table(channels, _CHANNEL_TYPES),
            control_separation=control_separation(wells, COMPARED, info.wells),
        ),
    )
