"""The FOV chain's view of an acquisition: one position's facts, taken from `acquisition.json`."""

import numpy as np

from cell_assets.imaging.acquisition import AcquisitionInfo
from cell_assets.imaging.fields_of_view import FieldOfView


def field_of_view(info: AcquisitionInfo, position: str) -> FieldOfView:
    """What `info` says of `position`.

    Raises:
        NotFoundError: the acquisition has no such position.
    """
    found = info.position(position)
    voxel = info.voxel_size_um
    return FieldOfView(
        position=position,
        shape=found.shape,
        dtype=np.dtype(found.dtype),
        channel_names=info.channel_names,
        voxel_size_um=(voxel.z, voxel.y, voxel.x),
        interval_min=info.interval_min,
        well=info.well_of(position),
    )
