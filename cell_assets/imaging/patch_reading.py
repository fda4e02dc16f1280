"""Reading a patch table: rows of `cells.parquet`, and their patches as fast as the disk's cache gives them.

Where the Zarr array's inner chunks are plain bytes, patches are gathered from memory maps of the shards, at
the offsets that each shard's own index states; any other encoding is read through TensorStore, to the same
values. A table that stores no patches takes them from those that were kept beside it (`PatchPolicy.MANIFEST`), or
cuts them from the raw acquisition (`PatchPolicy.NONE`), to the same values.
"""

import mmap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import google_crc32c
import numpy as np
import pandas as pd
import tensorstore as ts
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ValidationError

from cell_assets.errors import BadInputError, ChangedBytesError
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.parquet_tables import read_parquet
from cell_assets.imaging.patch_store import CHECKSUM_BYTES, INDEX_ENTRY_BYTES, NO_CHUNK, shard_path
from cell_assets.imaging.patches import (
    CELLS_PARQUET,
    KEPT_ROWS_PARQUET,
    PATCH_TABLE_JSON,
    PATCHES_ZARR,
    ROW,
    NormalisationLevel,
    PatchPolicy,
    PatchTableRecord,
    crop,
    crop_starts,
    scaling_columns,
)
from cell_assets.imaging.track_tables import Column


class _Endian(BaseModel):
    endian: Literal["little", "big"] = "little"


class _BytesCodec(BaseModel):
    name: Literal["bytes"]
    configuration: _Endian = _Endian()


class _LittleEndian(BaseModel):
    endian: Literal["little"] = "little"


class _IndexBytesCodec(BaseModel):
    name: Literal["bytes"]
    configuration: _LittleEndian = _LittleEndian()


class _ChecksumCodec(BaseModel):
    name: Literal["crc32c"]


class _Sharding(BaseModel):
    chunk_shape: tuple[int, ...]
    codecs: tuple[_BytesCodec]
    index_codecs: tuple[_IndexBytesCodec, _ChecksumCodec]
    index_location: Literal["start", "end"] = "end"


class _ShardingCodec(BaseModel):
    name: Literal["sharding_indexed"]
    configuration: _Sharding


class _RegularShape(BaseModel):
    chunk_shape: tuple[int, ...]


class _RegularGrid(BaseModel):
    name: Literal["regular"]
    configuration: _RegularShape


class _Separator(BaseModel):
    separator: Literal["/"] = "/"


class _ChunkKeys(BaseModel):
    name: Literal["default"]
    configuration: _Separator = _Separator()


class _PlainArray(BaseModel):
    """The Zarr v3 metadata that can be mapped; whatever else an array states does not validate."""

    shape: tuple[int, ...]
    data_type: Literal["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"]
    chunk_grid: _RegularGrid
    chunk_key_encoding: _ChunkKeys
    codecs: tuple[_ShardingCodec]
    storage_transformers: tuple[()] = ()


@dataclass(frozen=True)
class _Shard:
    """One mapped shard: `view[i]` is its i-th row where its chunks lie in order, else they are looked up."""

    view: NDArray[np.generic] | None
    """`(rows, C, Z, Y, X)`."""
    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class _MappedPatches:
    shards: tuple[_Shard, ...]
    rows_per_shard: int
    patch_shape: tuple[int, ...]
    dtype: np.dtype


class PatchTable:
    """An opened patch table. It may be handed to other processes, which open it anew."""

    def __init__(
        self,
        path: Path,
        info: PatchTableRecord,
        memory_map: bool = True,
        acquisition: Path | None = None,
        kept: Path | None = None,
    ) -> None:
        self.path = path
        self.info = info
        self._opened_with = (memory_map, acquisition, kept)
        self._patches: _Stored | _Kept | _Crops
        if stores_patches(path):
            self._patches = _Stored(path / PATCHES_ZARR, memory_map)
        elif kept is not None:
            self._patches = _Kept(self, kept, memory_map)
        else:
            self._patches = _Crops.of(self, acquisition)

    def __len__(self) -> int:
        return self.info.n_cells

    def __reduce__(self) -> tuple[object, ...]:
        return open_patch_table, (self.path, *self._opened_with)

    @property
    def is_memory_mapped(self) -> bool:
        """Whether patches come from memory maps, not through TensorStore or from whole frames."""
        return self._patches.is_memory_mapped

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per patch, in order of `row`."""
        return read_parquet(self.path / CELLS_PARQUET)

    def scaling(self, level: NormalisationLevel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Shift and scale of every row and channel, both `(N, C)`; NaN where a frame has no contrast.

        `(x - shift) / scale` is the normalised value; rows to leave out are where either is NaN, and
        `info.channels[c].constant_frames` names their frames.
        """
        names = [scaling_columns(level, channel) for channel in range(len(self.info.channels))]
        shift = self.cells[[shift for shift, _ in names]].to_numpy(np.float32)
        scale = self.cells[[scale for _, scale in names]].to_numpy(np.float32)
        return shift, scale

    def read(self, rows: ArrayLike) -> NDArray[np.generic]:
        """Patches `(len(rows), C, Z, Y, X)` of `rows`, in their order; rows may repeat.

        Raises:
            IndexError: a row is not in 0..N-1.
            BadInputError: its patch was not kept.
        """
        wanted = np.asarray(rows, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(
                f"{self.path}: rows {wanted.min()}..{wanted.max()} are not within 0..{len(self) - 1}"
            )
        return self._patches.read(wanted)


def stores_patches(path: Path) -> bool:
    """Whether the patch table in folder `path` holds its patches, and need not be read beside its acquisition."""
    return (path / PATCHES_ZARR).exists()


def patch_policy(path: Path) -> PatchPolicy:
    """By which policy the patch table in folder `path` was made.

    Raises:
        BadInputError: there is no readable patch table.
    """
    return PatchPolicy.ALL if stores_patches(path) else read_patch_record(path).parameters.policy


def open_patch_table(
    path: Path, memory_map: bool = True, acquisition: Path | None = None, kept: Path | None = None
) -> PatchTable:
    """Open the patch table in folder `path`.

    Args:
        memory_map: without it stored patches are read through TensorStore.
        acquisition: folder of the raw acquisition that the table was made from; only a table without stored patches
            needs it, or `kept`.
        kept: folder of patches that were kept for it (`kept_patches`); comes before `acquisition`.

    Raises:
        BadInputError: there is no readable patch table, or it needs its acquisition, or `kept` holds none of its
            patches.
        ChangedBytesError: a shard's index does not match its checksum.
    """
    info = read_patch_record(path)
    if info.parameters.policy is PatchPolicy.ALL and not stores_patches(path):
        raise BadInputError(f"{path / PATCHES_ZARR}: is missing; make the patch table again")
    return PatchTable(path, info, memory_map, acquisition, kept)


def read_patch_record(path: Path) -> PatchTableRecord:
    """`patch_table.json` of the patch table in folder `path`.

    Raises:
        BadInputError: it is not there, or not readable.
    """
    file = path / PATCH_TABLE_JSON
    try:
        return PatchTableRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{file}: cannot be read ({error.strerror}); give a patch_table folder"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{file}: field {field}: {first['msg']}; make the patch table again") from error


class _Stored:
    """A patch array on disk, read by its own rows."""

    def __init__(self, root: Path, memory_map: bool) -> None:
        self._root = root
        self._mapped = _map_patches(root) if memory_map else None

    @property
    def is_memory_mapped(self) -> bool:
        return self._mapped is not None

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        if self._mapped is None:
            return self._array[rows].read().result()
        return _gather(self._mapped, rows)

    @cached_property
    def _array(self) -> ts.TensorStore:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{self._root}/"}}
        return ts.open(spec, read=True).result()


class _Kept:
    """Patches of some rows of a table, kept beside it."""

    def __init__(self, table: PatchTable, kept: Path, memory_map: bool) -> None:
        folder = kept / table.info.position
        if not (folder / PATCHES_ZARR).exists():
            raise BadInputError(
                f"{kept}: holds no patches of {table.info.position}; materialise manifest_patches again"
            )
        rows = read_parquet(folder / KEPT_ROWS_PARQUET)[ROW].to_numpy(np.int64)
        if rows.size and rows.max() >= len(table):
            raise BadInputError(
                f"{folder}: was kept of another patch table than {table.path}; materialise manifest_patches again"
            )
        self._table, self._folder = table, folder
        self._stored = _Stored(folder / PATCHES_ZARR, memory_map)
        self._place = np.full(len(table), -1)
        self._place[rows] = np.arange(len(rows))

    @property
    def is_memory_mapped(self) -> bool:
        return self._stored.is_memory_mapped

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        places = self._place[rows]
        if (places < 0).any():
            cell = self._table.cells.iloc[rows[np.argmin(places)]]
            raise BadInputError(
                f"{self._folder}: the patch of track {cell['track_id']} at t={cell['t']} was not kept, since the "
                "manifest leaves it out; read the table beside its raw acquisition"
            )
        return self._stored.read(places)


class _Crops:
    """Patches cut from the raw acquisition, frame by frame: memory holds one frame beside what was asked for."""

    def __init__(
        self,
        image: ts.TensorStore,
        channels: list[int],
        planes: slice,
        side: int,
        times: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> None:
        self._image, self._channels, self._planes, self._side = image, channels, planes, side
        self._times, self._starts = times, starts

    @classmethod
    def of(cls, table: PatchTable, acquisition: Path | None) -> "_Crops":
        if acquisition is None:
            raise BadInputError(
                f"{table.path}: holds no patches (policy {table.info.parameters.policy.value}), so it is read beside "
                "the raw acquisition that it was made from; give that folder as well"
            )
        opened, parameters = open_acquisition(acquisition), table.info.parameters
        names, cells = opened.info.channel_names, table.cells
        return cls(
            opened.image(table.info.position),
            [names.index(choice.name) for choice in parameters.channels],
            slice(*parameters.z_range),
            parameters.side_px,
            cells[Column.T].to_numpy(np.int64),
            crop_starts(cells[["y", "x"]].to_numpy(np.float64), parameters.side_px),
        )

    is_memory_mapped = False

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Patches of `rows`, in their order; each frame is read once."""
        depth = self._planes.stop - self._planes.start
        shape = (len(rows), len(self._channels), depth, self._side, self._side)
        out = np.empty(shape, self._image.dtype.numpy_dtype)
        times = self._times[rows]
        for t in np.unique(times):
            frame = self._image[int(t)][self._channels, self._planes].read().result()
            for at in np.flatnonzero(times == t):
                out[at] = crop(frame, self._starts[rows[at]], self._side)
        return out


def _gather(mapped: _MappedPatches, rows: NDArray[np.int64]) -> NDArray[np.generic]:
    out = np.empty((len(rows), *mapped.patch_shape), mapped.dtype)
    if len(mapped.shards) == 1 and mapped.shards[0].view is not None:
        # "clip" because NumPy buffers the whole result under "raise"; the rows were checked before.
        return np.take(mapped.shards[0].view, rows, axis=0, out=out, mode="clip")
    shards, places = np.divmod(rows, mapped.rows_per_shard)
    # In order of place: a disk that must be read is then read forwards.
    for at in np.argsort(rows, kind="stable"):
        shard, place = mapped.shards[shards[at]], places[at]
        if shard.view is not None:
            out[at] = shard.view[place]
        else:
            start = shard.offsets[place]
            out[at] = (
                shard.data[start : start + out[at].nbytes].view(mapped.dtype).reshape(mapped.patch_shape)
            )
    return out


def _map_patches(root: Path) -> _MappedPatches | None:
    """Memory maps of the shards; None where the array's encoding is not plain bytes in indexed shards."""
    try:
        array = _PlainArray.model_validate_json((root / "zarr.json").read_bytes())
    except ValidationError:
        return None
    n_rows, *patch_shape = array.shape
    rows_per_shard, *shard_shape = array.chunk_grid.configuration.chunk_shape
    sharding = array.codecs[0].configuration
    if shard_shape != patch_shape or list(sharding.chunk_shape) != [1, *patch_shape]:
        return None
    dtype = np.dtype(array.data_type).newbyteorder(sharding.codecs[0].configuration.endian)
    shards = []
    for shard in range(-(-n_rows // rows_per_shard)):
        stored = min(rows_per_shard, n_rows - shard * rows_per_shard)
        path = shard_path(root, shard)
        index_at_end = sharding.index_location == "end"
        if not path.exists():
            return None
        mapped = _map_shard(path, rows_per_shard, stored, tuple(patch_shape), dtype, index_at_end)
        if mapped is None:
            return None
        shards.append(mapped)
    return _MappedPatches(tuple(shards), rows_per_shard, tuple(patch_shape), dtype)


def _map_shard(
    path: Path,
    rows_per_shard: int,
    stored: int,
    patch_shape: tuple[int, ...],
    dtype: np.dtype,
    index_at_end: bool,
) -> _Shard | None:
    """Map one shard; None where a patch is not stored (Zarr then fills it in).

    Raises:
        ChangedBytesError: the index does not match its checksum.
    """
    with path.open("rb") as file:
        data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    index_bytes = rows_per_shard * INDEX_ENTRY_BYTES
    start = len(data) - index_bytes - CHECKSUM_BYTES if index_at_end else 0
    if start < 0:
        raise ChangedBytesError(f"{path}: the shard is shorter than its index; make the patch table again")
    body = data[start : start + index_bytes].tobytes()
    stated = data[start + index_bytes : start + index_bytes + CHECKSUM_BYTES].tobytes()
    if google_crc32c.value(body).to_bytes(CHECKSUM_BYTES, "little") != stated:
        raise ChangedBytesError(
            f"{path}: the shard's index does not match its checksum; make the patch table again"
        )
    index = np.frombuffer(body, "<u8").reshape(-1, 2)[:stored]
    patch_bytes = int(np.prod(patch_shape)) * dtype.itemsize
    if (index == NO_CHUNK).any() or (index[:, 1] != patch_bytes).any():
        return None
    offsets = index[:, 0].astype(np.int64)
    view = None
    if (np.diff(offsets) == patch_bytes).all():
        run = data[offsets[0] : offsets[0] + stored * patch_bytes]
        view = run.view(dtype).reshape(stored, *patch_shape)
    return _Shard(view, data, offsets)
