"""Label images on disk: `labels.zarr`, Zarr v3 uint32 `(T, 1, Z, Y, X)` with OME-Zarr 0.5 image metadata.

Writing streams frame by frame; a shard holds as many whole frames as fit `SHARD_BYTES`, so a small movie is
one file of pixels and a large one needs one shard of memory.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.fields_of_view import FieldOfView

SHARD_BYTES = 64 * 2**20
"""Uncompressed bytes of one shard, and so the memory that writing needs."""
_CHUNK_BYTES = 4 * 2**20
"""Uncompressed bytes of one inner chunk: a few frames of a small movie, a plane of a large one."""
LABELS = "labels.zarr"
_LEVEL = "0"


@dataclass(frozen=True)
class LabelImage:
    """An opened label image."""

    array: ts.TensorStore

    def frame(self, t: int) -> NDArray[np.uint32]:
        """Labels `(Z, Y, X)` of time point `t`."""
        return self.array[t, 0].read().result()


def write_labels(folder: Path, fov: FieldOfView, frames: Iterable[NDArray[np.generic]]) -> None:
    """Write `frames` (T volumes `(Z, Y, X)`, in order) as `folder/labels.zarr`.

    Raises:
        BadInputError: a frame has another shape than the position, or the number of frames differs.
    """
    t_count, _, *zyx = fov.shape
    root = folder / LABELS
    root.mkdir(parents=True)
    (root / "zarr.json").write_text(json.dumps(_image_metadata(fov), indent=1), encoding="utf-8")
    frame_bytes = 4 * int(np.prod(zyx))
    per_shard = int(np.clip(SHARD_BYTES // max(frame_bytes, 1), 1, t_count))
    array = ts.open(_spec(root / _LEVEL, (t_count, 1, *zyx), per_shard), create=True).result()
    buffer = np.zeros((per_shard, *zyx), np.uint32)
    t = -1
    for t, frame in enumerate(frames):
        if frame.shape != tuple(zyx) or t >= t_count:
            raise BadInputError(
                f"{fov.position}: label frame t={t} has shape {frame.shape}; the position has {t_count} "
                f"frames of {tuple(zyx)}"
            )
        buffer[t % per_shard] = frame
        if t % per_shard == per_shard - 1 or t == t_count - 1:
            start = t - t % per_shard
            array[start : t + 1, 0].write(buffer[: t + 1 - start]).result()
    if t + 1 != t_count:
        raise BadInputError(f"{fov.position}: {t + 1} label frames were given; the position has {t_count}")


def open_labels(folder: Path) -> LabelImage:
    """Open `folder/labels.zarr`.

    Raises:
        BadInputError: there is none.
    """
    path = folder / LABELS / _LEVEL
    if not (path / "zarr.json").exists():
        raise BadInputError(f"{path}: there is no label image")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
    return LabelImage(ts.open(spec, read=True).result())


def has_labels(folder: Path) -> bool:
    """Whether `folder` holds a label image."""
    return (folder / LABELS / _LEVEL / "zarr.json").exists()


def _spec(path: Path, shape: tuple[int, ...], per_shard: int) -> dict[str, object]:
    _, _, z, y, x = shape
    plane_bytes = 4 * y * x
    z_chunk = int(np.clip(_CHUNK_BYTES // max(plane_bytes, 1), 1, z))
    t_chunk = int(np.clip(_CHUNK_BYTES // max(plane_bytes * z, 1), 1, per_shard))
    # Inner chunks must divide the shard: shrink to a divisor rather than pad every shard.
    z_chunk = next(n for n in range(z_chunk, 0, -1) if z % n == 0)
    t_chunk = next(n for n in range(t_chunk, 0, -1) if per_shard % n == 0)
    return {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": {
            "shape": list(shape),
            "data_type": "uint32",
            "fill_value": 0,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [per_shard, 1, z, y, x]},
            },
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [t_chunk, 1, z_chunk, y, x],
                        "codecs": [
                            {"name": "bytes", "configuration": {"endian": "little"}},
                            {"name": "zstd", "configuration": {"level": 1}},
                            # So that a damaged file can be told to the chunk.
                            {"name": "crc32c"},
                        ],
                        "index_codecs": [
                            {"name": "bytes", "configuration": {"endian": "little"}},
                            {"name": "crc32c"},
                        ],
                    },
                }
            ],
            "dimension_names": ["t", "c", "z", "y", "x"],
        },
    }


def _image_metadata(fov: FieldOfView) -> dict[str, object]:
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    if fov.voxel_size_um[0] is None:
        del space[0]["unit"]
    time = {"name": "t", "type": "time", "unit": "minute"}
    scale = [fov.interval_min if fov.interval_min is not None else 1.0, 1.0, *fov.spacing]
    dataset = {"path": _LEVEL, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    multiscale = {
        "name": "labels",
        "axes": [time, {"name": "c", "type": "channel"}, *space],
        "datasets": [dataset],
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [multiscale], "image-label": {"version": "0.5"}}}
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}
