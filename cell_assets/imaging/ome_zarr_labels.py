"""Instance labels inside an OME-Zarr plate: `<row>/<column>/<fov>/labels/<name>`, 0.4 and 0.5.

A label image has the axes of its image, where T, C and Z may be left out; its values are whole numbers, 0 = no
cell. Only full resolution is read. Source: OME-NGFF 0.4 and 0.5, sections "labels" and "image-label".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from cell_assets.errors import BadInputError
from cell_assets.imaging.ome_zarr_plate import DECODE_ERRORS, IMAGE, METADATA_ERRORS, chunk_layout
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.zarr_chunks import missing_chunks
from cell_assets.imaging.zarr_reading import VolumeReader

_LABELS = "labels"
_MAX_LABEL = 2**24 - 1
"""What is looked up by label takes a table as long as a frame's highest one."""


@dataclass(frozen=True)
class _LabelArray:
    array: zarr.Array
    folder: Path
    axes: str
    dtype: np.dtype
    """In native byte order."""
    where: str
    """For a sentence to a person."""


class LabelImages:
    """The label images of a plate, at most one a FOV and all of one name. Opening reads metadata only.

    Raises:
        BadInputError: the plate has label images of several names and none is chosen, a FOV lacks the chosen
            one, or a label image does not fit its image or does not hold whole numbers; names the FOV.
    """

    def __init__(self, plate: Path, images: Sequence[SourcePosition], name: str | None = None) -> None:
        listed = {image.name: _listed(plate, image.name) for image in images}
        chosen = _chosen(plate, listed, name)
        self._arrays = {
            image.name: _open(plate, image, chosen)
            for image in images
            if chosen is not None and chosen in listed[image.name]
        }
        self._reader = VolumeReader()

    def dtype(self, position: str) -> np.dtype | None:
        """Of a FOV's labels, native byte order; None where it has none."""
        return self._arrays[position].dtype if position in self._arrays else None

    def check_chunks(self, position: str) -> None:
        """Refuse a label image with a chunk that is not stored: it would read as ground without cells."""
        if position not in self._arrays:
            return
        labels = self._arrays[position]
        try:
            hole = next(missing_chunks(labels.array, labels.folder), None)
        except ValueError as error:
            raise BadInputError(f"{labels.where}: {error}; write the labels again without it") from error
        if hole is None:
            return
        t = dict(zip(labels.axes, hole.start, strict=True)).get("t", 0)
        raise BadInputError(
            f"{labels.where}: has no chunk {hole.file} at t={t} ({hole.why}); restore it or, if the writer leaves "
            "out empty chunks, write the labels again with them"
        )

    def read_volume(self, position: str, t: int, z: slice = slice(None)) -> NDArray[np.generic] | None:
        """Labels (z, Y, X) of one time point, 0 = no cell; None where the FOV has none.

        Raises:
            BadInputError: a chunk cannot be decoded, or a label is negative or beyond 24 bits.
        """
        if position not in self._arrays:
            return None
        labels = self._arrays[position]
        place: Mapping[str, int | slice] = {"t": t, "c": 0, "z": z}
        at = tuple(place.get(axis, slice(None)) for axis in labels.axes)
        try:
            volume = self._reader.read(labels.array, labels.axes, at)
        except DECODE_ERRORS as error:
            raise BadInputError(
                f"{labels.where}: t={t} cannot be decoded ({error}); the chunk is damaged, copy the plate again"
            ) from error
        for extreme in (int(volume.min()), int(volume.max())):
            if not 0 <= extreme <= _MAX_LABEL:
                raise BadInputError(
                    f"{labels.where}: has label {extreme} at t={t}; number the cells from 1 to {_MAX_LABEL} at most"
                )
        return volume if "z" in labels.axes else volume[np.newaxis]


def label_path(position: str, name: str) -> str:
    """Where a FOV's label image lies in its plate; an `ImageWriter` takes it for a position."""
    return f"{position}/{_LABELS}/{name}"


def create_label_image(plate: Path, position: str, name: str, dtype: np.dtype) -> None:
    """Add an empty label image (T, 1, Z, Y, X) to a position of a plate made by `create_plate`; its only one."""
    image = zarr.open_group(plate / position, mode="r+")
    ome = _stated(image)
    n_times, _, z, y, x = _array(image, IMAGE).shape
    shape = (n_times, 1, z, y, x)
    chunks, shard_ratio = chunk_layout(shape, dtype)
    version = {"version": ome["version"]}
    listed = image.create_group(_LABELS, attributes={"ome": {**version, "labels": [name]}})
    source = {"image-label": {"source": {"image": "../../"}}}
    labels = listed.create_group(
        name, attributes={"ome": {**version, "multiscales": ome["multiscales"], **source}}
    )
    labels.create_array(
        IMAGE,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=tuple(n * ratio for n, ratio in zip(chunks, shard_ratio, strict=True)),
        compressors=(BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()),
        dimension_names=[axis["name"] for axis in ome["multiscales"][0]["axes"]],
    )


def _stated(node: zarr.Group | zarr.Array) -> dict[str, Any]:
    """What a group states by OME-NGFF: in 0.4 among its attributes, in 0.5 under `ome`."""
    attributes: dict[str, Any] = node.attrs.asdict()
    stated: dict[str, Any] = attributes.get("ome", attributes)
    return stated


def _array(group: zarr.Group | zarr.Array, path: str) -> zarr.Array:
    array = group[path] if isinstance(group, zarr.Group) else None
    if not isinstance(array, zarr.Array):
        raise KeyError(path)
    return array


def _listed(plate: Path, position: str) -> tuple[str, ...]:
    """Names of a FOV's label images."""
    folder = plate / position / _LABELS
    if not folder.exists():
        return ()
    try:
        names = _stated(zarr.open_group(folder, mode="r", use_consolidated=False))[_LABELS]
    except METADATA_ERRORS as error:
        raise BadInputError(
            f"{folder}: the metadata of position {position}'s labels lists no names ({error!r}); restore it, or "
            "remove the folder"
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInputError(
            f"{folder}: the metadata of position {position}'s labels has no list of names; correct it"
        )
    return tuple(names)


def _chosen(plate: Path, listed: Mapping[str, Sequence[str]], name: str | None) -> str | None:
    """The one name of the plate's label images; None when it has no labels."""
    names = tuple(dict.fromkeys(chain.from_iterable(listed.values())))
    if name is None:
        if len(names) > 1:
            raise BadInputError(
                f"{plate}: has label images {', '.join(names)}; say with --labels which one outlines the cells"
            )
        return names[0] if names else None
    for position, its in listed.items():
        if name not in its:
            raise BadInputError(
                f"--labels {name}: position {position} of {plate} has no label image of this name, but "
                f"{', '.join(its) or 'none at all'}; give one that every FOV has"
            )
    return name


def _open(plate: Path, image: SourcePosition, name: str) -> _LabelArray:
    where = f"{plate}: position {image.name}, label image {name!r}"
    try:
        # From the plate's root: zarr refuses a name that leads out of it.
        group = zarr.open_group(plate, mode="r", use_consolidated=False)[label_path(image.name, name)]
        multiscale = _stated(group)["multiscales"][0]
        axes = "".join(axis["name"].lower() for axis in multiscale["axes"])
        array = _array(group, multiscale["datasets"][0]["path"])
    except METADATA_ERRORS as error:
        raise BadInputError(
            f"{where}: is listed, but cannot be read ({error!r}); restore it or take it off the list"
        ) from error
    if "".join(axis for axis in "tczyx" if axis in axes) != axes or not axes.endswith("yx"):
        raise BadInputError(f"{where}: has axes {axes!r}; they must be t, c, z, y, x in this order")
    shape, dtype = array.shape, np.dtype(array.dtype)
    size = dict(zip(axes, shape, strict=False))
    whole = tuple(size.get(axis, 1) for axis in "tczyx")
    expected = (image.shape[0], 1, *image.shape[2:])
    if len(shape) != len(axes) or whole != expected:
        raise BadInputError(
            f"{where}: has shape {tuple(shape)} ({', '.join(axes.upper())}), but its image needs labels of "
            f"{expected} (T, C, Z, Y, X); write them in the image's size"
        )
    if dtype.kind not in "ui":
        raise BadInputError(f"{where}: has values of type {dtype}; labels are whole numbers")
    return _LabelArray(array, plate / array.path, axes, dtype.newbyteorder("="), where)
