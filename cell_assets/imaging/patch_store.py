"""Patches on disk: `patches.zarr`, Zarr v3 `(N, C, Z, Y, X)`, one uncompressed patch per inner chunk of a
shard.

Because every inner chunk is there and has the same size, a patch's place in its file is known before any is
written: rows may come in any order (frame by frame, while they are kept by track) and are written once,
with one patch in memory. The result is ordinary Zarr: the bytes that Zarr's own sharding codec would write.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cell_assets.errors import BadInputError

SHARD_BYTES = 512 * 2**20
"""Largest shard: few files for a large table, and pieces that a copy can resume."""
INDEX_ENTRY_BYTES = 16
"""Offset and length of one inner chunk, both u64."""
CHECKSUM_BYTES = 4
NO_CHUNK = 2**64 - 1
"""Index value of an inner chunk that is not stored."""
DIMENSIONS = ("cell", "c", "z", "y", "x")


@dataclass(frozen=True)
class PatchLayout:
    """Where the patches of a table lie: `rows_per_shard` rows in each file but the last, in order of rows."""

    n_rows: int
    patch_shape: tuple[int, int, int, int]
    """`(C, Z, Y, X)`."""
    dtype: np.dtype

    @property
    def patch_bytes(self) -> int:
        return int(np.prod(self.patch_shape)) * self.dtype.itemsize

    @property
    def n_shards(self) -> int:
        return -(-self.n_rows * self.patch_bytes // SHARD_BYTES) if self.n_rows else 0

    @property
    def rows_per_shard(self) -> int:
        return -(-self.n_rows // self.n_shards) if self.n_rows else 1

    @property
    def total_bytes(self) -> int:
        """Bytes on disk: patches and indexes."""
        index = self.rows_per_shard * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
        return self.n_rows * self.patch_bytes + self.n_shards * index

    def rows_in(self, shard: int) -> int:
        """Rows stored in shard number `shard`."""
        return min(self.rows_per_shard, self.n_rows - shard * self.rows_per_shard)


def shard_path(root: Path, shard: int) -> Path:
    """File of shard number `shard`."""
    return root / "c" / str(shard) / "0" / "0" / "0" / "0"


class PatchWriter:
    """Writes every row of a patch array once, in any order; as a context it finishes the files on leaving.

    Raises:
        BadInputError: on entering, when the disk has too little room.
        RuntimeError: on leaving, when a row was not written.
    """

    def __init__(self, root: Path, layout: PatchLayout) -> None:
        self._root = root
        self._layout = layout
        self._files: list[int] = []
        self._written = np.zeros(0, bool)

    def __enter__(self) -> "PatchWriter":
        layout = self._layout
        self._root.mkdir(parents=True)
        free = shutil.disk_usage(self._root).free
        if layout.total_bytes > free:
            raise BadInputError(
                f"{self._root}: {layout.n_rows} patches need {layout.total_bytes:,} bytes and the disk has "
                f"{free:,} free; free some or write smaller patches"
            )
        self._written = np.zeros(layout.n_rows, bool)
        metadata = json.dumps(_array_metadata(layout), indent=1)
        (self._root / "zarr.json").write_text(metadata, encoding="utf-8")
        for shard in range(layout.n_shards):
            path = shard_path(self._root, shard)
            path.parent.mkdir(parents=True)
            self._files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        return self

    def write(self, row: int, patch: NDArray[np.generic]) -> None:
        """Write the `(C, Z, Y, X)` patch of `row`."""
        layout = self._layout
        if patch.shape != layout.patch_shape:
            raise ValueError(f"patch of row {row} has shape {patch.shape}, not {layout.patch_shape}")
        shard, place = divmod(row, layout.rows_per_shard)
        little = np.ascontiguousarray(patch, layout.dtype.newbyteorder("<"))
        _write_all(self._files[shard], little, place * layout.patch_bytes)
        self._written[row] = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if not self._written.all():
                    raise RuntimeError(f"{self._root}: row {int(np.argmin(self._written))} was not written")
                for shard, file in enumerate(self._files):
                    self._write_index(shard, file)
        finally:
            for file in self._files:
                os.close(file)

    def _write_index(self, shard: int, file: int) -> None:
        layout = self._layout
        index = np.full((layout.rows_per_shard, 2), NO_CHUNK, "<u8")
        stored = layout.rows_in(shard)
        index[:stored, 0] = np.arange(stored, dtype=np.uint64) * np.uint64(layout.patch_bytes)
        index[:stored, 1] = layout.patch_bytes
        body = index.tobytes()
        checksum = google_crc32c.value(body).to_bytes(CHECKSUM_BYTES, "little")
        _write_all(file, np.frombuffer(body + checksum, np.uint8), stored * layout.patch_bytes)


def _write_all(file: int, values: NDArray[np.generic], offset: int) -> None:
    view = memoryview(values.view(np.uint8).data).cast("B")
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def _array_metadata(layout: PatchLayout) -> dict[str, object]:
    shard_shape = [layout.rows_per_shard, *layout.patch_shape]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    plain = little if layout.dtype.itemsize > 1 else {"name": "bytes"}
    sharding = {
        "chunk_shape": [1, *layout.patch_shape],
        "codecs": [plain],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [layout.n_rows, *layout.patch_shape],
        "data_type": layout.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        "dimension_names": list(DIMENSIONS),
    }
