"""Byte ranges of inner chunks: written by zarr-python, found and decoded here, and nothing else is read."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle

from cell_assets.errors import BadInputError, ChangedBytesError
from cell_assets.imaging.chunk_ranges import open_sharded

SHAPE, CHUNK, SHARD = (5, 2, 3, 30, 21), (1, 1, 2, 30, 8), (4, 1, 4, 30, 16)


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint16]]:
    folder = tmp_path_factory.mktemp("arrays")
    pixels = np.random.default_rng(0).integers(0, 2**16, SHAPE).astype("uint16")
    array = zarr.create_array(
        folder / "a",
        shape=SHAPE,
        dtype="uint16",
        chunks=CHUNK,
        shards=SHARD,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle=BloscShuffle.bitshuffle),
    )
    array[:] = pixels
    return folder, pixels


@settings(max_examples=60)
@given(part=st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in SHAPE)))
def test_the_chunks_of_any_part_give_it_back(
    plate: tuple[Path, NDArray[np.uint16]], part: tuple[tuple[int, int], ...]
) -> None:
    folder, pixels = plate
    part = tuple((min(a, b - 1), max(a + 1, b)) for a, b in part)
    array = open_sharded(folder, "a")
    chunks = array.chunks_of(part)
    assert np.array_equal(array.read(part, chunks), pixels[tuple(slice(*span) for span in part)])
    covered = np.zeros(SHAPE, bool)
    for chunk in chunks:
        inside = tuple(slice(a, b) for a, b in zip(chunk.start, chunk.stop, strict=True))
        assert not covered[inside].any()
        covered[inside] = True
    assert covered[tuple(slice(*span) for span in part)].all()


def test_only_the_named_bytes_are_read(plate: tuple[Path, NDArray[np.uint16]], tmp_path: Path) -> None:
    folder, pixels = plate
    part = [(2, 3), (1, 2), (0, 2), (3, 9), (1, 7)]
    (chunk,) = open_sharded(folder, "a").chunks_of(part)
    copy = tmp_path / "a"
    (copy / chunk.file.removeprefix("a/")).parent.mkdir(parents=True)
    (copy / "zarr.json").write_bytes((folder / "a" / "zarr.json").read_bytes())
    whole = (folder / chunk.file).read_bytes()
    kept = bytearray(len(whole))
    kept[chunk.offset : chunk.offset + chunk.n_bytes] = whole[chunk.offset : chunk.offset + chunk.n_bytes]
    (tmp_path / chunk.file).write_bytes(kept)
    found = open_sharded(tmp_path, "a").read(part, [chunk])
    assert np.array_equal(found, pixels[2:3, 1:2, 0:2, 3:9, 1:7])
    with pytest.raises(ChangedBytesError, match="its index does not match its checksum"):
        open_sharded(tmp_path, "a").chunks_of(part)
    (tmp_path / chunk.file).write_bytes(b"short")
    with pytest.raises(ChangedBytesError, match="shorter than its own index"):
        open_sharded(tmp_path, "a").chunks_of(part)


def test_what_is_no_sharded_array_is_named(plate: tuple[Path, NDArray[np.uint16]], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"zarr\.json: no sharded array"):
        open_sharded(tmp_path, "nothing")
    zarr.create_array(tmp_path / "plain", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    with pytest.raises(BadInputError, match=r"zarr\.json: no sharded array"):
        open_sharded(tmp_path, "plain")
