"""The exact bytes that hold a part of a sharded Zarr 3 array: file, offset and length of every inner chunk.

Reads what this project writes (see `zarr_shards`): Blosc chunks in shards with their index at the end.
Source: Zarr 3 "sharding-indexed" codec, version 1.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from cell_assets.errors import BadInputError, ChangedBytesError

ABSENT = 2**64 - 1
"""Offset of a chunk that a shard does not hold."""
_CHECKSUM_BYTES = 4


class _Codec(BaseModel):
    name: str


class _Sharding(BaseModel):
    chunk_shape: tuple[int, ...]
    codecs: tuple[_Codec, ...]
    index_location: Literal["end"]


class _ShardingCodec(BaseModel):
    name: Literal["sharding_indexed"]
    configuration: _Sharding


class _Shape(BaseModel):
    chunk_shape: tuple[int, ...]


class _Grid(BaseModel):
    configuration: _Shape


class _Sharded(BaseModel):
    """What this needs of an array's `zarr.json`."""

    shape: tuple[int, ...]
    data_type: str
    chunk_grid: _Grid
    codecs: tuple[_ShardingCodec]


@dataclass(frozen=True)
class ChunkRange:
    """One inner chunk."""

    file: str
    """Relative to the folder that was asked about."""
    offset: int
    n_bytes: int
    start: tuple[int, ...]
    """First index of the chunk in the array."""
    stop: tuple[int, ...]
    """Index after its last; the chunk's padding at the array's edge does not count."""


@dataclass(frozen=True)
class ShardedArray:
    """An array whose chunks can be found in its files."""

    folder: Path
    name: str
    """Relative to `folder`."""
    shape: tuple[int, ...]
    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype
    checksummed: bool
    """Whether the last four bytes of each chunk are its CRC-32C."""

    def chunks_of(self, part: Sequence[tuple[int, int]]) -> tuple[ChunkRange, ...]:
        """Chunks that hold `part`: for every axis the first index and the one after the last.

        Raises:
            ChangedBytesError: a shard is too short, or its index does not match its checksum.
        """
        steps = [
            range(first // size, -(-last // size))
            for (first, last), size in zip(part, self.chunk, strict=True)
        ]
        return tuple(self._find(at) for at in product(*steps))

    def read(self, part: Sequence[tuple[int, int]], chunks: Sequence[ChunkRange]) -> NDArray[np.generic]:
        """The pixels of `part`, from the bytes of `chunks` and no others.

        Raises:
            ChangedBytesError: a chunk does not match its checksum.
        """
        pixels = np.empty([last - first for first, last in part], self.dtype)
        for chunk in chunks:
            with (self.folder / chunk.file).open("rb") as file:
                file.seek(chunk.offset)
                encoded = file.read(chunk.n_bytes)
            if self.checksummed:
                encoded = self._checked(chunk, encoded)
            decoded = np.frombuffer(Blosc().decode(encoded), self.dtype).reshape(self.chunk)
            low = [max(first, start) for (first, _), start in zip(part, chunk.start, strict=True)]
            high = [min(last, stop) for (_, last), stop in zip(part, chunk.stop, strict=True)]
            inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, chunk.start, strict=True))
            target = tuple(slice(a - p[0], b - p[0]) for a, b, p in zip(low, high, part, strict=True))
            pixels[target] = decoded[inside]
        return pixels

    def _checked(self, chunk: ChunkRange, stored: bytes) -> bytes:
        if not fits_checksum(stored):
            raise ChangedBytesError(
                f"{self.folder / chunk.file}: bytes {chunk.offset} to {chunk.offset + chunk.n_bytes - 1} do not "
                "match their checksum; verify its plate"
            )
        return stored[:-_CHECKSUM_BYTES]

    def _find(self, at: tuple[int, ...]) -> ChunkRange:
        grid = [shard // chunk for shard, chunk in zip(self.shard, self.chunk, strict=True)]
        shard = [n // per for n, per in zip(at, grid, strict=True)]
        file = f"{self.name}/c/{'/'.join(map(str, shard))}"
        index = read_index(self.folder / file, grid)
        offset, n_bytes = (int(one) for one in index[tuple(n % per for n, per in zip(at, grid, strict=True))])
        if offset == ABSENT:
            raise ChangedBytesError(
                f"{self.folder / file}: chunk {at} is not in its shard; ingest the plate again"
            )
        start = tuple(n * size for n, size in zip(at, self.chunk, strict=True))
        ends = zip(start, self.chunk, self.shape, strict=True)
        return ChunkRange(
            file, offset, n_bytes, start, tuple(min(s + size, length) for s, size, length in ends)
        )


def open_sharded(folder: Path, name: str) -> ShardedArray:
    """Open the array `name` below `folder`.

    Raises:
        BadInputError: its metadata cannot be read, or it is not sharded as this project shards.
    """
    file = folder / name / "zarr.json"
    try:
        metadata = _Sharded.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        first = error.errors()[0]["loc"] if isinstance(error, ValidationError) else error.strerror
        raise BadInputError(f"{file}: no sharded array of this project: {first}") from error
    sharding = metadata.codecs[0].configuration
    codecs = [codec.name for codec in sharding.codecs]
    if codecs not in (["bytes", "blosc"], ["bytes", "blosc", "crc32c"]):
        raise BadInputError(f"{file}: its chunks are not Blosc chunks; ingest the plate again")
    dtype = np.dtype(metadata.data_type).newbyteorder("<")
    grid = metadata.chunk_grid.configuration.chunk_shape
    checked = codecs[-1] == "crc32c"
    return ShardedArray(folder, name, metadata.shape, grid, sharding.chunk_shape, dtype, checked)


def fits_checksum(stored: bytes) -> bool:
    """Whether bytes end with the CRC-32C of those before them."""
    content, stated = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
    return len(stated) == _CHECKSUM_BYTES and google_crc32c.value(content).to_bytes(4, "little") == stated


def read_index(path: Path, grid: Sequence[int]) -> NDArray[np.uint64]:
    """Offset and length of every chunk of a shard, shape `(*grid, 2)`.

    Raises:
        ChangedBytesError: the shard is too short, or its index does not match its checksum.
    """
    size = 16 * int(np.prod(grid))
    with path.open("rb") as file:
        length = file.seek(0, 2)
        if length < size + _CHECKSUM_BYTES:
            raise ChangedBytesError(f"{path} is shorter than its own index; verify its plate")
        file.seek(length - size - _CHECKSUM_BYTES)
        stored = file.read()
    if not fits_checksum(stored):
        raise ChangedBytesError(f"{path}: its index does not match its checksum; verify its plate")
    return np.frombuffer(stored[:-_CHECKSUM_BYTES], "<u8").reshape(*grid, 2)
