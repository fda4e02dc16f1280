"""Statistics of pixel values at plate, FOV and time level, and which frames are empty.

A frame here is one channel of one FOV at one time point. An empty frame (all pixels equal) is named and left
out of the statistics of its FOV and plate: averaged in, a shutter that stayed closed would pass for dim
cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.acquisition import Acquisition
from cell_assets.imaging.histograms import FrameSummary, PixelHistogram

PERCENTILES: tuple[tuple[str, float], ...] = (("p1", 1.0), ("p50", 50.0), ("p99", 99.0), ("p99_9", 99.9))
"""Column and percentile, interpolated linearly as in numpy."""


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


class ChannelStatistics:
    """Statistics of one channel, gathered frame by frame and FOV by FOV."""

    def __init__(self, channel: str, like: PixelHistogram) -> None:
        self._channel = channel
        self._like = like
        self._plate = _Tally(like)
        self._fov = _Tally(like)
        self._rows: list[dict[str, object]] = []
        self.empty_frames: list[EmptyFrame] = []

    def add_frame(self, fov_name: str, t: int, pixels: NDArray[np.generic]) -> PixelHistogram | None:
        """Count one (Z, Y, X) frame; its histogram, or None when it is empty."""
        frame = self._like.empty_like()
        frame.add(pixels)
        summary = frame.summary(_wanted(), pixels)
        is_empty = summary.minimum == summary.maximum
        if is_empty:
            self.empty_frames.append(EmptyFrame(fov_name, self._channel, t, summary.minimum))
        self._rows.append(
            _row(Level.TIME, self._channel, fov_name, t, int(not is_empty), int(is_empty), summary)
        )
        self._fov.count(frame, is_empty)
        self._plate.count(frame, is_empty)
        return None if is_empty else frame

    def end_fov(self, fov_name: str) -> None:
        """Close the FOV whose frames were added since the last one."""
        self._rows.append(self._level_row(Level.FOV, fov_name, self._fov))
        self._fov = _Tally(self._like)

    def end_plate(self) -> FrameSummary | None:
        """Close the plate; its statistics, None when every frame is empty."""
        self._rows.append(self._level_row(Level.PLATE, None, self._plate))
        return self._plate.summary()

    @property
    def rows(self) -> tuple[dict[str, object], ...]:
        """Rows for `statistics_table`."""
        return tuple(self._rows)

    def _level_row(self, level: Level, fov_name: str | None, tally: "_Tally") -> dict[str, object]:
        return _row(level, self._channel, fov_name, None, tally.n_frames, tally.n_empty, tally.summary())


def channel_histogram(acquisition: Acquisition, channel: int) -> PixelHistogram:
    """An empty histogram fit for every frame of one channel; reads its pixels once where they are not 8- or 16-bit."""
    dtype = np.dtype(acquisition.info.positions[0].dtype)
    if PixelHistogram.counts_exactly(dtype):
        return PixelHistogram.exact(dtype)
    low, high = np.inf, -np.inf
    for position in acquisition.info.positions:
        for t in range(position.shape[0]):
            pixels: NDArray[np.generic] = acquisition.read_volume(position.name, t, channel)
            low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
    return PixelHistogram.binned(dtype, low, high)


def statistics_table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """One row per level, channel, FOV (null at plate level) and t (null but at time level).

    `n_frames` counted and `n_empty` left out; `mean, sd, min, max`, percentiles; `saturated_share` of pixels at
    the dtype's maximum (null for real numbers, which have none); `percentiles_exact`, False where they come
    from 65,536 bins. Statistics are null where every frame is empty; a time row of an empty frame states that
    frame's own values.
    """
    statistics = ["mean", "sd", "min", "max", *(column for column, _ in PERCENTILES), "saturated_share"]
    columns = ["level", "channel", "fov_name", "t", "n_frames", "n_empty", *statistics, "percentiles_exact"]
    table = pd.DataFrame(rows, columns=columns)
    table["t"] = table["t"].astype("Int64")
    table["percentiles_exact"] = table["percentiles_exact"].astype("boolean")
    return table.astype(dict.fromkeys(statistics, np.float64))


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
