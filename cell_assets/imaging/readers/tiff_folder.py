"""Folders of TIFFs whose names say where each belongs: one file per plane or stack of one channel.

The names are all that is known: a channel that is only a number has no name, and sizes and intervals are not
stated. Names are read by a pattern (`file_pattern`); all are checked before any pixel is read.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.file_pattern import DEFAULT_PATTERN, PlacedName, parse_pattern, place_files
from cell_assets.imaging.readers.base import WHOLE, PlateSource, Reader
from cell_assets.imaging.source_files import is_tiff_name, tiff_files
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.tiff_volumes import TiffVolume, inspect_tiff, read_tiff


class TiffFolderSource(PlateSource):
    format = "tiff-folder"

    def __init__(self, path: Path, pattern: str = DEFAULT_PATTERN) -> None:
        if not path.is_dir():
            raise BadInputError(f"{path}: is no folder; {self.format} reads a folder of TIFFs")
        self.path = path
        parsed = parse_pattern(pattern)
        names = [file.relative_to(path).as_posix() for file in tiff_files(path)]
        try:
            placed = place_files(parsed, names)
        except BadInputError as error:
            raise BadInputError(f"{path}/{error}") from error
        self._placed = placed
        self._positions = sorted({place.position for place in placed}, key=_position_order)
        self._channels = sorted({place.channel for place in placed}, key=_channel_order)
        self._times = _numbers(path, "t", {place.t for place in placed})
        self._depths = _numbers(path, "z", {place.z for place in placed})
        self._check_complete()
        self._first_file = path / names[0]
        self._first = _inspect(self._first_file)
        if len(self._depths) > 1 and self._first.shape[0] > 1:
            raise BadInputError(
                f"{self._first_file}: holds {self._first.shape[0]} planes, but its name says one z; "
                "name no {z} in --pattern, or split the file"
            )
        depth = max(len(self._depths), self._first.shape[0])
        shape = (len(self._times), len(self._channels), depth, *self._first.shape[1:])
        self.positions = tuple(
            SourcePosition(
                name=name,
                shape=shape,
                dtype=self._first.dtype,
                channel_names=self._channel_names(),
                z_um=None,
                y_um=None,
                x_um=None,
                interval_min=None,
            )
            for name in self._positions
        )

    def check(self) -> None:
        for file in self.files():
            volume = _inspect(file)
            if volume.shape != self._first.shape:
                raise BadInputError(
                    f"{file}: has shape {volume.shape} (Z, Y, X), but {self._first_file.name} has "
                    f"{self._first.shape}; files of one plate have one shape"
                )
            if volume.dtype != self._first.dtype:
                raise BadInputError(
                    f"{file}: has pixels of type {volume.dtype}, but {self._first_file.name} "
                    f"{self._first.dtype}; files of one plate have one type"
                )

    def read_volume(self, position: str, t: int, channel: int, z: slice = WHOLE) -> NDArray[np.generic]:
        if len(self._depths) == 1:
            return read_tiff(self._file(position, t, channel, 0), z)
        planes = range(len(self._depths))[z]
        volume = np.empty((len(planes), *self._first.shape[1:]), self._first.dtype)
        for k, plane in enumerate(planes):
            volume[k] = read_tiff(self._file(position, t, channel, plane))[0]
        return volume

    def files(self) -> Iterator[Path]:
        return (self.path / name for name in self._placed.values())

    def _file(self, position: str, t: int, channel: int, z: int) -> Path:
        place = PlacedName(position, self._channels[channel], self._times[t], self._depths[z])
        return self.path / self._placed[place]

    def _check_complete(self) -> None:
        parts = product(self._positions, self._channels, self._times, self._depths)
        for position, channel, t, z in parts:
            if PlacedName(position, channel, t, z) not in self._placed:
                said = {"channel": channel, "t": t, "z": z}
                missing = "".join(f", {key} {value}" for key, value in said.items() if value is not None)
                raise BadInputError(
                    f"{self.path}: the file of {position}{missing} is missing, though others have it; restore it"
                )

    def _channel_names(self) -> tuple[str, ...] | None:
        names = tuple(name for name in self._channels if name is not None and not name.isdigit())
        return names if len(names) == len(self._channels) else None


def _inspect(file: Path) -> TiffVolume:
    volume = inspect_tiff(file)
    if volume.axes[0] in "TC" and len(volume.axes) == 3:
        raise BadInputError(
            f"{file}: says that its {volume.shape[0]} planes are axis {volume.axes[0]}, but one file is one "
            "stack (Z, Y, X) here; split the file"
        )
    return volume


def _numbers(path: Path, axis: str, found: Iterable[int | None]) -> list[int | None]:
    """Values of an axis in order; refuses a gap, and a start beyond 1."""
    values = {value for value in found if value is not None}
    if not values:
        return [None]
    lowest, highest = min(values), max(values)
    if lowest > 1:
        raise BadInputError(f"{path}: the first {axis} is {lowest}, not 0 or 1; restore the files before it")
    if highest - lowest >= len(values):
        absent = next(value for value in range(lowest, highest) if value not in values)
        raise BadInputError(
            f"{path}: no file has {axis} {absent}, though they go from {lowest} to {highest}; restore them"
        )
    return list(range(lowest, highest + 1))


def _position_order(position: str) -> tuple[int, str, int, str]:
    """Row by row as on the plate: A/2 before A/10, Z before AA."""
    row, column, fov = position.split("/")
    return len(row), row, int(column), fov


def _channel_order(channel: str | None) -> tuple[int, str]:
    """Numbers by value, names by their letters."""
    text = channel or ""
    return (int(text), text) if text.isdigit() else (-1, text)


def _recognises(path: Path) -> bool:
    pattern = parse_pattern(DEFAULT_PATTERN)
    return path.is_dir() and any(
        is_tiff_name(file.name) and pattern.place(file.name) is not None for file in path.iterdir()
    )


READER = Reader(
    format=TiffFolderSource.format,
    looks_for="TIFFs named like Channel1-01-A-01.tif, or --pattern",
    recognises=_recognises,
    open=TiffFolderSource,
    open_by_pattern=TiffFolderSource,
)
