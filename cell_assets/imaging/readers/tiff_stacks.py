"""What formats of TIFF stacks have in common: planes that are known by the places of their directories."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_assets.imaging.readers.base import WHOLE, PlateSource
from cell_assets.imaging.source_files import tiff_files
from cell_assets.imaging.tiff_planes import PlaneTable


class TiffStackSource(PlateSource):
    """One stack, or all stacks in and below a folder. A format says where in them each FOV's planes lie."""

    _planes: Mapping[str, PlaneTable]
    """By FOV."""

    def __init__(self, path: Path) -> None:
        self.path = path if path.is_dir() else path.parent
        self._files = tiff_files(path)

    def check(self) -> None:
        for planes in self._planes.values():
            planes.check()

    def read_volume(self, position: str, t: int, channel: int, z: slice = WHOLE) -> NDArray[np.generic]:
        return self._planes[position].read(t, channel, z)

    def files(self) -> Iterator[Path]:
        yield from sorted({file for planes in self._planes.values() for file in planes.files})
