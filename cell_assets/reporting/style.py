"""One look for every figure, and PNG bytes that depend on the drawing alone."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
ACCENT = "#0b6e99"
"""The embedding, in every figure."""
RIVAL = "#d9822b"
"""The first baseline, in every figure."""
PALETTE = ("#0b6e99", "#d9822b", "#2f9e6e", "#b5508f", "#8d6cab", "#5b8c2a", "#c0453c", "#4a5568")
"""Told apart with the common colour vision deficiencies, and in greyscale for the first three."""
OTHER = "#c3cad2"
CONTINUOUS = "viridis"

_LOOK: dict[Any, object] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that glyphs are the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
_DPI = 160


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's defaults plus this look, whatever the user's own configuration says.

    Decorates every function that draws: many settings are read when an artist is made, not when it is saved.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOK)
        yield


class Sheet:
    """A figure under construction: axes in a grid, then `png()`."""

    def __init__(
        self, width_in: float, height_in: float, rows: int = 1, columns: int = 1, **grid: Sequence[float]
    ) -> None:
        self.figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(self.figure)
        axes = self.figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid or None)
        self.axes: tuple[tuple[Axes, ...], ...] = tuple(tuple(row) for row in axes)

    def legend_below(self, handles: Sequence[Artist], labels: Sequence[str]) -> None:
        """One legend for all axes, below them, in as many columns as are no wider than the figure together."""
        for columns in range(max(len(labels), 1), 0, -1):
            legend = self.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
            if columns == 1 or legend.get_window_extent().width <= self.figure.bbox.width:
                return
            legend.remove()

    def png(self) -> bytes:
        """The figure as PNG without software or date entries."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return buffer.getvalue()


def bare(axes: Axes) -> None:
    """Take ticks, grid and frame away: for images and scatter plots whose axes have no unit."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
