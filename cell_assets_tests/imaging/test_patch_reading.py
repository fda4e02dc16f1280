import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorstore as ts
import zarr

from cell_assets.errors import BadInputError, ChangedBytesError
from cell_assets.imaging import patch_store
from cell_assets.imaging.patch_reading import PatchTable, open_patch_table
from cell_assets.imaging.patch_store import PatchLayout, PatchWriter
from cell_assets.imaging.patches import NormalisationLevel, PatchRequest
from cell_assets_tests.imaging.array_source import dividing_movie
from cell_assets_tests.imaging.test_patches import make

SHAPE = (12, 2, 3, 4, 5)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of 12 rows (1, 1, 9, 9), whose patches tests may replace."""
    image, _, tracks = dividing_movie()
    make(tmp_path, image, tracks, PatchRequest(side_px=9))
    return tmp_path / "table"


def replace_patches(table: Path, values: np.ndarray, **sharding: object) -> None:
    """Write `values` over the table's patches by TensorStore, with another encoding."""
    root = table / "patches.zarr"
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    configuration = {
        "chunk_shape": [1, *values.shape[1:]],
        "codecs": [little],
        "index_codecs": [little, {"name": "crc32c"}],
    } | sharding
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{root}/"},
        "metadata": {
            "shape": list(values.shape),
            "data_type": values.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, *values.shape[1:]]}},
            "codecs": [{"name": "sharding_indexed", "configuration": configuration}],
        },
        "store_data_equal_to_fill_value": True,
    }
    ts.open(spec, create=True, delete_existing=True).result().write(values).result()


def read_both_ways(path: Path, rows: np.ndarray) -> np.ndarray:
    through, mapped = open_patch_table(path, memory_map=False), open_patch_table(path)
    assert not through.is_memory_mapped
    np.testing.assert_array_equal(mapped.read(rows), through.read(rows))
    return mapped.read(rows)


ENCODINGS = {
    "plain": ({}, True),
    "index first": ({"index_location": "start"}, True),
    "big endian": ({"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]}, True),
    "compressed": (
        {
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 1}},
            ]
        },
        False,
    ),
    "index without checksum": (
        {"index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]},
        False,
    ),
}


@pytest.mark.parametrize(
    ("sharding", "mapped", "dtype"),
    [
        pytest.param(sharding, mapped, dtype, id=f"{name}-{dtype.__name__}")
        for name, (sharding, mapped) in ENCODINGS.items()
        for dtype in (np.uint8, np.uint16, np.float32)
        # One byte has no order, and its codec takes none.
        if not (dtype is np.uint8 and "codecs" in sharding)
    ],
)
def test_memory_map_and_tensorstore_agree(table: Path, dtype: type, sharding: dict, mapped: bool) -> None:
    values = np.random.default_rng(0).integers(0, 255, SHAPE).astype(dtype)
    values[3] = 0
    replace_patches(table, values, **sharding)
    rows = np.array([11, 0, 3, 3, 7, 5, 4])
    np.testing.assert_array_equal(read_both_ways(table, rows), values[rows])
    assert open_patch_table(table).is_memory_mapped is mapped


def test_a_patch_that_is_not_stored_is_read_as_zarr_reads_it(table: Path) -> None:
    values = np.ones(SHAPE, np.uint16)
    replace_patches(table, values)
    root = table / "patches.zarr"
    array = zarr.open_array(root, mode="r+")
    array[2] = 0  # zarr leaves a chunk of zeros out
    values[2] = 0
    np.testing.assert_array_equal(read_both_ways(table, np.arange(12)), values)


@pytest.mark.parametrize("rows_per_shard", [1, 5, 12])
def test_rows_written_in_any_order_are_ordinary_zarr(
    table: Path, monkeypatch: pytest.MonkeyPatch, rows_per_shard: int
) -> None:
    values = np.random.default_rng(0).integers(0, 999, SHAPE).astype(np.uint16)
    layout = PatchLayout(12, SHAPE[1:], values.dtype)
    monkeypatch.setattr(patch_store, "SHARD_BYTES", rows_per_shard * layout.patch_bytes)
    root = table / "patches.zarr"
    (root).rename(table / "old")
    with PatchWriter(root, layout) as writer:
        for row in np.random.default_rng(1).permutation(12):
            writer.write(int(row), values[row])
    np.testing.assert_array_equal(zarr.open_array(root, mode="r")[:], values)
    np.testing.assert_array_equal(read_both_ways(table, np.arange(12)[::-1]), values[::-1])
    assert open_patch_table(table).is_memory_mapped


def test_a_row_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    layout = PatchLayout(2, (1, 1, 2, 2), np.dtype(np.uint8))
    with (
        pytest.raises(RuntimeError, match="row 1 was not written"),
        PatchWriter(tmp_path / "p.zarr", layout) as writer,
    ):
        writer.write(0, np.zeros((1, 1, 2, 2), np.uint8))


def test_a_full_disk_is_said_before_writing(tmp_path: Path) -> None:
    layout = PatchLayout(2**40, (1, 1, 64, 64), np.dtype(np.uint8))
    with (
        pytest.raises(BadInputError, match=r"the disk has [\d,]+ free"),
        PatchWriter(tmp_path / "p.zarr", layout),
    ):
        pass


def test_a_changed_index_is_refused(table: Path) -> None:
    shard = table / "patches.zarr" / "c" / "0" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-10] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ChangedBytesError, match="does not match its checksum"):
        open_patch_table(table)


def test_rows_outside_the_table_are_refused(table: Path) -> None:
    for rows in ([12], [-1]):
        with pytest.raises(IndexError, match=r"not within 0\.\.11"):
            open_patch_table(table).read(rows)
    assert open_patch_table(table).read([]).shape == (0, 1, 1, 9, 9)


def test_another_process_opens_it_anew(table: Path) -> None:
    opened = open_patch_table(table)
    handed = pickle.dumps(opened)
    assert len(handed) < 1000
    copy: PatchTable = pickle.loads(handed)  # noqa: S301 - our own bytes, of a line above
    np.testing.assert_array_equal(copy.read([5, 2]), opened.read([5, 2]))


def test_scalings_come_per_row_and_channel(table: Path) -> None:
    opened = open_patch_table(table)
    shift, scale = opened.scaling(NormalisationLevel.TIME)
    cells: pd.DataFrame = opened.cells
    assert shift.shape == scale.shape == (12, 1)
    np.testing.assert_allclose(shift[:, 0], cells["shift_time_0"])


def test_a_folder_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"patch_table\.json: cannot be read"):
        open_patch_table(tmp_path)
