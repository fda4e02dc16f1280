"""Writing Zarr 3 shards chunk by chunk, so that a shard of any size costs the memory of one chunk.

zarr-python and tensorstore assemble a shard in memory before they write it. The format does not need that:
the chunks come one after another and the index of their offsets at the end.
Source: Zarr 3 "sharding-indexed" codec, version 1.0.
"""

import json
from pathlib import Path
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np
import zarr
from numcodecs.blosc import BITSHUFFLE, NOSHUFFLE, SHUFFLE, Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.codecs import ShardingCodecIndexLocation as IndexLocation
from zarr.core.metadata import ArrayV3Metadata

_ABSENT = 2**64 - 1
_SHUFFLES = {
    BloscShuffle.noshuffle: NOSHUFFLE,
    BloscShuffle.shuffle: SHUFFLE,
    BloscShuffle.bitshuffle: BITSHUFFLE,
}


def checksum_chunks(array: Path) -> None:
    """Add a checksum to every chunk of an array that is still empty, by its `zarr.json`.

    iohub does not let one choose codecs. A damaged shard can then be told to the chunk, and a reader refuses a
    damaged chunk rather than decode it to something else.
    """
    file = array / "zarr.json"
    metadata = json.loads(file.read_text(encoding="utf-8"))
    metadata["codecs"][0]["configuration"]["codecs"].append({"name": "crc32c"})
    file.write_text(json.dumps(metadata, indent=2), encoding="utf-8")


class EncodedChunk(NamedTuple):
    """A chunk as it is stored: one part after the other."""

    content: bytes
    checksum: bytes


class ShardWriter:
    """Writes the chunks of one array below `folder`, shard after shard; every chunk of a shard before the
    next.

    A shard's file is complete when the next one begins or the writer closes. ValueError for an array that is
    not sharded as this project shards: little-endian bytes, Blosc, CRC, and an index with CRC at the end.
    """

    def __init__(self, array: zarr.Array, folder: Path) -> None:
        self._array = array
        self._folder = folder
        sharding, blosc = _codecs(array)
        self._inner = sharding.chunk_shape
        outer = array.shards or array.chunks
        self._grid = tuple(n // chunk for n, chunk in zip(outer, self._inner, strict=True))
        # One thread: with more, Blosc keeps a scratch buffer for each.
        self._encoder = Blosc(blosc.cname.value, blosc.clevel, _SHUFFLES[blosc.shuffle], blosc.blocksize)
        self._shard: tuple[int, ...] | None = None
        self._file: BinaryIO | None = None
        self._left = 0
        self._index = np.full((*self._grid, 2), _ABSENT, "<u8")

    def write(self, chunk: tuple[int, ...], pixels: NDArray[np.generic]) -> None:
        """Store the chunk at grid position `chunk`; one at the array's edge may be smaller and is padded."""
        self.write_encoded(chunk, self.encode(pixels))

    def encode(self, pixels: NDArray[np.generic]) -> EncodedChunk:
        """A chunk's pixels as they are stored; may be called by several threads at once."""
        whole = np.ascontiguousarray(pixels, dtype=self._array.dtype.newbyteorder("<"))
        if whole.shape != self._inner:
            padded = np.zeros(self._inner, whole.dtype)
            padded[tuple(slice(n) for n in whole.shape)] = whole
            whole = padded
        content = self._encoder.encode(whole)
        return EncodedChunk(content, checksum(content))

    def write_encoded(self, chunk: tuple[int, ...], encoded: EncodedChunk) -> None:
        """Store what `encode` made of the chunk at grid position `chunk`."""
        shard = tuple(at // n for at, n in zip(chunk, self._grid, strict=True))
        inside = tuple(at % n for at, n in zip(chunk, self._grid, strict=True))
        file = self._opened(shard)
        if self._index[inside][0] != _ABSENT:
            raise ValueError(f"chunk {chunk} of array {self._array.path} is written twice")
        self._index[inside] = (file.tell(), sum(map(len, encoded)))
        file.writelines(encoded)
        self._left -= 1
        if self._left == 0:
            index = self._index.tobytes()
            file.writelines((index, checksum(index)))
            self.close()

    def close(self) -> None:
        """Let go of the file; a shard that lacks chunks by then has no index, which no reader accepts."""
        if self._file is not None:
            self._file.close()
        self._file = self._shard = None

    def _opened(self, shard: tuple[int, ...]) -> BinaryIO:
        if self._file is not None and shard == self._shard:
            return self._file
        if self._file is not None:
            raise ValueError(f"shard {shard} begins while {self._left} chunks of {self._shard} are missing")
        path = self._folder / self._array.metadata.encode_chunk_key(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")
        self._shard = shard
        self._index[...] = _ABSENT
        self._left = self._chunks_within(shard)
        return self._file

    def _chunks_within(self, shard: tuple[int, ...]) -> int:
        """Chunks of a shard that hold part of the array; at the array's edge not all do."""
        count = 1
        for at, n, chunk, length in zip(shard, self._grid, self._inner, self._array.shape, strict=True):
            count *= min(n, -(-length // chunk) - at * n)
        return count


def checksum(content: bytes) -> bytes:
    """The CRC-32C that Zarr's `crc32c` codec puts after a content."""
    return google_crc32c.value(content).to_bytes(4, "little")


def _codecs(array: zarr.Array) -> tuple[ShardingCodec, BloscCodec]:
    metadata = array.metadata
    if isinstance(metadata, ArrayV3Metadata) and len(metadata.codecs) == 1:
        sharding = metadata.codecs[0]
        if isinstance(sharding, ShardingCodec) and len(sharding.codecs) == 3:
            layout, blosc, checksum = sharding.codecs
            index = [type(codec) for codec in sharding.index_codecs]
            at_end = sharding.index_location == IndexLocation.end
            checked = isinstance(checksum, Crc32cCodec) and index == [BytesCodec, Crc32cCodec]
            if isinstance(layout, BytesCodec) and isinstance(blosc, BloscCodec) and at_end and checked:
                return sharding, blosc
    raise ValueError(f"array {array.path} is not sharded with checked Blosc chunks and its index at the end")
