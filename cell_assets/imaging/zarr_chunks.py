"""Which chunks of a Zarr array are on disk: an array with holes reads as fill values without any error.

Works on local folders, Zarr 2 and 3, with and without shards; reads file names and shard indexes, no pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ShardingCodecIndexLocation
from zarr.core.metadata import ArrayV3Metadata

_ABSENT = np.uint64(2**64 - 1)
"""Offset and length of an inner chunk that its shard does not hold (Zarr 3 sharding, ZEP 2)."""


@dataclass(frozen=True)
class MissingChunk:
    """A chunk inside the array's bounds that is not stored."""

    file: str
    """Path below the array's folder."""
    start: tuple[int, ...]
    """Index of its first element along every axis."""
    why: str


def missing_chunks(array: zarr.Array, folder: Path) -> Iterator[MissingChunk]:
    """Every missing chunk of `array`, whose files lie below `folder`.

    A shard that ends before a chunk that its index lists counts as missing that chunk. Raises ValueError for
    a shard index in an encoding other than plain bytes with or without a CRC.
    """
    sharding = _sharding(array)
    outer = array.shards if array.shards is not None else array.chunks
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    grid = [-(-length // chunk) for length, chunk in zip(array.shape, outer, strict=True)]
    for at in product(*(range(count) for count in grid)):
        file = array.metadata.encode_chunk_key(at)
        start = tuple(index * chunk for index, chunk in zip(at, outer, strict=True))
        if file not in present:
            yield MissingChunk(file, start, "the file is missing")
        elif sharding is not None:
            yield from _missing_inside(array.shape, outer, start, file, folder / file, sharding)


def _sharding(array: zarr.Array) -> ShardingCodec | None:
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata):
        return None
    return next((codec for codec in metadata.codecs if isinstance(codec, ShardingCodec)), None)


def _missing_inside(
    shape: tuple[int, ...],
    outer: tuple[int, ...],
    start: tuple[int, ...],
    file: str,
    path: Path,
    sharding: ShardingCodec,
) -> Iterator[MissingChunk]:
    inner = sharding.chunk_shape
    grid = tuple(length // chunk for length, chunk in zip(outer, inner, strict=True))
    index = _read_index(path, grid, sharding)
    if index is None:
        yield MissingChunk(file, start, "the file is too short for its shard index")
        return
    n_bytes = path.stat().st_size
    for at in product(*(range(count) for count in grid)):
        first = tuple(s + i * chunk for s, i, chunk in zip(start, at, inner, strict=True))
        if any(begin >= length for begin, length in zip(first, shape, strict=True)):
            continue
        offset, length = (int(value) for value in index[at])
        if offset == length == int(_ABSENT):
            yield MissingChunk(file, first, "the shard's index does not list it")
        elif offset + length > n_bytes:
            yield MissingChunk(file, first, f"the shard ends at byte {n_bytes}, before it")


def _read_index(path: Path, grid: tuple[int, ...], sharding: ShardingCodec) -> NDArray[np.uint64] | None:
    """(*grid, 2) offsets and lengths; None when the file cannot hold them."""
    layout, *checks = sharding.index_codecs
    plain = isinstance(layout, BytesCodec) and layout.endian is not None and layout.endian.value == "little"
    if not plain or not all(isinstance(check, Crc32cCodec) for check in checks):
        raise ValueError("its shard index is encoded in a way that is not supported here")
    index_bytes = 16 * int(np.prod(grid))
    total = index_bytes + 4 * len(checks)
    if path.stat().st_size < total:
        return None
    with path.open("rb") as shard:
        if sharding.index_location == ShardingCodecIndexLocation.end:
            shard.seek(-total, 2)
        encoded = shard.read(index_bytes)
    return np.frombuffer(encoded, "<u8").reshape(*grid, 2)
