"""Zarr below the level of plates: shards written chunk by chunk, holes found, volumes read in parts."""

from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from iohub.ngff import open_ome_zarr
from iohub.ngff.models import TransformationMeta
from numcodecs import Blosc as BloscV2
from numcodecs import Delta
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from cell_assets.imaging.ome_zarr_plate import (
    CHUNK_LIMIT_BYTES,
    SHARD_LIMIT_BYTES,
    ImageWriter,
    NewImage,
    Spacing,
    chunk_layout,
    create_plate,
    open_image,
    slabs,
)
from cell_assets.imaging.zarr_chunks import missing_chunks
from cell_assets.imaging.zarr_reading import VolumeReader
from cell_assets.imaging.zarr_shards import ShardWriter, checksum_chunks
from cell_assets_tests.imaging.source_plates import noise

BLOSC = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")


def sharded(
    path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], shards: tuple[int, ...]
) -> zarr.Array:
    return zarr.create_array(
        path, shape=shape, chunks=chunks, shards=shards, dtype="uint16", compressors=(BLOSC, Crc32cCodec())
    )


def chunk_of(pixels: np.ndarray, at: tuple[int, ...], chunks: tuple[int, ...]) -> np.ndarray:
    return pixels[tuple(slice(i * n, (i + 1) * n) for i, n in zip(at, chunks, strict=True))]


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    chunks=st.tuples(*[st.integers(1, 3)] * 3),
    ratio=st.tuples(*[st.integers(1, 3)] * 3),
)
@settings(max_examples=40)
def test_shards_read_back_in_zarr_and_tensorstore(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    ratio: tuple[int, ...],
) -> None:
    path = tmp_path_factory.mktemp("shards") / "array"
    shards = tuple(n * k for n, k in zip(chunks, ratio, strict=True))
    array = sharded(path, shape, chunks, shards)
    pixels = noise(shape)
    writer = ShardWriter(array, path)
    for shard in np.ndindex(*(-(-n // s) for n, s in zip(shape, shards, strict=True))):
        for inner in np.ndindex(*ratio):
            at = tuple(s * k + i for s, k, i in zip(shard, ratio, inner, strict=True))
            if all(i * n < length for i, n, length in zip(at, chunks, shape, strict=True)):
                writer.write(at, chunk_of(pixels, at, chunks))
    assert np.array_equal(zarr.open_array(path, mode="r")[:], pixels)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    assert np.array_equal(tensorstore.open(spec, read=True).result().read().result(), pixels)
    assert list(missing_chunks(array, path)) == []


def test_a_shard_left_unfinished_is_found(tmp_path: Path) -> None:
    array = sharded(tmp_path, (4, 2, 8), (1, 1, 8), (2, 2, 8))
    writer = ShardWriter(array, tmp_path)
    for at in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0)]:
        writer.write(at, noise((1, 1, 8)))
    writer.close()
    (hole,) = missing_chunks(array, tmp_path)
    assert (hole.file, hole.start) == ("c/1/0/0", (2, 0, 0))


@pytest.mark.parametrize("second", [(0, 0, 0), (2, 0, 0)])
def test_a_chunk_twice_or_out_of_turn(tmp_path: Path, second: tuple[int, ...]) -> None:
    writer = ShardWriter(sharded(tmp_path, (4, 2, 8), (1, 1, 8), (2, 2, 8)), tmp_path)
    writer.write((0, 0, 0), noise((1, 1, 8)))
    with pytest.raises(ValueError, match=r"written twice|begins while 3 chunks"):
        writer.write(second, noise((1, 1, 8)))


def test_other_encodings_are_refused_for_writing(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path, shape=(4, 4), chunks=(2, 2), dtype="uint8", compressors=ZstdCodec())
    with pytest.raises(ValueError, match="is not sharded with checked Blosc"):
        ShardWriter(array, tmp_path)


def test_chunks_that_zarr_leaves_out_of_a_shard_are_holes(tmp_path: Path) -> None:
    array = sharded(tmp_path, (3, 2, 8), (1, 1, 8), (2, 2, 8))
    pixels = noise((3, 2, 8))
    pixels[1, 0] = 0
    array[:] = pixels
    (hole,) = missing_chunks(array, tmp_path)
    assert hole.start == (1, 0, 0)
    assert hole.why == "the shard's index does not list it"


@pytest.mark.parametrize("kept", [0, 10, 66])
def test_a_truncated_shard(tmp_path: Path, kept: int) -> None:
    array = sharded(tmp_path, (2, 2, 8), (1, 1, 8), (2, 2, 8))
    array[:] = noise((2, 2, 8))
    file = tmp_path / "c" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:kept])
    (hole,) = missing_chunks(array, tmp_path)
    assert hole.why == "the file is too short for its shard index"


def test_a_shard_that_lost_its_beginning(tmp_path: Path) -> None:
    array = sharded(tmp_path, (2, 2, 8), (1, 1, 8), (2, 2, 8))
    array[:] = noise((2, 2, 8))
    file = tmp_path / "c" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[-80:])
    holes = list(missing_chunks(array, tmp_path))
    assert holes
    assert all("the shard ends at byte 80" in hole.why for hole in holes)


@pytest.mark.parametrize("separator", [".", "/"])
def test_holes_of_version_2(tmp_path: Path, separator: str) -> None:
    array = zarr.create_array(
        tmp_path,
        shape=(3, 5),
        chunks=(1, 2),
        dtype="uint8",
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    array[:] = 1
    (tmp_path / f"2{separator}1").unlink()
    (hole,) = missing_chunks(array, tmp_path)
    assert (hole.file, hole.start) == (f"2{separator}1", (2, 2))


ENCODINGS = {
    "v3 blosc": {"compressors": BLOSC},
    "v3 zstd": {"compressors": ZstdCodec()},
    "v3 gzip": {"compressors": GzipCodec()},
    "v3 plain": {"compressors": None},
    "v2 blosc": {"zarr_format": 2, "compressors": BloscV2(cname="lz4", shuffle=1)},
    "v2 Fortran order": {"zarr_format": 2, "order": "F", "compressors": BloscV2()},
    "v2 filter": {"zarr_format": 2, "filters": [Delta("u2")], "compressors": BloscV2()},
    "v2 big-endian": {"zarr_format": 2, "dtype": ">u2", "compressors": BloscV2()},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_of_volumes_of_any_encoding(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, data: st.DataObject
) -> None:
    """Every slab of every volume equals zarr's own slice, whatever the chunks."""
    shape = data.draw(st.tuples(*(st.integers(1, n) for n in (3, 2, 7, 6, 5))))
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    if data.draw(st.booleans()):  # whole planes, as most plates have
        chunks = (1, 1, chunks[2], *shape[3:])
    path = tmp_path_factory.mktemp("array")
    options = {"dtype": "uint16", "shape": shape, "chunks": chunks} | ENCODINGS[encoding]
    array = zarr.create_array(path, **options)
    pixels = noise(shape)
    array[:] = pixels
    reader = VolumeReader()
    step = data.draw(st.integers(1, shape[2]))
    for t, channel in np.ndindex(*shape[:2]):
        for z in slabs(shape[2], step):
            part = reader.read(array, "tczyx", (t, channel, z, slice(None), slice(None)))
            assert np.array_equal(part, pixels[t, channel, z])


@pytest.mark.parametrize("damage", ["cut", "lengthen", "header", "empty"])
def test_a_damaged_blosc_chunk_is_no_pixels(tmp_path: Path, damage: str) -> None:
    array = zarr.create_array(
        tmp_path, shape=(1, 1, 8, 32, 32), chunks=(1, 1, 8, 32, 32), dtype="uint16", compressors=BLOSC
    )
    array[:] = noise((1, 1, 8, 32, 32))
    file = tmp_path / "c" / "0" / "0" / "0" / "0" / "0"
    content = file.read_bytes()
    file.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "lengthen": content + b"\0" * 8,
            "header": content[:4] + b"\1" + content[5:],
            "empty": b"",
        }[damage]
    )
    with pytest.raises(RuntimeError, match="a Blosc chunk of"):
        VolumeReader().read(array, "tczyx", (0, 0, slice(0, 4), slice(None), slice(None)))


@given(
    st.tuples(
        st.integers(1, 10_000),
        st.integers(1, 8),
        st.integers(1, 300),
        st.integers(1, 3000),
        st.integers(1, 3000),
    )
)
def test_the_layout_holds_its_limits(shape: tuple[int, int, int, int, int]) -> None:
    dtype = np.dtype("uint16")
    chunks, ratio = chunk_layout(shape, dtype)
    plane_bytes = shape[3] * shape[4] * 2
    chunk_bytes, n_chunks = int(np.prod(chunks)) * 2, int(np.prod(ratio))
    assert chunk_bytes <= max(CHUNK_LIMIT_BYTES, plane_bytes)
    assert chunks[2] * ratio[2] >= shape[2] > chunks[2] * (ratio[2] - 1)
    frame_chunks = shape[1] * ratio[2]
    assert n_chunks <= max(1024, frame_chunks)
    frame_bytes = plane_bytes * shape[1] * shape[2]
    assert ratio[0] * frame_bytes <= max(SHARD_LIMIT_BYTES, frame_bytes)


def test_a_written_plate_reads_back_and_is_written_the_same_again(tmp_path: Path) -> None:
    pixels = noise((5, 2, 3, 16, 20))
    for name in ("one", "two"):
        create_plate(
            tmp_path / name,
            ("a", "b"),
            Spacing(2.0, 0.5, 0.25, 10.0),
            [NewImage("A/1/000", pixels.shape, pixels.dtype)],
        )
        writer = ImageWriter(tmp_path / name, "A/1/000")
        for t, channel in np.ndindex(5, 2):
            writer.write(t, channel, pixels[t, channel])
    assert np.array_equal(open_image(tmp_path / "one", "A/1/000").read().result(), pixels)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()}
        for n in ("one", "two")
    )
    assert one == two


def test_metadata_is_what_iohub_writes_for_every_position_itself(tmp_path: Path) -> None:
    names = ["B/3/000", "A/10/000", "A/10/001", "B/10/000", "B/3/002", "A/3/x"]
    shapes = [
        (2, 2, 1, 8, 8),
        (2, 2, 1, 8, 8),
        (3, 2, 1, 8, 8),
        (2, 2, 1, 8, 8),
        (2, 2, 1, 8, 8),
        (1, 2, 1, 8, 8),
    ]
    images = [NewImage(name, shape, np.dtype("uint16")) for name, shape in zip(names, shapes, strict=True)]
    create_plate(tmp_path / "ours.zarr", ("a", "b"), Spacing(None, 0.5, 0.5, 1.0), images)
    create_plate(tmp_path / "axes.zarr", ("a", "b"), Spacing(None, 0.5, 0.5, 1.0), images[:1])
    with open_ome_zarr(tmp_path / "axes.zarr", mode="r") as one:
        axes = one["B/3/000"].axes
    with open_ome_zarr(
        tmp_path / "theirs.zarr", layout="hcs", mode="w-", channel_names=["a", "b"], axes=axes, version="0.5"
    ) as plate:
        for node, image in zip(
            plate.create_positions([tuple(name.split("/")) for name in names]), images, strict=True
        ):
            chunks, ratio = chunk_layout(image.shape, image.dtype)
            scale = TransformationMeta(type="scale", scale=[1.0, 1.0, 1.0, 0.5, 0.5])
            node.create_zeros(
                "0", image.shape, image.dtype, chunks=chunks, shards_ratio=ratio, transform=[scale]
            )
    for image in images:
        checksum_chunks(tmp_path / "theirs.zarr" / image.name / "0")
    ours, theirs = (
        {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("zarr.json")}
        for folder in (tmp_path / "ours.zarr", tmp_path / "theirs.zarr")
    )
    assert ours == theirs
