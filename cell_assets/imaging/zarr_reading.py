"""Reading other people's Zarr arrays, 2 and 3, part by part in the least memory.

Many plates keep a whole volume in one chunk, which any Zarr library decodes as a whole, next to its encoded
bytes and a copy of what was asked for.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorstore
import zarr
from numcodecs.blosc import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec
from zarr.core.metadata import ArrayV2Metadata
from zarr.storage import LocalStore

from cell_assets.errors import BadInputError

_BLOSC_HEADER_BYTES = 16


class VolumeReader:
    """Reads volumes in parts along z, in order. One array and one chunk are remembered from part to part.

    Peak memory is the part and the chunk, encoded when it is a Blosc chunk of whole planes, else also
    decoded. A chunk that spans several time points or channels costs its own size.
    """

    def __init__(self) -> None:
        self._encoded: _BloscChunk | None = None
        self._store: tensorstore.TensorStore | None = None
        self._key: tuple[object, ...] = ()

    def read(self, array: zarr.Array, axes: str, at: tuple[int | slice, ...]) -> NDArray[np.generic]:
        """`array[at]`, where integers in `at` are one time point and channel and a slice is along z.

        Raises BadInputError for codecs that unpack to whatever a chunk says, and what the codecs raise for bytes that
        they cannot decode (RuntimeError, ValueError, OSError …).
        """
        if (part := _blosc_part(array, axes, at)) is not None:
            return self._read_blosc(array, part)
        return self._read_through_tensorstore(array, axes, at)

    def _read_blosc(self, array: zarr.Array, part: "_BloscPart") -> NDArray[np.generic]:
        self._store, self._key = None, ()
        if self._encoded is None or self._encoded.path != part.path:
            self._encoded = None  # lets go of the chunk before, then reads the next
            self._encoded = _BloscChunk(part.path, part.path.read_bytes())
        planes = self._encoded.planes(part, array.dtype)
        return planes.reshape(part.stop - part.start, *array.shape[-2:])

    def _read_through_tensorstore(
        self, array: zarr.Array, axes: str, at: tuple[int | slice, ...]
    ) -> NDArray[np.generic]:
        self._encoded = None
        singles = {axis: index for axis, index in enumerate(at) if isinstance(index, int)}
        keep = any(array.chunks[axis] > 1 for axis in singles) or _is_part(array, axes, at)
        group = tuple(index // array.chunks[axis] for axis, index in singles.items()) if keep else ()
        key = (array.path, keep, group)
        if key != self._key:
            self._store = None  # lets go of the chunk kept so far before the next one is decoded
            kept = [array.chunks[axis] if axis in singles else n for axis, n in enumerate(array.shape)]
            kept_bytes = int(np.prod(kept)) * array.dtype.itemsize
            self._store = _open_tensorstore(array, kept_bytes * 5 // 4 if keep else 0)
            self._key = key
        if self._store is None:
            _refuse_unbounded(array)
            return np.asarray(array[at])
        return np.asarray(self._store[at].read().result())


@dataclass(frozen=True)
class _BloscPart:
    """Planes `start..stop` of a chunk of `depth` planes that lies in `path`."""

    path: Path
    start: int
    stop: int
    depth: int
    plane_bytes: int


@dataclass(frozen=True)
class _BloscChunk:
    """A chunk as it is stored, of which parts are decoded by themselves (blosc_getitem)."""

    path: Path
    encoded: bytes

    def planes(self, part: _BloscPart, dtype: np.dtype) -> NDArray[np.generic]:
        """The pixels of a part, flat; RuntimeError for bytes that are no such Blosc chunk."""
        header = np.frombuffer(self.encoded[:_BLOSC_HEADER_BYTES], np.uint8)
        if len(header) < _BLOSC_HEADER_BYTES:
            raise RuntimeError(f"a Blosc chunk of {len(self.encoded)} bytes")
        n_bytes, stored = (int(header[at : at + 4].view("<u4")[0]) for at in (4, 12))
        item_bytes = int(header[3])
        whole = part.depth * part.plane_bytes
        if (
            n_bytes != whole
            or stored != len(self.encoded)
            or item_bytes == 0
            or part.plane_bytes % item_bytes
        ):
            raise RuntimeError(
                f"a Blosc chunk of {len(self.encoded)} bytes that announces {stored} and "
                f"{n_bytes} decoded, not {whole}"
            )
        per_plane = part.plane_bytes // item_bytes
        decoded = Blosc().decode_partial(
            self.encoded, part.start * per_plane, (part.stop - part.start) * per_plane
        )
        return np.frombuffer(decoded, dtype)


def _blosc_part(array: zarr.Array, axes: str, at: tuple[int | slice, ...]) -> _BloscPart | None:
    """What `at` is of one chunk, when that chunk holds whole planes of one volume, Blosc and nothing else."""
    if "z" not in axes or not isinstance(array.store, LocalStore) or not _is_plain_blosc(array):
        return None
    z_axis = axes.index("z")
    z = at[z_axis]
    if not isinstance(z, slice) or array.chunks[z_axis + 1 :] != array.shape[z_axis + 1 :]:
        return None
    if any(array.chunks[axis] != 1 for axis in range(z_axis)):
        return None
    planes = range(array.shape[z_axis])[z]
    depth = array.chunks[z_axis]
    if len(planes) == 0 or planes.step != 1 or planes[0] // depth != planes[-1] // depth:
        return None
    chunk = tuple(
        planes[0] // depth if axis == z_axis else index if isinstance(index, int) else 0
        for axis, index in enumerate(at)
    )
    return _BloscPart(
        path=array.store.root / array.path / array.metadata.encode_chunk_key(chunk),
        start=planes[0] % depth,
        stop=planes[-1] % depth + 1,
        depth=depth,
        plane_bytes=int(np.prod(array.shape[z_axis + 1 :])) * array.dtype.itemsize,
    )


def _is_plain_blosc(array: zarr.Array) -> bool:
    metadata = array.metadata
    if array.dtype.str.startswith(">"):
        return False
    if isinstance(metadata, ArrayV2Metadata):
        return metadata.order == "C" and not metadata.filters and isinstance(metadata.compressor, Blosc)
    return [type(codec) for codec in metadata.codecs] == [BytesCodec, BloscCodec]


def _is_part(array: zarr.Array, axes: str, at: tuple[int | slice, ...]) -> bool:
    """Whether `at` asks for less than a chunk along z."""
    if "z" not in axes:
        return False
    z_axis = axes.index("z")
    z, length = at[z_axis], array.shape[z_axis]
    return isinstance(z, slice) and len(range(length)[z]) < min(array.chunks[z_axis], length)


def _refuse_unbounded(array: zarr.Array) -> None:
    """Zarr unpacks a chunk whole before it looks at its size; of Blosc that is 2 GB at most, of others anything."""
    metadata = array.metadata
    if isinstance(metadata, ArrayV2Metadata) and isinstance(metadata.compressor, Blosc | None):
        return
    raise BadInputError(
        f"{array.store_path}: its chunks are packed so that nothing says how large they are; write the plate with "
        "Blosc, zstd or gzip and without filters"
    )


def _open_tensorstore(array: zarr.Array, cache_bytes: int) -> tensorstore.TensorStore | None:
    """The array through tensorstore, which needs one copy less than zarr; None for codecs that it lacks."""
    store = array.store
    if not isinstance(store, LocalStore):
        return None
    context = tensorstore.Context(
        {
            "cache_pool": {"total_bytes_limit": cache_bytes},
            "data_copy_concurrency": {"limit": 1},
            "file_io_concurrency": {"limit": 1},
        }
    )
    spec = {
        "driver": "zarr" if array.metadata.zarr_format == 2 else "zarr3",
        "kvstore": {"driver": "file", "path": str(store.root / array.path)},
    }
    try:
        return tensorstore.open(spec, read=True, context=context).result()
    except ValueError:
        return None
