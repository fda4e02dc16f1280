"""The plane in which each cell of a frame is measured, and its pixels cell by cell.

A volume's cell is measured in one plane, that in which its label covers most pixels (the first of equals). A
projection would lay cells that lie above each other on top of each other, and add light from out of focus.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledPlane:
    """One plane of a frame and the cells that are measured in it."""

    z: int
    labels: NDArray[np.int32]
    """`(Y, X)`: 0 ground, 1..n the cells of `label` in their order, above n the cells measured in other planes."""
    label: IntArray
    """`(n,)` value of each cell in the frame's label image, rising."""
    pixels: IntArray
    """`(p,)` flat indices of the pixels of cells 1..n, in the order of the plane."""
    cell: IntArray
    """`(p,)` which cell each of them belongs to, 0..n - 1."""

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.label)

    @property
    def own(self) -> NDArray[np.int32]:
        """`labels` without the cells measured in other planes."""
        return np.where(self.labels <= self.n, self.labels, 0)


def labelled_planes(labels: NDArray[np.generic]) -> Iterator[LabelledPlane]:
    """Every plane of `(Z, Y, X)` labels in which a cell is measured, each cell in exactly one of them."""
    label, z = widest_planes(labels)
    for plane in np.unique(z):
        own = label[z == plane]
        image = labels[plane]
        others = np.setdiff1d(image[image > 0], own)
        order = np.concatenate([[0], own, others]).astype(np.int64)
        number = np.zeros(int(order.max()) + 1, np.int32)
        number[order] = np.arange(len(order))
        compact = number[image]
        pixels = np.flatnonzero((compact > 0) & (compact <= len(own)))
        yield LabelledPlane(int(plane), compact, own, pixels, compact.ravel()[pixels].astype(np.int64) - 1)


def widest_planes(labels: NDArray[np.generic]) -> tuple[IntArray, IntArray]:
    """Labels that occur in `(Z, Y, X)` `labels`, rising, and the plane in which each covers most pixels."""
    z, y, x = np.nonzero(labels)
    label, cell = np.unique(labels[z, y, x], return_inverse=True)
    size = np.bincount(cell * len(labels) + z, minlength=len(label) * len(labels))
    widest = size.reshape(len(label), len(labels)).argmax(axis=1)
    return label.astype(np.int64), widest.astype(np.int64)
