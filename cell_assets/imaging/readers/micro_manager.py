"""Micro-Manager's TIFF stacks (`…_MMStack_Pos0.ome.tif`), by the map of planes at the head of each file.

Folders may be flat or nested; the files before `_MMStack` in one folder with one name are one acquisition. The
OME description that Micro-Manager also writes is not used: it stands in the first file alone and is missing
after a crash, while each file maps its own planes. Source: Micro-Manager's file formats, "Image file stack".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.micro_manager_metadata import Metadata, interval_min, pixel_size_um, z_step_um
from cell_assets.imaging.position_names import fov_names
from cell_assets.imaging.readers.base import Reader
from cell_assets.imaging.readers.tiff_stacks import TiffStackSource
from cell_assets.imaging.source_files import is_tiff_name, near_folders
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.tiff_planes import NOWHERE, PlaneTable, read_page
from cell_assets.imaging.tiff_volumes import opened_tiff, tiff_directories

_MARK = "_MMStack"


@dataclass(frozen=True)
class _Stack:
    """One file: its map (n, 5) of channel, slice, frame, position and directory, and what it says of the whole."""

    file: Path
    planes: NDArray[np.int64]
    summary: Metadata

    @property
    def acquisition(self) -> tuple[Path, str]:
        return self.file.parent, self.file.name.partition(_MARK)[0]


@dataclass(frozen=True)
class _Position:
    """One position of one acquisition, and what its first plane says."""

    stack: _Stack
    planes: PlaneTable
    first: Metadata


class MicroManagerSource(TiffStackSource):
    format = "micro-manager"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        acquisitions: dict[tuple[Path, str], list[_Stack]] = {}
        for stack in map(_read_stack, self._files):
            acquisitions.setdefault(stack.acquisition, []).append(stack)
        found = [place for stacks in acquisitions.values() for place in _positions(stacks)]
        names = fov_names(
            path,
            [_label(place) for place in found],
            [_folder(self.path, place.stack.file) for place in found],
        )
        self._planes = {name: place.planes for name, place in zip(names, found, strict=True)}
        self.positions = tuple(
            _source_position(name, place) for name, place in zip(names, found, strict=True)
        )


def _read_stack(file: Path) -> _Stack:
    directories = tiff_directories(file)
    with opened_tiff(file) as tiff:
        settings = tifffile.read_micromanager_metadata(tiff.filehandle, {"Summary", "IndexMap"})
    planes, summary = settings.get("IndexMap"), settings.get("Summary")
    if planes is None or not isinstance(summary, dict):
        raise BadInputError(
            f"{file}: has no Micro-Manager summary and map of planes; open and save it in Micro-Manager again, or "
            "read it by --format ome-tiff"
        )
    planes = np.asarray(planes, np.int64).reshape(-1, 5)
    stray = np.setdiff1d(planes[:, 4], directories)
    if len(stray) or len(planes) == 0:
        raise BadInputError(
            f"{file}: its map of {len(planes)} planes names one at byte {stray[0] if len(stray) else None}, where "
            "none is; copy the file again"
        )
    return _Stack(file, planes, summary)


def _positions(stacks: list[_Stack]) -> Iterator[_Position]:
    """The positions of one acquisition, in order."""
    planes = np.concatenate([stack.planes for stack in stacks])
    owner = np.repeat(np.arange(len(stacks)), [len(stack.planes) for stack in stacks])
    n_channels, n_depths, n_times, n_positions = (int(n) for n in planes[:, :4].max(axis=0) + 1)
    _check_summary(stacks[0], n_channels, n_depths, n_times, n_positions)
    files = [stack.file for stack in stacks]
    if n_positions > len(planes):
        raise BadInputError(
            f"{files[0]}: maps position {n_positions - 1}, but has {len(planes)} planes; copy it again"
        )
    for position in range(n_positions):
        mine = planes[:, 3] == position
        yield _position(stacks, planes[mine], owner[mine], (n_times, n_channels, n_depths), position)


def _position(
    stacks: list[_Stack],
    planes: NDArray[np.int64],
    owner: NDArray[np.int64],
    shape: tuple[int, int, int],
    position: int,
) -> _Position:
    what = f"{stacks[0].file}, position {position}"
    if math.prod(shape) != len(planes):
        raise BadInputError(
            f"{what}: has {len(planes)} planes, not {shape[0]} x {shape[1]} x {shape[2]} (T, C, Z); give an "
            "acquisition that is complete, each plane once"
        )
    directory, file_of = np.full(shape, NOWHERE, np.int64), np.zeros(shape, np.int32)
    places = planes[:, 2], planes[:, 0], planes[:, 1]
    directory[places] = planes[:, 4]
    owners, file_of[places] = np.unique(owner, return_inverse=True)
    first = stacks[owners[file_of[0, 0, 0]]]
    if directory[0, 0, 0] == NOWHERE:
        raise BadInputError(f"{what}: has no first plane; give an acquisition that is complete")
    page = read_page(first.file, int(directory[0, 0, 0]))
    if page.dtype is None or len(page.shape) != 2:
        raise BadInputError(
            f"{first.file}: has planes of {page.dtype} {page.shape}, not grey (Y, X); convert it"
        )
    tag = page.tags.get("MicroManagerMetadata")
    table = PlaneTable(
        files=tuple(stacks[number].file for number in owners),
        file_of=file_of,
        directory=directory,
        shape=(page.shape[0], page.shape[1]),
        dtype=np.dtype(page.dtype).newbyteorder("="),
    )
    table.check_complete(what)
    return _Position(first, table, tag.value if tag is not None and isinstance(tag.value, dict) else {})


def _check_summary(stack: _Stack, *found: int) -> None:
    """Refuse an acquisition with less than its summary announces: a file may be missing."""
    for key, here in zip(("Channels", "Slices", "Frames", "Positions"), found, strict=True):
        said = stack.summary.get(key)
        if isinstance(said, int) and said > here:
            raise BadInputError(
                f"{stack.file}: its summary announces {said} {key.lower()}, but the files hold {here}; restore the "
                "missing files, or save what was acquired as a new acquisition in Micro-Manager"
            )


def _source_position(name: str, place: _Position) -> SourcePosition:
    summary, planes = place.stack.summary, place.planes
    size_um = pixel_size_um(summary, place.first)
    n_times, n_channels, n_depths = planes.directory.shape
    return SourcePosition(
        name=name,
        shape=(n_times, n_channels, n_depths, *planes.shape),
        dtype=planes.dtype,
        channel_names=_channel_names(summary, n_channels),
        z_um=z_step_um(summary),
        y_um=size_um,
        x_um=size_um,
        interval_min=interval_min(summary),
    )


def _channel_names(summary: Metadata, n_channels: int) -> tuple[str, ...] | None:
    names = summary.get("ChNames")
    if not isinstance(names, list) or len(names) != n_channels:
        return None
    given = tuple(name for name in names if isinstance(name, str) and name)
    return given if len(given) == n_channels else None


def _label(place: _Position) -> str:
    name = place.first.get("PositionName")
    return name if isinstance(name, str) else ""


def _folder(path: Path, file: Path) -> str:
    """The folder below the source that holds the file: in nested sources it may be named for the well."""
    return file.relative_to(path).parts[0] if file.parent != path else ""


def _recognises(path: Path) -> bool:
    if not path.is_dir():
        return _is_stack(path.name)
    return any(_is_stack(file.name) for folder in near_folders(path) for file in folder.iterdir())


def _is_stack(name: str) -> bool:
    return _MARK in name and is_tiff_name(name)


READER = Reader(
    format=MicroManagerSource.format,
    looks_for=f"*{_MARK}*.ome.tif, here or in folders",
    recognises=_recognises,
    open=MicroManagerSource,
)
