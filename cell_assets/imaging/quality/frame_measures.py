"""Quality measures of single frames of one channel: focus, saturation, signal, drift."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.imaging.histograms import PixelHistogram
from cell_assets.imaging.quality.drift import drift
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
    "drift_um",
)
"""Measures of a frame that a well has too, as medians."""

_TYPES = {
    "channel": TEXT,
    "fov_name": TEXT,
    "t": INTEGER,
    "sharpest_z": INTEGER,
    **dict.fromkeys(MEASURES, REAL),
    "drift_y_um": REAL,
    "drift_x_um": REAL,
}


@dataclass
class ChannelFrames:
    """Measures of one channel's frames, gathered frame by frame; holds a row per frame and one image."""

    channel: str
    dtype: np.dtype
    pixel_size_um: tuple[float, float]
    """(y, x)."""
    _rows: list[dict[str, object]] = field(default_factory=list)
    _at_levels: list[NDArray[np.float64]] = field(default_factory=list)
    _before: NDArray[np.float32] | None = None

    def add(
        self, fov_name: str, t: int, pixels: NDArray[np.generic], histogram: PixelHistogram | None
    ) -> None:
        """Measure one (Z, Y, X) frame; time points of a FOV come in order.

        `histogram` is None for an empty frame, which has saturation alone.
        """
        self._at_levels.append(pixels_at(pixels, candidate_levels(self.dtype)) / pixels.size)
        row: dict[str, object] = {"channel": self.channel, "fov_name": fov_name, "t": t}
        self._rows.append(row)
        if histogram is None:
            self._before = None
            return
        if (sharpest := sharpest_plane(pixels)) is not None:
            row["sharpest_z"] = sharpest.z
            row["focus_slope"] = sharpest.focus.slope
            row["high_frequency_share"] = sharpest.focus.high_frequency_share
        if (signal := otsu_signal(*histogram.counts())) is not None:
            row["background"] = signal.background
            row["over_background"] = signal.over_background
        image = projection(pixels)
        if t > 0 and self._before is not None:
            moved = drift(self._before, image, self.pixel_size_um)
            row["drift_y_um"], row["drift_x_um"] = moved.y_um, moved.x_um
            row["drift_um"] = float(np.hypot(moved.y_um, moved.x_um))
        self._before = image

    def table(self, level: SaturationLevel | None) -> pd.DataFrame:
        """One row per `fov_name` and `t`: `sharpest_z` (plane from 0), MEASURES, `drift_y_um, drift_x_um`.

        `background` and `over_background` are in the pixels' unit; drift is since the time point before, null
        at the first one and beside an empty frame. Measures of an empty frame are null.
        """
        table = typed_table(self._rows, _TYPES)
        if level is not None:
            at = candidate_levels(self.dtype).index(level.value)
            table["saturated_share"] = np.stack(self._at_levels)[:, at]
        return table


def projection(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """(Y, X) mean of a (Z, Y, X) volume along z."""
    return pixels.mean(axis=0, dtype=np.float32)
