"""Geometry of labelled voxels: sizes, float centroids, major axes, components. No files, no grey values."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

Spacing = tuple[float, float, float]
"""Voxel size `(z, y, x)`, µm."""


@dataclass(frozen=True)
class LabelGeometry:
    """One row per label that occurs in a `(Z, Y, X)` label volume, by rising label."""

    label: NDArray[np.int64]
    area: NDArray[np.int64]
    """Voxels."""
    centroid: NDArray[np.float64]
    """`(n, 3)` z, y, x in voxels, float: the mean of the voxel centres."""
    length_um: NDArray[np.float64]
    """Major axis of the ellipse with the same second moments, µm; in 3-D of the projection along z."""
    elongation_um: NDArray[np.float64]
    """`(n, 2)` y, x: vector along the major axis, of either sign, as long as it exceeds the minor one, µm."""


def label_geometry(labels: NDArray[np.generic], spacing: Spacing) -> LabelGeometry:
    """Geometry of every label of `(Z, Y, X)` `labels`.

    The major axis is `4 sqrt(l)` with `l` the larger eigenvalue of the second moments of the (projected)
    mask, each pixel counting as a square (side²/12 on the diagonal, as in MATLAB's regionprops;
    scikit-image leaves that out, so that its single pixel has length 0).
    """
    z, y, x = np.nonzero(labels)
    ids, index = np.unique(labels[z, y, x], return_inverse=True)
    n = len(ids)
    area = np.bincount(index, minlength=n)
    sums = [np.bincount(index, axis, minlength=n) for axis in (z, y, x)]
    if labels.shape[0] > 1:
        index, y, x = _project(index, y, x, labels.shape)
    length, elongation = _ellipse(index, y, x, n, spacing)
    return LabelGeometry(
        label=ids.astype(np.int64),
        area=area.astype(np.int64),
        centroid=np.stack(sums, axis=1) / area[:, None],
        length_um=length,
        elongation_um=elongation,
    )


def component_labels(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Face-connected components of `mask`, 1..n in order of their first voxel."""
    labels, _ = ndi.label(mask, output=np.int32)
    return labels


def compact_labels(labels: NDArray[np.integer], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """`labels` with only those values where `keep[value]`, renumbered 1..n; value 0 stays ground."""
    keep = keep.copy()
    keep[0] = False
    numbers = (np.cumsum(keep) * keep).astype(np.int32)
    return numbers[labels]


def _project(
    index: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    flat = np.unique((index * shape[1] + y) * shape[2] + x)
    rest, x = np.divmod(flat, shape[2])
    index, y = np.divmod(rest, shape[1])
    return index, y, x


def _ellipse(
    index: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64], n: int, spacing: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Major axis `(n,)`, and a vector along it `(n, 2)` as long as it exceeds the minor one."""
    count = np.bincount(index, minlength=n)
    mean_y, mean_x = (np.bincount(index, axis, minlength=n) / count for axis in (y, x))
    dy, dx = (y - mean_y[index]) * spacing[1], (x - mean_x[index]) * spacing[2]
    yy = np.bincount(index, dy * dy, minlength=n) / count + spacing[1] ** 2 / 12
    xx = np.bincount(index, dx * dx, minlength=n) / count + spacing[2] ** 2 / 12
    xy = np.bincount(index, dx * dy, minlength=n) / count
    mean, apart = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    length, width = 4 * np.sqrt(mean + apart), 4 * np.sqrt(np.maximum(mean - apart, 0))
    angle = np.arctan2(2 * xy, xx - yy) / 2
    return length, (length - width)[:, None] * np.column_stack([np.sin(angle), np.cos(angle)])
