"""TIFF files that each hold one grey volume: a plane or a stack of planes.

A TIFF that was cut off often still opens, with fewer planes: so its directory chain and the place of every
strip are checked against the file's size before anything is believed.
"""

import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from cell_assets.errors import BadInputError

_MAX_PAGES = 1_000_000
"""A chain of directories longer than this is a loop."""

_DECODE_ERRORS = (
    tifffile.TiffFileError,
    RuntimeError,
    ValueError,
    OSError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What tifffile and imagecodecs (whose errors are RuntimeErrors) raise for files that they cannot read."""


@dataclass(frozen=True)
class TiffVolume:
    """Shape (Z, Y, X) and dtype of a TIFF, from its header alone."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    axes: str
    """What the file says that its axes are, as tifffile names them: ZYX, TYX; Q or I where it does not say."""


def inspect_tiff(path: Path) -> TiffVolume:
    """Shape and dtype of a whole, grey, single-volume TIFF; no pixel is decoded.

    Raises:
        BadInputError: naming the file, when it is missing, cut off, no TIFF, in colour, or of more than one
            volume.
    """
    _check_whole(path)
    with _opened(path) as tiff:
        return _volume(path, tiff)


def read_tiff(path: Path, z: slice = slice(None)) -> NDArray[np.generic]:
    """The planes `z` of the volume (Z, Y, X) in native byte order; other planes are not decoded.

    Raises:
        BadInputError: as `inspect_tiff`, or when a strip cannot be decoded.
    """
    with _opened(path) as tiff:
        volume = _volume(path, tiff)
        planes = range(volume.shape[0])[z]
        # One worker: more would each hold a decoded strip, and the caller counts memory.
        pixels = tiff.asarray(series=0, key=planes, maxworkers=1)
    pixels = pixels.reshape(len(planes), *volume.shape[1:])
    return pixels if pixels.dtype.isnative else pixels.astype(volume.dtype)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it also logs what is raised here in one sentence
    try:
        with tifffile.TiffFile(path) as tiff:
            yield tiff
    except BadInputError:
        raise
    except _DECODE_ERRORS as error:
        raise BadInputError(f"{path}: cannot be read as a TIFF ({error}); copy the file again") from error
    finally:
        logger.setLevel(level)


def _volume(path: Path, tiff: tifffile.TiffFile) -> TiffVolume:
    if len(tiff.series) != 1:
        shapes = ", ".join(str(series.shape) for series in tiff.series)
        raise BadInputError(f"{path}: holds planes of different shapes ({shapes}); one file is one volume")
    series = tiff.series[0]
    shape = tuple(int(length) for length in series.shape)
    if "S" in series.axes or len(shape) not in (2, 3):
        raise BadInputError(
            f"{path}: has shape {shape} and axes {series.axes}, not one grey plane (Y, X) or stack (Z, Y, X)"
        )
    z, y, x = (1, *shape) if len(shape) == 2 else shape
    return TiffVolume((z, y, x), np.dtype(series.dtype).newbyteorder("="), str(series.axes))


def _check_whole(path: Path) -> None:
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            whole = _chain_is_whole(file, n_bytes)
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: there is no such file") from error
    except struct.error:
        whole = False
    if not whole:
        raise BadInputError(f"{path}: is cut off or no TIFF ({n_bytes} bytes); copy the file again")
    with _opened(path) as tiff:
        for number, page in enumerate(tiff.pages):
            ends = zip(page.dataoffsets, page.databytecounts, strict=True)
            if (end := max((offset + count for offset, count in ends), default=0)) > n_bytes:
                raise BadInputError(
                    f"{path}: is cut off: plane {number} ends at byte {end} of {n_bytes}; copy the file again"
                )
        series = tiff.series[0]
        if len(tiff.pages) == 1 and series.dataoffset is not None:
            # ImageJ writes one directory for all planes and the planes behind one another.
            end = series.dataoffset + series.nbytes
            if end > n_bytes:
                raise BadInputError(
                    f"{path}: is cut off: needs {end} bytes, has {n_bytes}; copy the file again"
                )


def _chain_is_whole(file: BinaryIO, n_bytes: int) -> bool:
    """Whether all image file directories lie inside the file and their chain ends (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        return False
    (version,) = struct.unpack(order + "H", file.read(2))
    if version not in (42, 43):
        return False
    count_format, entry_bytes, offset_format = ("H", 12, "I") if version == 42 else ("Q", 20, "Q")
    count_bytes, offset_bytes = struct.calcsize(order + count_format), struct.calcsize(order + offset_format)
    file.seek(4 if version == 42 else 8)
    (offset,) = struct.unpack(order + offset_format, file.read(offset_bytes))
    if offset == 0:
        return False
    for _ in range(_MAX_PAGES):
        file.seek(offset)
        (entries,) = struct.unpack(order + count_format, file.read(count_bytes))
        next_at = offset + count_bytes + entries * entry_bytes
        if next_at + offset_bytes > n_bytes:
            return False
        file.seek(next_at)
        (offset,) = struct.unpack(order + offset_format, file.read(offset_bytes))
        if offset == 0:
            return True
    return False
