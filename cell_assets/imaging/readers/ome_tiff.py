"""OME-TIFF by its own description: one file, or a folder of them, each whole or a part of a set.

A set's files all carry the same description, or name a companion file that holds it. Wells are those of the
description's plate, else those that the images' or the files' names say.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from cell_assets.errors import BadInputError
from cell_assets.imaging.ome_xml import OmeDocument, OmeImage, read_ome_xml
from cell_assets.imaging.position_names import fov_names
from cell_assets.imaging.readers.base import Reader
from cell_assets.imaging.readers.tiff_stacks import TiffStackSource
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.tiff_planes import NOWHERE, PlaneTable
from cell_assets.imaging.tiff_volumes import opened_tiff, tiff_directories

_SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf8", ".ome.tf2")
_MICRO_MANAGER = "_MMStack"
_MAX_COMPANION_BYTES = 2**28


class _Found(NamedTuple):
    """One image and where its planes lie."""

    image: OmeImage
    planes: PlaneTable


class OmeTiffSource(TiffStackSource):
    format = "ome-tiff"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._companions: dict[Path, OmeDocument] = {}
        self._directories: dict[Path, list[int]] = {}
        found = list(self._images())
        names = _names(path, found)
        self._planes = {name: one.planes for name, one in zip(names, found, strict=True)}
        self.positions = tuple(
            SourcePosition(
                name=name,
                shape=one.image.shape,
                dtype=one.image.dtype,
                channel_names=one.image.channel_names,
                z_um=one.image.z_um,
                y_um=one.image.y_um,
                x_um=one.image.x_um,
                interval_min=one.image.interval_min,
            )
            for name, one in zip(names, found, strict=True)
        )

    def files(self) -> Iterator[Path]:
        yield from super().files()
        yield from self._companions

    def _images(self) -> Iterator[_Found]:
        """Every image once, though each file of a set describes the whole set."""
        claimed: dict[tuple[Path, int], str] = {}
        n_claimed: Counter[Path] = Counter()
        for file in self._files:
            if n_claimed[file] == len(self._offsets(file)):
                continue  # reading the description of each file of a set would cost their number squared
            for image in self._document(file).images:
                planes = self._table(file, image)
                own = set(_directories_of(planes))
                taken = own & claimed.keys()
                if taken == own:
                    continue
                if taken:
                    other = claimed[min(taken)]
                    raise BadInputError(
                        f"{file}: Image {image.name!r} shares planes with Image {other!r}; give each its own"
                    )
                planes.check_complete(f"{file}, Image {image.name!r}")
                claimed.update(dict.fromkeys(own, image.name))
                n_claimed.update(owner for owner, _ in own)
                yield _Found(image, planes)

    def _document(self, file: Path) -> OmeDocument:
        with opened_tiff(file) as tiff:
            page = tiff.pages[0]
            text = page.description if isinstance(page, tifffile.TiffPage) else ""
        if "<OME" not in text[:4096] and "OME>" not in text[-16:]:
            raise BadInputError(f"{file}: carries no OME description; read it by --format tiff-folder")
        document = read_ome_xml(file, text)
        if document.companion is None:
            return document
        companion = file.with_name(document.companion)
        if companion not in self._companions:
            self._companions[companion] = read_ome_xml(companion, _text(companion))
        return self._companions[companion]

    def _table(self, file: Path, image: OmeImage) -> PlaneTable:
        in_blocks = [file if block.file is None else file.with_name(block.file) for block in image.blocks]
        numbers = {own: number for number, own in enumerate(dict.fromkeys(in_blocks))}
        n_planes, n_there = math.prod(image.shape[:3]), sum(len(self._offsets(own)) for own in numbers)
        if n_planes > n_there:  # before a table of what is claimed is made
            raise BadInputError(
                f"{file}: Image {image.name!r} claims {n_planes} planes, but its files hold {n_there}; "
                "copy the files again"
            )
        directory = np.full(image.shape[:3], NOWHERE, np.int64)
        file_of = np.zeros(image.shape[:3], np.int32)
        for block, own in zip(image.blocks, in_blocks, strict=True):
            offsets = self._offsets(own)
            stop = len(offsets) if block.n_planes is None else block.first_directory + block.n_planes
            if stop > len(offsets):
                raise BadInputError(
                    f"{own}: has {len(offsets)} planes, but the OME description names plane {stop - 1}; "
                    "copy the file again"
                )
            places = _planes_from(image, block.first)
            for offset, place in zip(offsets[block.first_directory : stop], places, strict=False):
                if directory[place] != NOWHERE:
                    t, channel, z = place
                    raise BadInputError(
                        f"{file}: Image {image.name!r} gives the plane t={t}, channel {channel}, z={z} twice; "
                        "keep one"
                    )
                directory[place], file_of[place] = offset, numbers[own]
        return PlaneTable(tuple(numbers), file_of, directory, image.shape[3:], image.dtype)

    def _offsets(self, file: Path) -> list[int]:
        if file not in self._directories:
            self._directories[file] = tiff_directories(file)
        return self._directories[file]


def _planes_from(image: OmeImage, first: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """(t, c, z) of the planes from `first` on, in the image's order."""
    sizes = dict(zip("TCZ", image.shape[:3], strict=True))
    start = dict(zip("TCZ", first, strict=True))
    fast, middle, slow = tuple(image.order)
    if any(start[axis] >= sizes[axis] for axis in "TCZ"):
        return
    number = start[fast] + sizes[fast] * (start[middle] + sizes[middle] * start[slow])
    while number < sizes["T"] * sizes["C"] * sizes["Z"]:
        at = {
            fast: number % sizes[fast],
            middle: number // sizes[fast] % sizes[middle],
            slow: number // (sizes[fast] * sizes[middle]),
        }
        yield at["T"], at["C"], at["Z"]
        number += 1


def _directories_of(planes: PlaneTable) -> Iterator[tuple[Path, int]]:
    there = planes.directory != NOWHERE
    for number, directory in zip(
        planes.file_of[there].tolist(), planes.directory[there].tolist(), strict=True
    ):
        yield planes.files[number], directory


def _names(path: Path, found: list[_Found]) -> tuple[str, ...]:
    places = [one.image.place for one in found]
    if all(place is not None for place in places):
        return tuple(place for place in places if place is not None)
    stems = [one.planes.files[0].name.split(".")[0] for one in found]
    return fov_names(path, [one.image.name.split(".")[0] for one in found], stems)


def _text(companion: Path) -> str:
    try:
        if companion.stat().st_size > _MAX_COMPANION_BYTES:
            raise BadInputError(f"{companion}: has more than {_MAX_COMPANION_BYTES} bytes; split the set")
        return companion.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{companion}: cannot be read as UTF-8 text ({error}); restore it") from error


def _recognises(path: Path) -> bool:
    names = [file.name for file in path.iterdir()] if path.is_dir() else [path.name]
    return any(name.lower().endswith(_SUFFIXES) and _MICRO_MANAGER not in name for name in names)


READER = Reader(
    format=OmeTiffSource.format,
    looks_for="*.ome.tif",
    recognises=_recognises,
    open=OmeTiffSource,
)
