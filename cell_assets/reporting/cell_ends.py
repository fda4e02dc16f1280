"""Images of the cells at both ends of a value, such as a principal component."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from cell_assets.evaluation.units import FloatArray
from cell_assets.reporting.style import Sheet, bare, house_style


@dataclass(frozen=True)
class CellEnds:
    """Cells with the lowest and the highest values, of distinct tracks at each end."""

    what: str
    """Of what, for example `PC 1`."""
    low: FloatArray
    """(n, C, Y, X), the lowest first."""
    high: FloatArray
    """(m, C, Y, X), the highest last."""
    channel_names: tuple[str, ...]
    low_name: str = "lowest"
    high_name: str = "highest"


@house_style()
def ends_figure(ends: Sequence[CellEnds]) -> bytes:
    """For each of `ends` a row of patches per channel: low cells left, high right, as the paper's Figure 3f."""
    n_low = max(len(one.low) for one in ends)
    n_high = max(len(one.high) for one in ends)
    channels = ends[0].channel_names
    contrasts = [_contrast(ends, channel) for channel in range(len(channels))]
    sheet = Sheet(
        0.62 * (n_low + n_high) + 1.4,
        0.66 * len(ends) * len(channels) + 0.22 * len(ends) + 0.2,
        rows=len(ends) * len(channels),
        columns=n_low + 1 + n_high,
        width_ratios=[1.0] * n_low + [0.35] + [1.0] * n_high,
    )
    for place, one in enumerate(ends):
        for channel, name in enumerate(channels):
            row = sheet.axes[place * len(channels) + channel]
            for axes in row:
                bare(axes)
            images = [*one.low[:, channel], *[None] * (n_low - len(one.low) + 1), *one.high[:, channel]]
            for axes, image in zip(row, images, strict=False):
                if image is not None:
                    axes.imshow(image, cmap="gray", vmin=contrasts[channel][0], vmax=contrasts[channel][1])
            row[0].set_ylabel(name, fontsize=7)
        first = sheet.axes[place * len(channels)]
        _title(first[0], f"{one.what}, {one.low_name}")
        _title(first[n_low + 1], one.high_name)
    return sheet.png()


def _title(axes: Axes, text: str) -> None:
    axes.set_title(
        " ", fontsize=8, pad=3
    )  # the room above; a text wider than its patch would widen the column
    said = axes.text(0, 1.05, text, transform=axes.transAxes, fontsize=8, fontweight="bold", va="bottom")
    said.set_in_layout(False)


def _contrast(ends: Sequence[CellEnds], channel: int) -> tuple[float, float]:
    shown = np.concatenate([part[:, channel].ravel() for one in ends for part in (one.low, one.high)])
    low, high = np.percentile(shown, [1, 99.5])
    return float(low), float(max(high, low + 1e-9))
