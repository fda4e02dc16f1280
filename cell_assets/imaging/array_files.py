"""Which part of an array a chunk file of Zarr holds, from its name and the array's metadata alone."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from cell_assets.errors import ChangedBytesError
from cell_assets.imaging.chunk_ranges import ABSENT, fits_checksum, read_index

_NAMED_CHUNKS = 3


class _Grid(BaseModel):
    chunk_shape: tuple[int, ...]


class _ChunkGrid(BaseModel):
    configuration: _Grid


class _Codec(BaseModel):
    name: str
    configuration: dict[str, Any] = {}


class _ArrayMetadata(BaseModel):
    """What this needs of an array's `zarr.json`; Zarr 3 specification, default chunk key encoding."""

    node_type: str
    shape: tuple[int, ...]
    chunk_grid: _ChunkGrid
    dimension_names: tuple[str | None, ...] | None = None
    codecs: tuple[_Codec, ...] = ()

    def checked_chunk(self) -> tuple[int, ...] | None:
        """Shape of the chunks in a shard, where each carries a checksum and the index lies at the end."""
        said = self.codecs[0].configuration if self.codecs else {}
        try:
            inner = [codec["name"] for codec in said["codecs"]]
            at_end = said.get("index_location", "end") == "end"
            return tuple(said["chunk_shape"]) if at_end and inner[-1:] == ["crc32c"] else None
        except (KeyError, TypeError):
            return None


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


def region_of_file(artifact: Path, file: str, changed: bool) -> ArrayRegion | None:
    """Where the pixels of `file`, relative to the folder `artifact`, lie; None for what is no chunk.

    The file itself need not exist; the array's metadata must, and None is returned where it cannot be read.

    Args:
        changed: the file is there and is not what it was: name its damaged chunks.
    """
    match = re.fullmatch(r"(?P<array>.+?)/c(?P<key>(/\d+)+)", file)
    if match is None:
        return None
    try:
        metadata = _ArrayMetadata.model_validate(_json(artifact / match["array"] / "zarr.json"))
    except (OSError, ValueError, ValidationError):
        return None
    at = [int(part) for part in match["key"].strip("/").split("/")]
    shape, chunk = metadata.shape, metadata.chunk_grid.configuration.chunk_shape
    if len(at) != len(shape):
        return None
    names = tuple(
        (name or f"axis {axis}").lower()
        for axis, name in enumerate(metadata.dimension_names or (None,) * len(shape))
    )
    start = [n * size for n, size in zip(at, chunk, strict=True)]
    inner = metadata.checked_chunk() if changed else None
    damaged = () if inner is None else _damaged(artifact / file, chunk, inner)
    return ArrayRegion(
        file,
        match["array"],
        _ranges(names, start, chunk, shape),
        tuple(
            _ranges(
                names, [a + n * size for a, n, size in zip(start, where, inner, strict=True)], inner, shape
            )
            for where in damaged
            if inner is not None
        ),
    )


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
    try:
        index = read_index(shard, grid)
        content = memoryview(shard.read_bytes())
    except (OSError, ChangedBytesError):
        return ()
    return tuple(
        where
        for where in np.ndindex(*grid)
        if (offset := int(index[where][0])) != ABSENT
        and not fits_checksum(bytes(content[offset : offset + int(index[where][1])]))
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
