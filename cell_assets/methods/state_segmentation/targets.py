"""What the network must say of every pixel of a frame, and which pixels it may not even see.

A pixel is a state only where every cell that covers it has that annotated state. It is background where no label
covers it. All else is ignored: nuclei without annotation, nuclei of other splits, and labels of no cell.
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


def target(covers: Footprints, cells: pd.DataFrame, split: str, visible: tuple[str, ...]) -> Target:
    """Classes of the nuclei of one split, in one frame.

    Args:
        cells: of this frame: `label` (null without one), `split`, `state` (`STATE_A`, `STATE_B`, or `IGNORED` where
            nobody annotated the cell). Several cells may share a label.
        split: whose nuclei count.
        visible: splits whose nuclei may be seen. What is under any other label is hidden.
    """
    known = cells[cells["label"].notna()]
    code = known["state"].where(known["split"] == split, IGNORED).to_numpy(np.int64)
    seen = known["split"].isin(visible).to_numpy()
    said = pd.DataFrame({"low": code, "high": code, "seen": seen.astype(np.int64)})
    by_label = said.groupby(known["label"].to_numpy(np.int64)).agg(
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
