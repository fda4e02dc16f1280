"""HCS plates in OME-Zarr 0.4 and 0.5, with the instance labels that lie in them.

Only full resolution is read; pyramids can be made again from it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_assets.imaging.ome_zarr_labels import LabelImages
from cell_assets.imaging.ome_zarr_plate import OmeZarrPlate, is_plate
from cell_assets.imaging.readers.base import WHOLE, PlateSource, Reader
from cell_assets.imaging.source_files import all_files


class OmeZarrSource(PlateSource):
    format = "ome-zarr"

    def __init__(self, path: Path, labels: str | None = None) -> None:
        self.path = path
        self._plate = OmeZarrPlate(path)
        self.simulated = self._plate.simulated
        self.positions = self._plate.images
        self._labels = LabelImages(path, self.positions, labels)

    def check(self) -> None:
        list(self.files())
        for position in self.positions:
            self._plate.check_chunks(position.name)
            self._labels.check_chunks(position.name)

    def read_volume(self, position: str, t: int, channel: int, z: slice = WHOLE) -> NDArray[np.generic]:
        return self._plate.read_volume(position, t, channel, z)

    def files(self) -> Iterator[Path]:
        return all_files(self.path)

    def label_dtype(self, position: str) -> np.dtype | None:
        return self._labels.dtype(position)

    def given_labels(self, position: str, t: int, z: slice = WHOLE) -> NDArray[np.generic] | None:
        return self._labels.read_volume(position, t, z)


READER = Reader(
    format=OmeZarrSource.format,
    looks_for="a Zarr group whose metadata has 'plate'",
    recognises=is_plate,
    open=OmeZarrSource,
    open_with_labels=OmeZarrSource,
)
