"""What the network must say of every pixel of a frame, and which pixels it may not even see.

A pixel is a state only where every cell that covers it has that annotated state. It is background where no label
covers it and no cell is. All else is ignored: nuclei without annotation, nuclei of other splits, labels of no cell,
and what surrounds the centroid of a cell without label.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

IGNORED = -1
BACKGROUND = 0
STATE_A = 1
STATE_B = 2
_NO_LABEL = IGNORED - 1

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Footprints:
    """Which pixels each label covers, seen along z; a pixel may be covered by several."""

    label: IntArray
    """(K,)"""
    pixel: IntArray
    """(K,) y * X + x."""
    shape: tuple[int, int]
    """(Y, X)"""


@dataclass(frozen=True)
class Target:
    """A frame's classes, and what of it is hidden."""

    classes: NDArray[np.int8]
    """(Y, X): `IGNORED`, `BACKGROUND`, `STATE_A` or `STATE_B`."""
    hidden: NDArray[np.bool_]
    """(Y, X): covered by a label that is of no visible cell."""


def footprints(labels: NDArray[np.integer]) -> Footprints:
    """Of every label of a volume `(Z, Y, X)`, 0 being ground."""
    z, y, x = np.nonzero(labels)
    plane = labels.shape[1] * labels.shape[2]
    pairs = np.unique(labels[z, y, x].astype(np.int64) * plane + y * labels.shape[2] + x)
    label, pixel = np.divmod(pairs, plane)
    return Footprints(label, pixel, (labels.shape[1], labels.shape[2]))


def nuclei(
    labels: NDArray[np.integer], cells: pd.DataFrame, radius_px: float
) -> tuple[Footprints, pd.DataFrame]:
    """What every label and every cell of a frame covers.

    A cell whose label covers nothing here, or that has none, stands with the free pixels of a disk around its
    centroid: something is there that is no background, and the network is asked about it all the same.

    Args:
        labels: (Z, Y, X)
        cells: of this frame, with `y`, `x` and `label` (null without one).
        radius_px: of the disk.

    Returns:
        The footprints, and the cells with a `label` each: below 0 where it is of a disk.
    """
    covers = footprints(labels)
    label = cells["label"].fillna(0).to_numpy(np.int64)
    without = np.flatnonzero(~np.isin(label, covers.label))
    label[without] = -1 - np.arange(len(without))
    height, width = covers.shape
    is_free = np.ones(height * width, bool)
    is_free[covers.pixel] = False
    parts = [(covers.label, covers.pixel)]
    for row, (y, x) in zip(without, cells[["y", "x"]].to_numpy(np.float64)[without], strict=True):
        inside = _disk(y, x, radius_px, covers.shape)
        nearest = np.clip(np.floor([y + 0.5, x + 0.5]).astype(np.int64), 0, (height - 1, width - 1))
        pixels = np.union1d(inside[is_free[inside]], nearest[0] * width + nearest[1])
        parts.append((np.full(len(pixels), label[row]), pixels))
    every_label, every_pixel = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Footprints(every_label, every_pixel, covers.shape), cells.assign(label=label)


def target(covers: Footprints, cells: pd.DataFrame, split: str, visible: tuple[str, ...]) -> Target:
    """Classes of the nuclei of one split, in one frame.

    Args:
        covers: as `nuclei` gives it, and the cells too.
        cells: of this frame: `label` (below 0 for a disk), `split`, `state` (`STATE_A`, `STATE_B`, or `IGNORED` where
            nobody annotated the cell). Several cells may share a label.
        split: whose nuclei count. Disks never do: where such a nucleus ends is not known.
        visible: splits whose nuclei may be seen. What is under any other label is hidden.
    """
    counts = (cells["split"] == split) & (cells["label"] > 0)
    code = cells["state"].where(counts, IGNORED).to_numpy(np.int64)
    seen = cells["split"].isin(visible).to_numpy()
    said = pd.DataFrame({"low": code, "high": code, "seen": seen.astype(np.int64)})
    by_label = said.groupby(cells["label"].to_numpy(np.int64)).agg(
        {"low": "min", "high": "max", "seen": "min"}
    )
    labels, which = np.unique(covers.label, return_inverse=True)
    # A label of no cell says nothing and is not seen.
    merged = by_label.reindex(labels).fillna({"low": IGNORED, "high": IGNORED, "seen": 0})
    codes = merged["low"].where(merged["low"] == merged["high"], IGNORED).to_numpy(np.int64)[which]
    is_seen = (merged["seen"] == 1).to_numpy()[which]
    size = covers.shape[0] * covers.shape[1]
    low, high = np.full(size, STATE_B + 1), np.full(size, _NO_LABEL)
    np.minimum.at(low, covers.pixel, codes)
    np.maximum.at(high, covers.pixel, codes)
    classes = np.where(low == high, high, IGNORED)
    classes[high == _NO_LABEL] = BACKGROUND
    hidden = np.zeros(size, bool)
    hidden[covers.pixel[~is_seen]] = True
    return Target(classes.astype(np.int8).reshape(covers.shape), hidden.reshape(covers.shape))


def _disk(y: float, x: float, radius: float, shape: tuple[int, int]) -> IntArray:
    """Flat indices of the pixels whose centres lie within `radius` of (y, x)."""
    ys, xs = (
        np.arange(max(0, int(np.ceil(at - radius))), min(extent, int(np.floor(at + radius)) + 1))
        for at, extent in zip((y, x), shape, strict=True)
    )
    inside = (ys[:, None] - y) ** 2 + (xs - x) ** 2 <= radius**2
    return np.asarray((ys[:, None] * shape[1] + xs)[inside], np.int64)
