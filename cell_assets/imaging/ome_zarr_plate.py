"""OME-Zarr HCS plates, 0.4 and 0.5, through iohub: the one module that knows iohub.

Reads what a plate states about itself, reads volumes, and writes the 0.5 plates of this project. Nothing here
decides what may be missing; a property that the plate does not state is None.
"""

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorstore
import zarr
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.plate_template import complete_plate
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.zarr_chunks import missing_chunks
from cell_assets.imaging.zarr_reading import VolumeReader
from cell_assets.imaging.zarr_shards import EncodedChunk, ShardWriter, checksum_chunks

if TYPE_CHECKING:
    from iohub.ngff.models import AxisMeta
    from iohub.ngff.nodes import ImageArray, Plate, Position

VERSIONS = ("0.4", "0.5")
IMAGE = "0"
"""Name of the only resolution level in the plates written here."""
SIMULATED = "cell_assets.simulated"
"""Attribute by which a plate's root says that its pixels are a simulation."""

CHUNK_LIMIT_BYTES = 8 * 2**20
"""A volume past this is cut along Z: reading, encoding and comparing each hold a few chunks."""
SHARD_LIMIT_BYTES = 256 * 2**20
"""Uncompressed pixels per file: few files for a plate of thousands of time points, each quick to hash."""
SHARD_LIMIT_CHUNKS = 1024
"""A reader fetches a shard's whole index, 16 bytes a chunk, for each chunk that it reads."""

_CHUNK_OVERHEAD_BYTES = 20
"""Blosc's header and a checksum."""
_INDEX_ENTRY_BYTES = 16
_METADATA_BYTES = 2**14
"""Metadata of one position and its well, and its part of the plate's."""

DECODE_ERRORS = (RuntimeError, ValueError, OSError, EOFError, zlib.error)
"""What the codecs of zarr and numcodecs raise for bytes that they cannot decode."""

METADATA_ERRORS = (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError)
"""What zarr and iohub raise for absent or malformed metadata (JSON and pydantic errors are ValueErrors)."""

_UM_PER_UNIT: Mapping[str, float] = {
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}
_PER_MINUTE: Mapping[str, float] = {
    "microsecond": 60e6,
    "millisecond": 60e3,
    "second": 60.0,
    "minute": 1.0,
    "hour": 1 / 60,
    "day": 1 / 1440,
}


@dataclass(frozen=True)
class NewImage:
    """A position to be created: name `row/column/fov`, shape (T, C, Z, Y, X)."""

    name: str
    shape: tuple[int, int, int, int, int]
    dtype: np.dtype

    @property
    def kind(self) -> tuple[object, ...]:
        """What decides the position's own metadata: it names the FOV, not the well."""
        return self.name.rpartition("/")[2], self.shape, self.dtype


@dataclass(frozen=True)
class Spacing:
    """Spacing to be written: µm and minutes; an axis without a known spacing gets scale 1 and no unit."""

    z_um: float | None
    y_um: float
    x_um: float
    interval_min: float | None


class OmeZarrPlate:
    """A plate opened for reading.

    Raises:
        BadInputError: the folder is no HCS plate of OME-Zarr 0.4 or 0.5, a listed well or position is
            missing, or its metadata is malformed; names the position.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        logging.getLogger("iohub").setLevel(logging.ERROR)  # what it warns of is raised here, in one sentence
        self._plate = _open_plate(path)
        self.simulated = bool(zarr.open_group(path, mode="r").attrs.get(SIMULATED, False))
        """Whether the plate says that it is a simulation."""
        self._pixels = VolumeReader()
        self._arrays: dict[str, tuple[ImageArray, str]] = {}
        self.images: tuple[SourcePosition, ...] = tuple(
            self._read_position(well.path, field)
            for well in self._plate.metadata.wells
            for field in _fields(path, self._plate, well.path)
        )

    def read_volume(self, position: str, t: int, channel: int, z: slice = slice(None)) -> NDArray[np.generic]:
        """(z, Y, X) of one channel at one time point; BadInputError when its chunks cannot be decoded."""
        array, axes = self._arrays[position]
        place: Mapping[str, int | slice] = {"t": t, "c": channel, "z": z}
        at = tuple(place.get(axis, slice(None)) for axis in axes)
        try:
            volume = self._pixels.read(array, axes, at)
        except DECODE_ERRORS as error:
            raise BadInputError(
                f"{self.path}: position {position}, channel {channel}, t={t} cannot be decoded "
                f"({error}); the "
                "chunk is damaged, copy the plate again"
            ) from error
        return volume if "z" in axes else volume[np.newaxis]

    def check_chunks(self, position: str) -> None:
        """Refuse a position with a chunk that is not stored: it would read as the fill value."""
        array, axes = self._arrays[position]
        folder = self.path / array.path
        try:
            hole = next(missing_chunks(array, folder), None)
        except ValueError as error:
            raise BadInputError(f"{folder}: {error}; write the plate again without it") from error
        if hole is None:
            return
        start = dict(zip(axes, hole.start, strict=True))
        channel = start.get("c", 0)
        names = next(image.channel_names for image in self.images if image.name == position)
        named = f"{names[channel]!r}" if names else f"{channel}"
        raise BadInputError(
            f"{folder / hole.file}: position {position} has no chunk for channel {named} at "
            f"t={start.get('t', 0)} "
            f"({hole.why}); restore it or, if the writer leaves out empty chunks, write the plate "
            "again with them"
        )

    def _read_position(self, well: str, field: str) -> SourcePosition:
        name = f"{well}/{field}"
        try:
            node = self._plate[name]
            metadata = node.metadata.multiscales[0]
            axes = "".join(axis.name.lower() for axis in metadata.axes)
            array = node[metadata.datasets[0].path]
            scale = dict(zip(axes, node.scale, strict=True))
        except METADATA_ERRORS as error:
            raise BadInputError(
                f"{self.path}: position {name}, which the plate lists, has no readable image ({_reason(error)}); "
                "restore it or take it out of the plate's metadata"
            ) from error
        if "".join(axis for axis in "tczyx" if axis in axes) != axes or not axes.endswith("yx"):
            raise BadInputError(
                f"{self.path}: position {name} has axes {axes!r}; they must be t, c, z, y, x in this order"
            )
        if len(array.shape) != len(axes):
            raise BadInputError(
                f"{self.path}: position {name} has {len(axes)} axes ({axes}) but an array of "
                f"shape {array.shape}"
            )
        self._arrays[name] = (array, axes)
        size = dict(zip(axes, array.shape, strict=True))
        units = {axis.name.lower(): getattr(axis, "unit", None) for axis in metadata.axes}
        length = {axis: _length_um(scale.get(axis), units.get(axis)) for axis in "zyx"}
        if all(scale.get(axis, 1.0) == 1.0 and units.get(axis) in (None, "micrometer") for axis in "zyx"):
            length = dict.fromkeys("zyx")  # iohub and others write 1 µm everywhere when nobody gave a size
        return SourcePosition(
            name=name,
            shape=(size.get("t", 1), size.get("c", 1), size.get("z", 1), size["y"], size["x"]),
            dtype=np.dtype(array.dtype),
            channel_names=_channel_names(node),
            z_um=length["z"],
            y_um=length["y"],
            x_um=length["x"],
            interval_min=_interval_min(scale.get("t"), units.get("t")),
        )


def is_plate(path: Path) -> bool:
    """Whether the folder's root metadata says that it is an HCS plate."""
    try:
        attributes = zarr.open_group(path, mode="r").attrs.asdict()
    except METADATA_ERRORS:
        return False
    ome = attributes.get("ome")
    return "plate" in (ome if isinstance(ome, Mapping) else attributes)


def mark_simulated(path: Path) -> None:
    """Say in the plate itself that it is a simulation, so that every report made from it can say so."""
    zarr.open_group(path, mode="r+").attrs[SIMULATED] = True


def create_plate(
    path: Path, channel_names: Sequence[str], spacing: Spacing, images: Sequence[NewImage]
) -> None:
    """Create an OME-Zarr 0.5 plate with every position empty. Same arguments, same bytes.

    One (Z, Y, X) volume per chunk, in slabs along Z past CHUNK_LIMIT_BYTES; many time points share a shard.
    Time is written in minutes, lengths in µm; Blosc-zstd with bit shuffle, iohub's choice,
    each chunk with a checksum.
    """
    # iohub takes half a second to import, which a worker that only reads pixels need not pay.
    from iohub.ngff import open_ome_zarr
    from iohub.ngff.models import ChannelAxisMeta, SpaceAxisMeta, TimeAxisMeta, TransformationMeta

    axes: list[AxisMeta] = [
        TimeAxisMeta(name="T", unit=None if spacing.interval_min is None else "minute"),
        ChannelAxisMeta(name="C"),
        SpaceAxisMeta(name="Z", unit=None if spacing.z_um is None else "micrometer"),
        SpaceAxisMeta(name="Y", unit="micrometer"),
        SpaceAxisMeta(name="X", unit="micrometer"),
    ]
    scale = [spacing.interval_min or 1.0, 1.0, spacing.z_um or 1.0, spacing.y_um, spacing.x_um]
    kinds: dict[object, NewImage] = {}
    for image in images:
        kinds.setdefault(image.kind, image)
    names = [tuple(image.name.split("/")) for image in kinds.values()]
    with open_ome_zarr(
        path, layout="hcs", mode="w-", channel_names=list(channel_names), axes=axes, version="0.5"
    ) as plate:
        for node, image in zip(plate.create_positions(names), kinds.values(), strict=True):
            chunks, shard_ratio = chunk_layout(image.shape, image.dtype)
            node.create_zeros(
                IMAGE,
                image.shape,
                image.dtype,
                chunks=chunks,
                shards_ratio=shard_ratio,
                transform=[TransformationMeta(type="scale", scale=scale)],
            )
    for image in kinds.values():
        checksum_chunks(path / image.name / IMAGE)
    complete_plate(path, {image.name: kinds[image.kind].name for image in images})


def chunk_layout(
    shape: tuple[int, int, int, int, int], dtype: np.dtype
) -> tuple[tuple[int, int, int, int, int], tuple[int, int, int, int, int]]:
    """Chunk shape, and chunks per shard along each axis, for an image (T, C, Z, Y, X)."""
    t, c, z, y, x = shape
    plane_bytes = y * x * dtype.itemsize
    depth = min(z, max(1, CHUNK_LIMIT_BYTES // plane_bytes))
    n_slabs = -(-z // depth)
    depth = -(-z // n_slabs)  # slabs of about equal depth
    times = min(t, SHARD_LIMIT_BYTES // (c * z * plane_bytes), SHARD_LIMIT_CHUNKS // (c * n_slabs))
    return (1, 1, depth, y, x), (max(1, times), c, -(-z // depth), 1, 1)


def image_bytes_at_most(shape: tuple[int, int, int, int, int], dtype: np.dtype) -> int:
    """What an image (T, C, Z, Y, X) of a plate made by `create_plate` weighs when nothing of it compresses."""
    (_, _, depth, y, x), _ = chunk_layout(shape, dtype)
    n_chunks = shape[0] * shape[1] * -(-shape[2] // depth)
    # A shard's index has room for chunks that the array's edge leaves out, at most as many as there are.
    chunk = depth * y * x * dtype.itemsize + _CHUNK_OVERHEAD_BYTES + 2 * _INDEX_ENTRY_BYTES
    return n_chunks * chunk + _METADATA_BYTES


class ImageWriter:
    """Fills one position of a plate made by `create_plate`, in order of t; holds no chunk but those in hand."""

    def __init__(self, plate: Path, position: str) -> None:
        folder = plate / position / IMAGE
        self._array = zarr.open_array(folder, mode="r")
        self._shards = ShardWriter(self._array, folder)

    def slabs(self) -> Iterator[slice]:
        """The parts along Z in which `write_slab` takes a volume."""
        return slabs(self._array.shape[2], self._array.chunks[2])

    def write(self, t: int, channel: int, volume: NDArray[np.generic]) -> None:
        """Store (Z, Y, X) of one channel at one time point."""
        for z in self.slabs():
            self.write_slab(t, channel, z, volume[z])

    def write_slab(self, t: int, channel: int, z: slice, pixels: NDArray[np.generic]) -> None:
        """Store (z, Y, X), one of `slabs`."""
        self.write_encoded(t, channel, z, self.encode(pixels))

    def encode(self, pixels: NDArray[np.generic]) -> EncodedChunk:
        """(z, Y, X) as it is stored; may be called by several threads at once."""
        return self._shards.encode(pixels[np.newaxis, np.newaxis])

    def write_encoded(self, t: int, channel: int, z: slice, encoded: EncodedChunk) -> None:
        """Store what `encode` made of one of `slabs`."""
        self._shards.write_encoded((t, channel, z.start // self._array.chunks[2], 0, 0), encoded)

    def close(self) -> None:
        """Let go of the file in hand; needed only when not every volume was written."""
        self._shards.close()


def slabs(depth: int, step: int) -> Iterator[slice]:
    """0..depth in slices of `step`, the last one shorter."""
    return (slice(z, min(z + step, depth)) for z in range(0, depth, step))


def open_image(plate: Path, position: str) -> tensorstore.TensorStore:
    """Open (T, C, Z, Y, X) of a plate made by `create_plate` for reading."""
    return tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(plate / position / IMAGE)},
        },
        read=True,
    ).result()


def _open_plate(path: Path) -> "Plate":
    from iohub.ngff import open_ome_zarr
    from iohub.ngff.models import ChannelAxisMeta

    try:
        # Names and axes given here are placeholders: without them iohub looks them up in the first position
        # before this module can say which position is broken. Each position still reads its own.
        plate = open_ome_zarr(
            path, layout="hcs", mode="r", channel_names=[], axes=[ChannelAxisMeta(name="c")]
        )
        wells = plate.metadata.wells
    except METADATA_ERRORS as error:
        raise BadInputError(
            f"{path}: is not a readable OME-Zarr HCS plate ({error!r}); give the folder whose "
            "metadata lists the wells"
        ) from error
    if plate.version not in VERSIONS or plate.metadata.version not in (None, *VERSIONS):
        raise BadInputError(
            f"{path}: OME-Zarr version {plate.metadata.version!r} is not one of "
            f"{', '.join(VERSIONS)}; convert it"
        )
    if not wells:
        raise BadInputError(f"{path}: the plate's metadata lists no wells; there is nothing to ingest")
    return plate


def _fields(path: Path, plate: "Plate", well: str) -> list[str]:
    try:
        # Through zarr: iohub takes a well whose only position is gone for no well at all.
        attributes = plate.zgroup[well].attrs.asdict()
        return [image["path"] for image in attributes.get("ome", attributes)["well"]["images"]]
    except METADATA_ERRORS as error:
        raise BadInputError(
            f"{path}: well {well}, which the plate lists, has no readable metadata ({_reason(error)}); restore it"
        ) from error


def _reason(error: Exception) -> str:
    """For a person: iohub raises these two for what is absent and for metadata that it could not read."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, AttributeError):
        return "its metadata states no valid multiscales"
    return repr(error)


def _channel_names(node: "Position") -> tuple[str, ...] | None:
    omero = node.metadata.omero
    if omero is None or not omero.channels or any(channel.label is None for channel in omero.channels):
        return None
    return tuple(str(channel.label) for channel in omero.channels)


def _length_um(scale: float | None, unit: str | None) -> float | None:
    return None if scale is None or unit is None or unit not in _UM_PER_UNIT else scale * _UM_PER_UNIT[unit]


def _interval_min(scale: float | None, unit: str | None) -> float | None:
    """Minutes; None for scale 1 in seconds too, which iohub and others write when nobody gave an interval."""
    if scale is None or unit is None or unit not in _PER_MINUTE or (scale == 1.0 and unit == "second"):
        return None
    return scale / _PER_MINUTE[unit]
