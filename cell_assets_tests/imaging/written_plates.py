"""What was written, read back by libraries that did not write it."""

from pathlib import Path

import numpy as np
import zarr
from iohub.ngff import open_ome_zarr
from numpy.typing import NDArray
from ome_zarr_models.v05.hcs import HCS


def valid_plate(target: Path) -> dict[str, NDArray[np.generic]]:
    """Pixels (T, C, Z, Y, X) by FOV as iohub reads them; ome-zarr-models has found the plate valid."""
    HCS.from_zarr(zarr.open_group(target / "plate.zarr", mode="r"))
    with open_ome_zarr(target / "plate.zarr", mode="r") as plate:
        return {name: position["0"][:] for name, position in plate.positions()}
