"""Which part of an array a chunk file of Zarr holds, from its name and the array's metadata alone."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError


class _Grid(BaseModel):
    chunk_shape: tuple[int, ...]


class _ChunkGrid(BaseModel):
    configuration: _Grid


class _ArrayMetadata(BaseModel):
    """What this needs of an array's `zarr.json`; Zarr 3 specification, default chunk key encoding."""

    node_type: str
    shape: tuple[int, ...]
    chunk_grid: _ChunkGrid
    dimension_names: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class ArrayRegion:
    """The part of an array that one file holds; with sharding, all chunks of a shard."""

    file: str
    array: str
    """Folder of the array, relative to the artifact."""
    ranges: tuple[tuple[str, int, int], ...]
    """Name of each dimension, first index, and the index after the last."""

    def text(self) -> str:
        """For a person: `plate.zarr/A/1/000/0: t 0 to 3, c 1, z 0 to 14, y 0 to 511, x 0 to 511`."""
        said = [
            f"{name} {start}" if stop == start + 1 else f"{name} {start} to {stop - 1}"
            for name, start, stop in self.ranges
        ]
        return f"{self.array}: {', '.join(said)}"


def region_of_file(artifact: Path, file: str) -> ArrayRegion | None:
    """Where the pixels of `file`, relative to the folder `artifact`, lie; None for what is no chunk.

    The file itself need not exist; the array's metadata must, and None is returned where it cannot be read.
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
    names = metadata.dimension_names or (None,) * len(shape)
    return ArrayRegion(
        file,
        match["array"],
        tuple(
            ((name or f"axis {axis}").lower(), n * size, min((n + 1) * size, length))
            for axis, (name, n, size, length) in enumerate(zip(names, at, chunk, shape, strict=True))
        ),
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
