"""NDTiff acquisitions (Micro-Manager 2, pycro-manager): `NDTiff.index` says where in which file each plane lies.

The index is read directly and not by the package `ndtiff`, which opens every file, prints, and believes what
the index claims. One folder is one acquisition; a folder of such folders is a plate of them, each a position
of its own. Layout: NDTiffStorage's README, versions 3.0 to 3.3.
"""

import json
import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.micro_manager_metadata import interval_min, pixel_size_um, z_step_um
from cell_assets.imaging.position_names import fov_names
from cell_assets.imaging.readers.base import WHOLE, PlateSource, Reader
from cell_assets.imaging.source_files import folders_holding, near_folders, regular_file
from cell_assets.imaging.source_position import SourcePosition

INDEX = "NDTiff.index"

_NUMBER = struct.Struct("<I")
_ENTRY = struct.Struct("<8I")
_HEADER = struct.Struct("<2sHIIII")
_SUMMARY = struct.Struct("<II")
_MAGIC, _SUMMARY_MAGIC = 483729, 2355492
_VERSION = 3
_MAX_INDEX_BYTES = 2**28
"""Two million planes: what claims more is damaged, and would not fit in memory."""
_MAX_METADATA_BYTES = 2**24
"""Of one plane or of the summary; some 5 kB in practice."""

_DTYPES = {0: np.dtype("uint8")} | dict.fromkeys((1, 3, 4, 5, 6), np.dtype("uint16"))
"""By the index's pixel type: 8 bits, and 10 to 16 bits in two bytes. Type 2 is colour."""

_FULL = "Full resolution"
_SMALLER = re.compile(r"Downsampled_x[0-9]+")
_AXES = ("position", "time", "channel", "z")
_SAME = 1e-3
"""Relative difference of z steps that is rounding: stages are told micrometres with three digits."""

AxisValue = int | str


class _Place(NamedTuple):
    """Where a plane belongs, in the acquisition's own terms; 0 for an axis that it does not have."""

    position: AxisValue
    time: AxisValue
    channel: AxisValue
    z: AxisValue


class _Plane(NamedTuple):
    """Where a plane lies."""

    file: str
    offset: int
    metadata_offset: int
    metadata_bytes: int


@dataclass(frozen=True)
class _Acquisition:
    """One folder with its index."""

    folder: Path
    planes: dict[_Place, _Plane]
    positions: list[AxisValue]
    times: list[AxisValue]
    channels: list[AxisValue]
    depths: list[AxisValue]
    shape: tuple[int, int]
    dtype: np.dtype

    @property
    def index(self) -> Path:
        return self.folder / INDEX

    def plane(self, position: AxisValue, t: int, channel: int, z: int) -> _Plane:
        return self.planes[_Place(position, self.times[t], self.channels[channel], self.depths[z])]


class NdTiffSource(PlateSource):
    format = "ndtiff"

    def __init__(self, path: Path) -> None:
        self.path = path
        folders = folders_holding(path, INDEX) if path.is_dir() else []
        folders = [folder for folder in folders if not _is_smaller_copy(folder)]
        if not folders:
            raise BadInputError(f"{path}: has no {INDEX}; give the folder of an NDTiff acquisition")
        self._acquisitions = [_open_acquisition(folder) for folder in folders]
        of_positions = [(one, position) for one in self._acquisitions for position in one.positions]
        names = fov_names(path, [_label(path, one, position) for one, position in of_positions])
        self._places = dict(zip(names, of_positions, strict=True))
        self.positions = tuple(
            _source_position(name, one, position) for name, (one, position) in self._places.items()
        )

    def check(self) -> None:
        for one in self._acquisitions:
            n_bytes = {file: _size(one.folder / file) for file in {p.file for p in one.planes.values()}}
            plane_bytes = math.prod(one.shape) * one.dtype.itemsize
            for plane in one.planes.values():
                end = max(plane.offset + plane_bytes, plane.metadata_offset + plane.metadata_bytes)
                if end > n_bytes[plane.file]:
                    raise BadInputError(
                        f"{one.folder / plane.file}: is cut off: a plane ends at byte {end} of "
                        f"{n_bytes[plane.file]}; copy the file again"
                    )

    def read_volume(self, position: str, t: int, channel: int, z: slice = WHOLE) -> NDArray[np.generic]:
        one, own = self._places[position]
        depths = range(len(one.depths))[z]
        volume = np.empty((len(depths), *one.shape), one.dtype)
        for k, depth in enumerate(depths):
            plane = one.plane(own, t, channel, depth)
            volume[k] = _read_plane(one.folder / plane.file, plane.offset, one.shape, one.dtype)
        return volume

    def files(self) -> Iterator[Path]:
        for one in self._acquisitions:
            yield one.index
            yield from sorted(one.folder / file for file in {plane.file for plane in one.planes.values()})


def _is_smaller_copy(folder: Path) -> bool:
    """Whether a folder holds what its neighbour holds, at a lower resolution: NDTiff's pyramids lie so."""
    return _SMALLER.fullmatch(folder.name) is not None and (folder.parent / _FULL / INDEX).exists()


def _open_acquisition(folder: Path) -> _Acquisition:
    index = folder / INDEX
    planes: dict[_Place, _Plane] = {}
    sizes: set[tuple[int, int]] = set()
    types: set[np.dtype] = set()
    for axes, file, entry in _entries(index):
        place = _place(index, axes)
        if place in planes:
            raise BadInputError(f"{index}: lists the plane {json.dumps(axes)} twice; keep one")
        offset, width, height, pixel_type, compression, metadata_offset, metadata_bytes, _ = entry
        if pixel_type not in _DTYPES:
            raise BadInputError(
                f"{index}: has pixel type {pixel_type}, not grey with 8 to 16 bits; convert it"
            )
        if compression != 0:
            raise BadInputError(
                f"{index}: has pixel compression {compression}, which is not known; convert it"
            )
        sizes.add((height, width))
        types.add(_DTYPES[pixel_type])
        if len(sizes) > 1 or len(types) > 1:
            raise BadInputError(
                f"{index}: the plane {json.dumps(axes)} is {_DTYPES[pixel_type]} {(height, width)} (Y, X), unlike "
                "the planes before it; one acquisition has one shape and type"
            )
        planes[place] = _Plane(file, offset, metadata_offset, metadata_bytes)
    if not planes:
        raise BadInputError(f"{index}: lists no plane; copy the acquisition again")
    values = [list(dict.fromkeys(place[axis] for place in planes)) for axis in range(len(_AXES))]
    positions, times, channels, depths = values
    acquisition = _Acquisition(
        folder=folder,
        planes=planes,
        positions=positions,
        times=_consecutive(index, "time", times),
        channels=channels if any(isinstance(channel, str) for channel in channels) else sorted(channels),
        depths=_consecutive(index, "z", depths),
        shape=sizes.pop(),
        dtype=types.pop(),
    )
    _check_complete(acquisition)
    return acquisition


def _check_complete(one: _Acquisition) -> None:
    for place in map(_Place._make, product(one.positions, one.times, one.channels, one.depths)):
        if place not in one.planes:
            said = ", ".join(f"{axis} {value}" for axis, value in zip(_AXES, place, strict=True))
            raise BadInputError(
                f"{one.index}: has no plane at {said}, though others reach there; was the acquisition stopped? "
                "give one that is complete"
            )


def _entries(index: Path) -> Iterator[tuple[dict[str, AxisValue], str, tuple[int, ...]]]:
    """(axes, file name, numbers) of every plane that the index lists."""
    if _size(index) > _MAX_INDEX_BYTES:
        raise BadInputError(
            f"{index}: has {_size(index)} bytes, more than {_MAX_INDEX_BYTES}; split the acquisition"
        )
    with _opened(index) as stream:
        data = stream.read(_MAX_INDEX_BYTES)
    at = 0
    try:
        while at < len(data):
            axes_text, at = _text(data, at)
            if not axes_text:
                return  # the writer's mark for an acquisition that was not closed; the rest is padding
            file, at = _text(data, at)
            entry = _ENTRY.unpack_from(data, at)
            at += _ENTRY.size
            axes = json.loads(axes_text)
            if (
                not isinstance(axes, dict)
                or not file
                or any(sign in file for sign in "/\\\0")
                or file in (".", "..")
            ):
                raise ValueError(f"axes {axes_text} in file {file!r}")
            yield axes, file, entry
    except (struct.error, ValueError, RecursionError) as error:
        raise BadInputError(f"{index}: is cut off or damaged at byte {at}; copy the file again") from error


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = _NUMBER.unpack_from(data, at)
    end = at + _NUMBER.size + length
    if end > len(data):
        raise ValueError(f"a text of {length} bytes at byte {at}")
    return data[at + _NUMBER.size : end].decode("utf-8"), end


def _place(index: Path, axes: dict[str, AxisValue]) -> _Place:
    for axis, value in axes.items():
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BadInputError(
                f"{index}: axis {axis!r} is {value!r}, neither a number nor a name; correct it"
            )
        if axis not in _AXES and value != 0:
            raise BadInputError(
                f"{index}: has an axis {axis!r} with value {value!r}; only {', '.join(_AXES)} can be read, "
                "export the parts apart"
            )
    return _Place._make(axes.get(axis, 0) for axis in _AXES)


def _consecutive(index: Path, axis: str, values: Sequence[AxisValue]) -> list[AxisValue]:
    numbers = sorted(value for value in values if isinstance(value, int))
    if len(numbers) != len(values):
        raise BadInputError(f"{index}: axis {axis!r} has names, not numbers; number its planes")
    if numbers[-1] - numbers[0] >= len(numbers) or (axis == "time" and numbers[0] != 0):
        raise BadInputError(
            f"{index}: axis {axis!r} has {len(numbers)} values from {numbers[0]} to {numbers[-1]}, with a hole; "
            "give an acquisition that is complete"
        )
    return list(numbers)


def _label(path: Path, one: _Acquisition, position: AxisValue) -> str:
    """What a position is called: its own name, or that of its folder where the folder has one position."""
    if isinstance(position, str):
        return position
    first = one.plane(position, 0, 0, 0)
    name = _metadata(one.folder / first.file, first).get("PositionName")
    if isinstance(name, str) and name:
        return name
    if len(one.positions) == 1 and one.folder != path:
        return one.folder.relative_to(path).parts[0]
    return ""


def _source_position(name: str, one: _Acquisition, position: AxisValue) -> SourcePosition:
    first = one.plane(position, 0, 0, 0)
    summary = _summary(one.folder / first.file)
    metadata = _metadata(one.folder / first.file, first)
    size_um = pixel_size_um(summary, metadata)
    names = tuple(channel for channel in one.channels if isinstance(channel, str))
    return SourcePosition(
        name=name,
        shape=(len(one.times), len(one.channels), len(one.depths), *one.shape),
        dtype=one.dtype,
        channel_names=names if len(names) == len(one.channels) else None,
        z_um=z_step_um(summary) or _z_step(one, position),
        y_um=size_um,
        x_um=size_um,
        interval_min=interval_min(summary),
    )


def _z_step(one: _Acquisition, position: AxisValue) -> float | None:
    """The step between the heights that the stage was sent to; None where they are not stated or uneven."""
    heights = []
    for z in range(len(one.depths)):
        plane = one.plane(position, 0, 0, z)
        height = _metadata(one.folder / plane.file, plane).get("ZPosition_um_Intended")
        if not isinstance(height, int | float):
            return None
        heights.append(height)
    steps = np.abs(np.diff(heights))
    if len(steps) == 0 or not steps[0] > 0 or not np.allclose(steps, steps[0], rtol=_SAME):
        return None
    return float(steps.mean())


def _summary(file: Path) -> dict[str, object]:
    """The acquisition's own description, at the head of each of its files."""
    with _opened(file) as stream:
        head = stream.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:2] != b"II":
            raise BadInputError(f"{file}: is cut off or no little-endian NDTiff; copy the file again")
        _, _, _, magic, major, minor = _HEADER.unpack(head)
        if magic != _MAGIC or major != _VERSION:
            raise BadInputError(
                f"{file}: is no NDTiff {_VERSION} (magic {magic}, version {major}.{minor}); convert it"
            )
        summary_magic, length = _SUMMARY.unpack(stream.read(_SUMMARY.size).ljust(_SUMMARY.size, b"\0"))
        if summary_magic != _SUMMARY_MAGIC or length > min(_size(file), _MAX_METADATA_BYTES):
            raise BadInputError(f"{file}: its summary metadata is damaged ({length} bytes); copy it again")
        return _json(file, "summary metadata", stream.read(length))


def _metadata(file: Path, plane: _Plane) -> dict[str, object]:
    end = plane.metadata_offset + plane.metadata_bytes
    if end > _size(file) or plane.metadata_bytes > _MAX_METADATA_BYTES:
        raise BadInputError(
            f"{file}: is cut off or damaged: {plane.metadata_bytes} bytes of metadata end at byte {end} of "
            f"{_size(file)}; copy the file again"
        )
    with _opened(file) as stream:
        stream.seek(plane.metadata_offset)
        return _json(file, "metadata of a plane", stream.read(plane.metadata_bytes))


def _json(file: Path, what: str, data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data.rstrip(b"\0"))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{file}: its {what} is no JSON; copy the file again") from error
    if not isinstance(value, dict):
        raise BadInputError(f"{file}: its {what} is no JSON object; copy the file again")
    return value


def _read_plane(file: Path, offset: int, shape: tuple[int, int], dtype: np.dtype) -> NDArray[np.generic]:
    with _opened(file) as stream:
        stream.seek(offset)
        data = stream.read(math.prod(shape) * dtype.itemsize)
    if len(data) < math.prod(shape) * dtype.itemsize:
        raise BadInputError(f"{file}: is cut off: a plane at byte {offset} is short; copy the file again")
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise BadInputError(f"{file}: cannot be opened ({error.strerror}); restore the file") from error


def _size(file: Path) -> int:
    return regular_file(file).stat().st_size


def _recognises(path: Path) -> bool:
    return path.is_dir() and any((folder / INDEX).is_file() for folder in near_folders(path))


READER = Reader(
    format=NdTiffSource.format,
    looks_for=f"{INDEX}, here or in folders",
    recognises=_recognises,
    open=NdTiffSource,
)
