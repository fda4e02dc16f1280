"""TIFFs of many planes, each found by the place of its image file directory.

A stack's metadata says which directory holds which plane; reading a plane by its directory's place costs the
same for the last plane as for the first, where walking the chain would cost its length each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.tiff_volumes import check_page, opened_tiff

NOWHERE = -1


@dataclass(frozen=True)
class PlaneTable:
    """Where the planes (T, C, Z) of one FOV lie."""

    files: tuple[Path, ...]
    file_of: NDArray[np.int32]
    """(T, C, Z): index in `files`."""
    directory: NDArray[np.int64]
    """(T, C, Z): byte of the plane's directory; NOWHERE for a plane that is missing."""
    shape: tuple[int, int]
    """(Y, X)."""
    dtype: np.dtype

    def check_complete(self, what: str) -> None:
        """Refuse a plane that is nowhere, naming `what` and its place."""
        missing = np.argwhere(self.directory == NOWHERE)
        if len(missing):
            t, channel, z = missing[0]
            raise BadInputError(
                f"{what}: the plane t={t}, channel {channel}, z={z} is nowhere ({len(missing)} are missing); "
                "give an acquisition that is complete"
            )

    def check(self) -> None:
        """Look at every plane's directory: shape, dtype, and that its pixels lie inside the file."""
        for file, directories in self._by_file():
            n_bytes = file.stat().st_size
            with opened_tiff(file) as tiff:
                for number, directory in enumerate(directories):
                    page = _page(tiff, directory)
                    check_page(file, number, page, n_bytes)
                    self._check_page(file, page)

    def read(self, t: int, channel: int, z: slice) -> NDArray[np.generic]:
        """(z, Y, X) in native byte order."""
        files, directories = self.file_of[t, channel, z], self.directory[t, channel, z]
        volume = np.empty((len(files), *self.shape), self.dtype)
        breaks = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(files)]
        for start, stop in pairwise(breaks):
            file = self.files[files[start]]
            with opened_tiff(file) as tiff:
                for k in range(start, stop):
                    page = _page(tiff, int(directories[k]))
                    self._check_page(file, page)
                    volume[k] = page.asarray(maxworkers=1)
        return volume

    def _by_file(self) -> Iterator[tuple[Path, list[int]]]:
        order = np.lexsort((self.directory.ravel(), self.file_of.ravel()))
        pairs = zip(self.file_of.ravel()[order].tolist(), self.directory.ravel()[order].tolist(), strict=True)
        for number, group in groupby(pairs, key=lambda pair: pair[0]):
            yield self.files[number], [directory for _, directory in group]

    def _check_page(self, file: Path, page: tifffile.TiffPage) -> None:
        dtype = None if page.dtype is None else np.dtype(page.dtype).newbyteorder("=")
        if page.shape != self.shape or dtype != self.dtype:
            raise BadInputError(
                f"{file}: has a plane of {dtype} {page.shape}, but its metadata says {self.dtype} {self.shape} "
                "(Y, X); copy the file again"
            )


def read_page(file: Path, directory: int) -> tifffile.TiffPage:
    """What one directory says of its plane; BadInputError when it cannot be read."""
    with opened_tiff(file) as tiff:
        return _page(tiff, directory)


def _page(tiff: tifffile.TiffFile, directory: int) -> tifffile.TiffPage:
    tiff.filehandle.seek(directory)
    return tifffile.TiffPage(tiff, index=0)
