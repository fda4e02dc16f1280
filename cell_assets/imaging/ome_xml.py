"""What OME-XML says about images: sizes, names, and which plane lies where. Source: OME data model, 2016-06."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cell_assets.errors import BadInputError
from cell_assets.imaging.file_pattern import row_letters

_MAX_BYTES = 2**26
"""Some 200 bytes a plane: 300,000 planes in one description."""
_MAX_PLANES = 2**24
_DTYPES = {
    "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "float": "float32", "double": "float64",
}  # fmt: skip
_MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "pm": 1e-6,
    "Å": 1e-4,
}
_NO_LENGTH = ("pixel", "reference frame")
_MINUTES = {"s": 1 / 60, "ms": 1 / 60_000, "min": 1.0, "h": 60.0, "d": 1440.0, "µs": 1 / 6e7, "ns": 1 / 6e10}
_ORDERS = {"XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"}


class PlaneBlock(NamedTuple):
    """One TiffData: `n_planes` from (t, c, z) on, in the directories from `first_directory` on."""

    file: str | None
    """None: the file that holds the description."""
    first_directory: int
    n_planes: int | None
    """None: all that the file has from there on."""
    first: tuple[int, int, int]
    """(t, c, z)."""


@dataclass(frozen=True)
class OmeImage:
    """One Image. Lengths in µm, interval in minutes; None where it is not stated."""

    name: str
    shape: tuple[int, int, int, int, int]
    """(T, C, Z, Y, X)."""
    dtype: np.dtype
    order: str
    """The axes of the planes, fastest first: `ZCT`."""
    channel_names: tuple[str, ...] | None
    z_um: float | None
    y_um: float | None
    x_um: float | None
    interval_min: float | None
    place: str | None
    """`row/column/fov` by the document's plate."""
    blocks: tuple[PlaneBlock, ...]


@dataclass(frozen=True)
class OmeDocument:
    """One description: its images, or the name of the companion file that holds them."""

    images: tuple[OmeImage, ...]
    companion: str | None


def read_ome_xml(source: Path, text: str) -> OmeDocument:
    """Read the description that stands in `source`.

    Raises:
        BadInputError: naming file, element, attribute and value, when it is no OME-XML or says what no image
            can be.
    """
    if len(text) > _MAX_BYTES:
        raise BadInputError(f"{source}: has an OME description of {len(text)} characters; split the file")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadInputError(f"{source}: its OME description has a DOCTYPE, which OME-XML has not; remove it")
    try:
        root = ET.fromstring(text.encode("utf-8", "replace"))
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise BadInputError(
            f"{source}: its OME description is no XML ({error}); copy the file again"
        ) from error
    if _tag(root) != "OME":
        raise BadInputError(f"{source}: its description is <{_tag(root)[:40]}>, not <OME>; give an OME-TIFF")
    for element in _children(root, "BinaryOnly"):
        return OmeDocument((), _plain_name(source, element.get("MetadataFile", "")))
    places = _places(source, root)
    images = tuple(_image(source, element, places) for element in _children(root, "Image"))
    if not images:
        raise BadInputError(f"{source}: its OME description has no Image; copy the file again")
    return OmeDocument(images, None)


def _image(source: Path, element: ET.Element, places: Mapping[str, str]) -> OmeImage:
    identity = element.get("ID", "")
    pixels = next(_children(element, "Pixels"), None)
    if pixels is None:
        raise BadInputError(f"{source}: Image {identity!r} has no Pixels; copy the file again")
    sizes = {axis: _whole(source, pixels, f"Size{axis}", None, 1) for axis in "TCZYX"}
    if sizes["T"] * sizes["C"] * sizes["Z"] > _MAX_PLANES:
        raise BadInputError(
            f"{source}: Image {identity!r} claims {sizes['T']} x {sizes['C']} x {sizes['Z']} planes "
            "(T, C, Z); copy the file again"
        )
    dtype, order = pixels.get("Type", ""), pixels.get("DimensionOrder", "")
    if dtype not in _DTYPES:
        raise BadInputError(f"{source}: Pixels Type is {dtype!r}; whole or real numbers only")
    if order not in _ORDERS:
        raise BadInputError(f"{source}: Pixels DimensionOrder is {order!r}; it is one like XYZCT")
    channels = list(_children(pixels, "Channel"))
    for channel in channels:
        if (samples := channel.get("SamplesPerPixel", "1")) != "1":
            raise BadInputError(
                f"{source}: a Channel has SamplesPerPixel {samples!r}: colour; save it as grey"
            )
    names = tuple(channel.get("Name", "") for channel in channels)
    return OmeImage(
        name=element.get("Name", ""),
        shape=(sizes["T"], sizes["C"], sizes["Z"], sizes["Y"], sizes["X"]),
        dtype=np.dtype(_DTYPES[dtype]),
        order=order[2:],
        channel_names=names if names and all(names) else None,
        z_um=_measure(source, pixels, "PhysicalSizeZ", "µm", _MICROMETRES),
        y_um=_measure(source, pixels, "PhysicalSizeY", "µm", _MICROMETRES),
        x_um=_measure(source, pixels, "PhysicalSizeX", "µm", _MICROMETRES),
        interval_min=_measure(source, pixels, "TimeIncrement", "s", _MINUTES),
        place=places.get(identity),
        blocks=tuple(_block(source, block) for block in _children(pixels, "TiffData")),
    )


def _block(source: Path, element: ET.Element) -> PlaneBlock:
    file = next((child.get("FileName") for child in _children(element, "UUID")), None)
    directory = element.get("IFD")
    return PlaneBlock(
        file=None if file is None else _plain_name(source, file),
        first_directory=_whole(source, element, "IFD", 0, 0),
        n_planes=_whole(source, element, "PlaneCount", 1, 0)
        if directory is not None or "PlaneCount" in element.attrib
        else None,
        first=(
            _whole(source, element, "FirstT", 0, 0),
            _whole(source, element, "FirstC", 0, 0),
            _whole(source, element, "FirstZ", 0, 0),
        ),
    )


def _places(source: Path, root: ET.Element) -> dict[str, str]:
    """`row/column/fov` by Image ID."""
    places: dict[str, str] = {}
    for plate in _children(root, "Plate"):
        for well in _children(plate, "Well"):
            row = _whole(source, well, "Row", None, 0)
            column = _whole(source, well, "Column", None, 0)
            for number, sample in enumerate(_children(well, "WellSample")):
                for reference in _children(sample, "ImageRef"):
                    place = f"{row_letters(row + 1)}/{column + 1}/{number:03d}"
                    places[reference.get("ID", "")] = place
    return places


def _whole(source: Path, element: ET.Element, name: str, default: int | None, least: int) -> int:
    text = element.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise BadInputError(
            f"{source}: {_tag(element)} {name} is {text!r}; it is a whole number from {least}"
        )
    return int(text)


def _measure(
    source: Path, element: ET.Element, name: str, unit: str, factors: Mapping[str, float]
) -> float | None:
    text, unit = element.get(name), element.get(f"{name}Unit", unit)
    if text is None or unit in _NO_LENGTH:
        return None
    if unit not in factors:
        raise BadInputError(f"{source}: {name}Unit is {unit!r}; give one of {', '.join(factors)}")
    try:
        return float(text) * factors[unit]
    except ValueError as error:
        raise BadInputError(f"{source}: {name} is {text!r}; it is a number") from error


def _plain_name(source: Path, name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise BadInputError(f"{source}: its OME description names the file {name!r}; files lie beside it")
    return name


def _children(element: ET.Element, tag: str) -> Iterator[ET.Element]:
    return (child for child in element if _tag(child) == tag)


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
