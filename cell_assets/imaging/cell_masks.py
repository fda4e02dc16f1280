"""Where in its patch a cell lies, by the label image that its track table speaks of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cell_assets.imaging.label_store import LabelImage
from cell_assets.imaging.patches import PatchTableRecord, crop, crop_starts


@dataclass(frozen=True)
class CellMasks:
    """Two regions of one patch, (Z, Y, X) bool each."""

    segment: NDArray[np.bool_]
    """The cell's own label."""
    cell: NDArray[np.bool_]
    """Its label and every voxel within a stated distance in the plane that has no other label."""


def cell_masks(
    labels: LabelImage,
    t: int,
    label: int,
    centroid: tuple[float, float],
    table: PatchTableRecord,
    side_px: int,
    dilation_um: float,
) -> CellMasks:
    """Masks of the cell `label` at time point `t`, cut as its patch is: around the same pixel, from the same planes.

    Outside the image, edge pixels are repeated in labels as in patches.

    Args:
        centroid: (y, x), as the track table gives it.
        table: of the patch table that the patch is from.
        side_px: side of the middle of the stored patch that is looked at.
    """
    stored, (_, y_um, x_um) = table.parameters.side_px, table.voxel_size_um
    planes = slice(*table.parameters.z_range)
    margin = int(np.ceil(dilation_um / min(y_um, x_um)))
    start = crop_starts(np.array([centroid], np.float64), stored)[0] + (stored - side_px) // 2 - margin
    frame = labels.frame(t)[None, planes]
    window = crop(frame, start, side_px + 2 * margin)[0]
    segment = window == label
    near = np.stack([_within(plane, dilation_um, (y_um, x_um)) for plane in segment])
    inner = (slice(None), slice(margin, margin + side_px), slice(margin, margin + side_px))
    return CellMasks(segment[inner], (segment | (near & (window == 0)))[inner])


def _within(plane: NDArray[np.bool_], distance_um: float, pixel_um: tuple[float, float]) -> NDArray[np.bool_]:
    if not plane.any():
        return plane
    reached: NDArray[np.bool_] = distance_transform_edt(~plane, sampling=pixel_um) <= distance_um
    return reached
