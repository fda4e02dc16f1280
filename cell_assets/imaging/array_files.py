"""Which part of an array a chunk file of Zarr holds, from its name and the array's metadata alone."""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from cell_assets.errors import ChangedBytesError
from cell_assets.imaging.chunk_ranges import ABSENT, fits_checksum, read_index

_NAMED_CHUNKS = 3
_LONGEST_CHUNK = 2**31
"""Bytes; an index that says more is damaged itself."""


class _Grid(BaseModel):
    chunk_shape: tuple[PositiveInt, ...]


class _ChunkGrid(BaseModel):
    configuration: _Grid


class _InnerCodec(BaseModel):
    name: str


class _Sharding(BaseModel):
    """Configuration of the `sharding_indexed` codec."""

    chunk_shape: tuple[PositiveInt, ...]
    codecs: tuple[_InnerCodec, ...]
    index_location: str = "end"


class _Codec(BaseModel):
    name: str
    configuration: object = None


class _ArrayMetadata(BaseModel):
    """What this needs of an array's `zarr.json`; Zarr 3 specification, default chunk key encoding."""

    node_type: str
    shape: tuple[NonNegativeInt, ...]
    chunk_grid: _ChunkGrid
    dimension_names: tuple[str | None, ...] | None = None
    codecs: tuple[_Codec, ...] = ()

    def checked_chunk(self) -> tuple[int, ...] | None:
        """Shape of the chunks in a shard, where each carries a checksum and the index lies at the end."""
        if not self.codecs or self.codecs[0].name != "sharding_indexed":
            return None
        try:
            sharding = _Sharding.model_validate(self.codecs[0].configuration)
        except ValidationError:
            return None
        outer, inner = self.chunk_grid.configuration.chunk_shape, sharding.chunk_shape
        fits = len(inner) == len(outer) and not any(map(operator.mod, outer, inner))
        checked = [codec.name for codec in sharding.codecs][-1:] == ["crc32c"]
        return inner if fits and checked and sharding.index_location == "end" else None


@dataclass(frozen=True)
class ArrayRegion:
    """The part of an array that one file holds; with sharding, all chunks of a shard."""

    file: str
    array: str
    """Folder of the array, relative to the artifact."""
    ranges: tuple[tuple[str, int, int], ...]
    """Name of each dimension, first index, and the index after the last."""
    damaged: tuple[tuple[tuple[str, int, int], ...], ...] = ()
    """Of a shard that changed: ranges of its chunks that do not match their checksums; empty where checksums
    do not tell, so that any of its pixels may have changed."""

    def text(self) -> str:
        """For a person: `plate.zarr/A/1/000/0: t 0 to 3, c 1, z 0 to 14, y 0 to 511, x 0 to 511`."""
        text = f"{self.array}: {_said(self.ranges)}"
        if not self.damaged:
            return text
        more = f" and {len(self.damaged) - _NAMED_CHUNKS} more chunks" * (len(self.damaged) > _NAMED_CHUNKS)
        return f"{text}, damaged at {'; '.join(map(_said, self.damaged[:_NAMED_CHUNKS]))}{more}"


def _said(ranges: tuple[tuple[str, int, int], ...]) -> str:
    return ", ".join(
        f"{name} {start}" if stop == start + 1 else f"{name} {start} to {stop - 1}"
        for name, start, stop in ranges
    )


class ArrayFiles:
    """The chunk files of an artifact's arrays; every array's metadata is read once."""

    def __init__(self, artifact: Path) -> None:
        self._artifact = artifact
        self._metadata: dict[str, _ArrayMetadata | None] = {}

    def region(self, file: str, changed: bool) -> ArrayRegion | None:
        """Where the pixels of `file`, relative to the artifact, lie; None for what is no chunk.

        The file itself need not exist; the array's metadata must, and None is returned where it cannot be read.

        Args:
            changed: the file is there and is not what it was: read it, and name its damaged chunks.
        """
        match = re.fullmatch(r"(?P<array>.+?)/c(?P<key>(/\d+)+)", file)
        metadata = None if match is None else self._of(match["array"])
        if match is None or metadata is None:
            return None
        at = [int(part) for part in match["key"].strip("/").split("/")]
        shape, chunk = metadata.shape, metadata.chunk_grid.configuration.chunk_shape
        names = metadata.dimension_names or (None,) * len(shape)
        if not len(at) == len(shape) == len(chunk) == len(names):
            return None
        axes = tuple((name or f"axis {axis}").lower() for axis, name in enumerate(names))
        start = [n * size for n, size in zip(at, chunk, strict=True)]
        inner = metadata.checked_chunk() if changed else None
        damaged: tuple[tuple[tuple[str, int, int], ...], ...] = ()
        if inner is not None:
            damaged = tuple(
                _ranges(
                    axes, [a + n * size for a, n, size in zip(start, where, inner, strict=True)], inner, shape
                )
                for where in _damaged(self._artifact / file, chunk, inner)
            )
        return ArrayRegion(file, match["array"], _ranges(axes, start, chunk, shape), damaged)

    def _of(self, array: str) -> _ArrayMetadata | None:
        if array not in self._metadata:
            try:
                content = (self._artifact / array / "zarr.json").read_bytes()
                self._metadata[array] = _ArrayMetadata.model_validate_json(content)
            except (OSError, ValidationError):
                self._metadata[array] = None
        return self._metadata[array]


def _ranges(
    names: tuple[str, ...], start: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[str, int, int], ...]:
    return tuple(
        (name, first, min(first + n, length))
        for name, first, n, length in zip(names, start, size, shape, strict=True)
    )


def _damaged(shard: Path, outer: tuple[int, ...], inner: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Grid positions within a shard of the chunks that do not match their checksums; none if its index is gone."""
    grid = [whole // part for whole, part in zip(outer, inner, strict=True)]
    damaged = []
    try:
        index = read_index(shard, grid)
        with shard.open("rb") as file:
            for where in np.ndindex(*grid):
                offset, n_bytes = (int(one) for one in index[where])
                if offset == ABSENT:
                    continue
                file.seek(offset)
                if not fits_checksum(file.read(min(n_bytes, _LONGEST_CHUNK))):
                    damaged.append(where)
    except (OSError, OverflowError, ChangedBytesError):
        return ()
    return tuple(damaged)
