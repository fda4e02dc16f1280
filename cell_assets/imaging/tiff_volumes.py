"""TIFF files that each hold one grey volume: a plane or a stack of planes.

A TIFF that was cut off often still opens, with fewer planes: so its directory chain and the place of every
strip are checked against the file's size before anything is believed.
"""

import logging
import math
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

_SMALL_BYTES = 2**26
_MAX_RATIO = 1100
"""Deflate makes zeros 1030 times smaller at best; pixels of a camera become 2 times smaller. A header that
claims more than this, and more than a small plane, is damaged."""

_DECODE_ERRORS = (
    tifffile.TiffFileError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
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
    with opened_tiff(path) as tiff:
        return _volume(path, tiff)


def read_tiff(path: Path, z: slice = slice(None)) -> NDArray[np.generic]:
    """The planes `z` of the volume (Z, Y, X) in native byte order; other planes are not decoded.

    Raises:
        BadInputError: as `inspect_tiff`, or when a strip cannot be decoded.
    """
    with opened_tiff(path) as tiff:
        volume = _volume(path, tiff)
        planes = range(volume.shape[0])[z]
        # One worker: more would each hold a decoded strip, and the caller counts memory.
        pixels = tiff.asarray(series=0, key=planes, maxworkers=1)
    pixels = pixels.reshape(len(planes), *volume.shape[1:])
    return pixels if pixels.dtype.isnative else pixels.astype(volume.dtype)


@contextmanager
def opened_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """A TIFF that is open; whatever tifffile raises meanwhile becomes a BadInputError that names the file."""
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
            f"{path}: has shape {shape} and axes {series.axes}, not one grey plane (Y, X) or stack (Z, Y, X); "
            "save each channel as a grey file"
        )
    z, y, x = (1, *shape) if len(shape) == 2 else shape
    return TiffVolume((z, y, x), np.dtype(series.dtype).newbyteorder("="), str(series.axes))


def tiff_directories(path: Path) -> list[int]:
    """Where in the file each image file directory lies: one per plane, in the order of their chain.

    Raises:
        BadInputError: naming the file, when it is missing, cut off or no TIFF.
    """
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            offsets = _chain(file, n_bytes)
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: there is no such file") from error
    except OSError as error:
        raise BadInputError(f"{path}: cannot be opened ({error.strerror}); restore the file") from error
    except struct.error:
        offsets = []
    if not offsets:
        raise BadInputError(f"{path}: is cut off or no TIFF ({n_bytes} bytes); copy the file again")
    return offsets


def _check_whole(path: Path) -> None:
    tiff_directories(path)
    n_bytes = path.stat().st_size
    with opened_tiff(path) as tiff:
        for number, page in enumerate(tiff.pages):
            check_page(path, number, page, n_bytes)
        series = tiff.series[0]
        if len(tiff.pages) == 1 and series.dataoffset is not None:
            # ImageJ writes one directory for all planes and the planes behind one another.
            end = series.dataoffset + series.nbytes
            if end > n_bytes:
                raise BadInputError(
                    f"{path}: is cut off: needs {end} bytes, has {n_bytes}; copy the file again"
                )


def check_page(path: Path, number: int, page: tifffile.TiffPage | tifffile.TiffFrame, n_bytes: int) -> None:
    """Refuse a plane whose pixels reach beyond the file, or are more than its bytes can stand for."""
    if len(page.dataoffsets) != len(page.databytecounts):
        raise BadInputError(
            f"{path}: plane {number} has {len(page.dataoffsets)} places for {len(page.databytecounts)} strips of "
            "pixels; copy the file again"
        )
    ends = zip(page.dataoffsets, page.databytecounts, strict=True)
    if (end := max((offset + count for offset, count in ends), default=0)) > n_bytes:
        raise BadInputError(
            f"{path}: is cut off: plane {number} ends at byte {end} of {n_bytes}; copy the file again"
        )
    claimed = math.prod(page.shape) * (page.dtype.itemsize if page.dtype is not None else 1)
    if claimed > max(_SMALL_BYTES, _MAX_RATIO * sum(page.databytecounts)):
        raise BadInputError(
            f"{path}: its header claims {claimed} bytes for plane {number}, but the plane has "
            f"{sum(page.databytecounts)} bytes in the file; copy the file again"
        )


def _chain(file: BinaryIO, n_bytes: int) -> list[int]:
    """The directories, when all lie inside the file and their chain ends; else none (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        return []
    (version,) = struct.unpack(order + "H", file.read(2))
    if version not in (42, 43):
        return []
    count_format, entry_bytes, offset_format = ("H", 12, "I") if version == 42 else ("Q", 20, "Q")
    count_bytes, offset_bytes = struct.calcsize(order + count_format), struct.calcsize(order + offset_format)
    file.seek(4 if version == 42 else 8)
    (offset,) = struct.unpack(order + offset_format, file.read(offset_bytes))
    offsets: list[int] = []
    while offset != 0:
        if len(offsets) == _MAX_PAGES or offset >= n_bytes:
            return []
        offsets.append(offset)
        file.seek(offset)
        (entries,) = struct.unpack(order + count_format, file.read(count_bytes))
        next_at = offset + count_bytes + entries * entry_bytes
        if next_at + offset_bytes > n_bytes:
            return []
        file.seek(next_at)
        (offset,) = struct.unpack(order + offset_format, file.read(offset_bytes))
    return offsets
