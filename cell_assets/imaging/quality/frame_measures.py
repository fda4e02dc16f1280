"""Quality measures of single frames of one channel: focus, saturation, signal."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.histograms import PixelHistogram
from cell_assets.imaging.quality.focus import sharpest_plane
from cell_assets.imaging.quality.saturation import SaturationLevel, candidate_levels, pixels_at
from cell_assets.imaging.quality.signal import otsu_signal
from cell_assets.imaging.quality.typed_rows import INTEGER, REAL, TEXT, typed_table

MEASURES = (
    "focus_slope",
    "high_frequency_share",
    "background",
    "over_background",
    "saturated_share",
)
"""Measures of a frame that a well has too, as medians."""

_TYPES = {
    "channel": TEXT,
    "fov_name": TEXT,
    "t": INTEGER,
    "sharpest_z": INTEGER,
    **dict.fromkeys(MEASURES, REAL),
}


@dataclass
class ChannelFrames:
    """Measures of one channel's frames, gathered frame by frame; holds one row per frame."""

    channel: str
    dtype: np.dtype
    _rows: list[dict[str, object]] = field(default_factory=list)
    _at_levels: list[NDArray[np.float64]] = field(default_factory=list)

    def add(
        self, fov_name: str, t: int, pixels: NDArray[np.generic], histogram: PixelHistogram | None
    ) -> None:
        """Measure one (Z, Y, X) frame; `histogram` is None for an empty one, which has saturation alone."""
        levels = candidate_levels(self.dtype)
        self._at_levels.append(pixels_at(pixels, levels) / pixels.size)
        row: dict[str, object] = {"channel": self.channel, "fov_name": fov_name, "t": t}
        if histogram is not None:
            if (sharpest := sharpest_plane(pixels)) is not None:
                row["sharpest_z"] = sharpest.z
                row["focus_slope"] = sharpest.focus.slope
                row["high_frequency_share"] = sharpest.focus.high_frequency_share
            if (signal := otsu_signal(*histogram.counts())) is not None:
                row["background"] = signal.background
                row["over_background"] = signal.over_background
        self._rows.append(row)

    def table(self, level: SaturationLevel | None) -> pd.DataFrame:
        """One row per `fov_name` and `t`: `sharpest_z` (plane from 0) and MEASURES.

        `background` and `over_background` are in the pixels' unit; measures of an empty frame are null.
        """
        table = typed_table(self._rows, _TYPES)
        if level is not None:
            at = candidate_levels(self.dtype).index(level.value)
            table["saturated_share"] = np.stack(self._at_levels)[:, at]
        return table
