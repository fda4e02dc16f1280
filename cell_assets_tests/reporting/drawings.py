"""Figures as artists: what a function of `reporting` has drawn when it encodes its figure."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cell_assets.evaluation.units import FloatArray
from cell_assets.reporting.style import Sheet


@contextmanager
def encoded_figures() -> Iterator[list[tuple[Figure, bytes]]]:
    """Every figure that is encoded meanwhile with its PNG, in that order."""
    figures: list[tuple[Figure, bytes]] = []
    encode = Sheet.png

    def keep(sheet: Sheet) -> bytes:
        png = encode(sheet)
        figures.append((sheet.figure, png))
        return png

    with mock.patch.object(Sheet, "png", keep):
        yield figures


@contextmanager
def drawn_figures() -> Iterator[list[Figure]]:
    """Every figure that is encoded meanwhile, in that order, once the block has ended."""
    figures: list[Figure] = []
    with encoded_figures() as encoded:
        yield figures
    figures.extend(figure for figure, _ in encoded)


def line(axes: Axes, label: str) -> FloatArray:
    """(N, 2) of the one line with this label."""
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return points(found)


def points(drawn: Line2D | Collection) -> FloatArray:
    """(N, 2) of a line or a scatter plot."""
    xy = drawn.get_xydata() if isinstance(drawn, Line2D) else drawn.get_offsets()
    return np.asarray(xy, dtype=np.float64)


def n_of_colour(axes: Axes, colour: str) -> int:
    """Points of the first scatter plot that have it."""
    return int((np.abs(axes.collections[0].get_facecolors() - to_rgba(colour)).max(axis=1) < 1e-6).sum())


def dots(axes: Axes, colour: str | None = None) -> FloatArray:
    """(N, 2) of all round markers, in order of drawing; of one colour where it is given."""
    found = [
        points(one) for one in axes.lines if one.get_marker() == "o" and colour in (None, one.get_color())
    ]
    return np.concatenate(found) if found else np.zeros((0, 2))


def bars(axes: Axes) -> FloatArray:
    """(N, 3) low, high and height of all horizontal lines without marker, in order of drawing."""
    found = [points(one) for one in axes.lines if one.get_marker() == "None"]
    return np.array([[*xy[:, 0], xy[0, 1]] for xy in found if len(xy) == 2 and xy[0, 1] == xy[1, 1]])


def band(drawn: Collection) -> FloatArray:
    """(N, 3) place, low and high of what `fill_between` filled."""
    xy = np.concatenate([path.vertices for path in drawn.get_paths()])
    return np.array(
        [[x, xy[xy[:, 0] == x, 1].min(), xy[xy[:, 0] == x, 1].max()] for x in np.unique(xy[:, 0])]
    )


def upright_lines(axes: Axes) -> list[float]:
    """Places of `axvline`."""
    return [float(xy[0, 0]) for xy in map(points, axes.lines) if len(xy) == 2 and xy[0, 0] == xy[1, 0]]


def legend_of(figure: Figure | Axes) -> list[str]:
    """Texts of its legend."""
    legend = figure.legends[0] if isinstance(figure, Figure) else figure.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def labels_of(axes: Axes) -> tuple[str, str, str]:
    """Title, x label and y label."""
    return axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()
