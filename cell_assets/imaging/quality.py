"""Plate quality: per-channel statistics at plate, FOV and time level, and which frames are empty.

A frame here is one channel of one FOV at one time point. An empty frame (all pixels equal) is named and left
out of the statistics of its FOV and plate: averaged in, a shutter that stayed closed would pass for dim
cells.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.acquisition import Acquisition
from cell_assets.imaging.histograms import FrameSummary, PixelHistogram

FORMAT_NAME, FORMAT_VERSION = "cell_assets.plate_quality", "1"
TABLE, SUMMARY = "quality.parquet", "quality.json"

PERCENTILES: tuple[tuple[str, float], ...] = (("p1", 1.0), ("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9))
"""Column and percentile, interpolated linearly as in numpy."""

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) after every frame of a FOV."""


class Level(StrEnum):
    """What one row of the table is about."""

    PLATE = "plate"
    FOV = "fov"
    TIME = "time"
    """One frame: one FOV at one time point."""


@dataclass(frozen=True)
class EmptyFrame:
    """A frame whose pixels all have the same value."""

    fov_name: str
    channel: str
    t: int
    value: float


@dataclass(frozen=True)
class PlateQuality:
    """Statistics of every channel of a plate."""

    table: pd.DataFrame
    """One row per level, channel, FOV (null at plate level) and t (null but at time level). `n_frames`
    counted and `n_empty` left out; `mean, sd, min, max`, percentiles; `saturated_share` of pixels at the
    dtype's maximum (null for real numbers, which have none); `percentiles_exact`, False where they come from
    65,536 bins. Statistics
    are null where every frame is empty; a time row of an empty frame states that frame's own values."""
    empty_frames: tuple[EmptyFrame, ...]

    def write(self, folder: Path) -> None:
        """Write `quality.parquet` and `quality.json` into `folder`."""
        self.table.to_parquet(folder / TABLE, index=False)
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


def plate_quality(acquisition: Acquisition, progress: Progress | None = None) -> PlateQuality:
    """Statistics of every frame, FOV and channel of a plate, in one pass over its pixels.

    Exact for 8- and 16-bit pixels. For others, FOV and plate percentiles come from bins over the channel's
    range, which a first pass over the pixels finds. Holds one (Z, Y, X) volume at a time.
    """
    info = acquisition.info
    total = len(info.channel_names) * sum(position.shape[0] for position in info.positions)
    done = 0
    rows: list[dict[str, object]] = []
    empty: list[EmptyFrame] = []
    for channel, channel_name in enumerate(info.channel_names):
        edges = _range(acquisition, channel)
        plate = _Tally(edges)
        for position in info.positions:
            fov = _Tally(edges)
            for t in range(position.shape[0]):
                pixels = acquisition.read_volume(position.name, t, channel)
                frame = edges.empty_like()
                frame.add(pixels)
                summary = frame.summary(_wanted(), pixels)
                is_empty = summary.minimum == summary.maximum
                if is_empty:
                    empty.append(EmptyFrame(position.name, channel_name, t, summary.minimum))
                rows.append(
                    _row(
                        Level.TIME, channel_name, position.name, t, int(not is_empty), int(is_empty), summary
                    )
                )
                fov.count(frame, is_empty)
                plate.count(frame, is_empty)
                done += 1
                if progress is not None:
                    progress(done, total, f"{channel_name} of {position.name}")
            rows.append(
                _row(Level.FOV, channel_name, position.name, None, fov.n_frames, fov.n_empty, fov.summary())
            )
        rows.append(
            _row(Level.PLATE, channel_name, None, None, plate.n_frames, plate.n_empty, plate.summary())
        )
    return PlateQuality(_table(rows, info.channel_names), tuple(empty))


class _Tally:
    """Frames added up, empty ones counted apart."""

    def __init__(self, like: PixelHistogram) -> None:
        self._histogram = like.empty_like()
        self.n_frames = 0
        self.n_empty = 0

    def count(self, frame: PixelHistogram, is_empty: bool) -> None:
        if is_empty:
            self.n_empty += 1
            return
        self.n_frames += 1
        self._histogram.merge(frame)

    def summary(self) -> FrameSummary | None:
        return self._histogram.summary(_wanted()) if self.n_frames else None


def _wanted() -> tuple[float, ...]:
    return tuple(percentile for _, percentile in PERCENTILES)


def _range(acquisition: Acquisition, channel: int) -> PixelHistogram:
    """An empty histogram fit for every frame of one channel."""
    dtype = np.dtype(acquisition.info.positions[0].dtype)
    if PixelHistogram.counts_exactly(dtype):
        return PixelHistogram.exact(dtype)
    low, high = np.inf, -np.inf
    for position in acquisition.info.positions:
        for t in range(position.shape[0]):
            pixels: NDArray[np.generic] = acquisition.read_volume(position.name, t, channel)
            low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
    return PixelHistogram.binned(dtype, low, high)


def _row(
    level: Level,
    channel: str,
    fov_name: str | None,
    t: int | None,
    n_frames: int,
    n_empty: int,
    summary: FrameSummary | None,
) -> dict[str, object]:
    row: dict[str, object] = {
        "level": level.value,
        "channel": channel,
        "fov_name": fov_name,
        "t": t,
        "n_frames": n_frames,
        "n_empty": n_empty,
    }
    if summary is None:
        return row
    return row | {
        "mean": summary.mean,
        "sd": summary.sd,
        "min": summary.minimum,
        "max": summary.maximum,
        **{column: value for (column, _), value in zip(PERCENTILES, summary.percentiles, strict=True)},
        "saturated_share": summary.saturated_share,
        "percentiles_exact": summary.percentiles_exact,
    }


def _table(rows: Sequence[dict[str, object]], channel_names: Sequence[str]) -> pd.DataFrame:
    statistics = ["mean", "sd", "min", "max", *(column for column, _ in PERCENTILES), "saturated_share"]
    columns = ["level", "channel", "fov_name", "t", "n_frames", "n_empty", *statistics, "percentiles_exact"]
    table = pd.DataFrame(rows, columns=columns)
    table["t"] = table["t"].astype("Int64")
    table["percentiles_exact"] = table["percentiles_exact"].astype("boolean")
    return table.astype(dict.fromkeys(statistics, np.float64))
