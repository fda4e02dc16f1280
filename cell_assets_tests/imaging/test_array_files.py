"""A damaged file of an array, told to the chunk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.imaging.array_files import ArrayFiles
from cell_assets.imaging.chunk_ranges import open_sharded
from cell_assets.imaging.ome_zarr_plate import ImageWriter, NewImage, Spacing, create_plate
from cell_assets_tests.imaging.source_plates import noise

SHAPE = (5, 2, 3, 16, 20)
IMAGE = "plate.zarr/A/1/000/0"
SHARD = f"{IMAGE}/c/0/0/0/0/0"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    image = NewImage("A/1/000", SHAPE, np.dtype("uint16"))
    create_plate(folder / "plate.zarr", ("a", "b"), Spacing(2.0, 0.5, 0.25, 10.0), [image])
    writer = ImageWriter(folder / "plate.zarr", "A/1/000")
    pixels = noise(SHAPE)
    for t, channel in np.ndindex(*SHAPE[:2]):
        writer.write(t, channel, pixels[t, channel])
    return folder


@given(st.data())
@settings(max_examples=200)
def test_one_flipped_bit_names_the_chunk_that_holds_it(artifact: Path, data: st.DataObject) -> None:
    file = artifact / SHARD
    sound = file.read_bytes()
    at = data.draw(st.integers(0, len(sound) - 1))
    chunks = open_sharded(artifact, IMAGE).chunks_of([(0, n) for n in SHAPE])
    hit = [one for one in chunks if one.offset <= at < one.offset + one.n_bytes]
    try:
        file.write_bytes(
            sound[:at] + bytes([sound[at] ^ (1 << data.draw(st.integers(0, 7)))]) + sound[at + 1 :]
        )
        region = ArrayFiles(artifact).region(SHARD, changed=True)
    finally:
        file.write_bytes(sound)
    assert region is not None
    assert [tuple(first for _, first, _ in ranges) for ranges in region.damaged] == [one.start for one in hit]
    assert [tuple(stop for _, _, stop in ranges) for ranges in region.damaged] == [one.stop for one in hit]
    # Outside every chunk lies the index, whose loss says nothing of the chunks.
    assert bool(hit) == ("damaged at t " in region.text())


def test_the_words_name_a_few_chunks(artifact: Path) -> None:
    file = artifact / SHARD
    sound = file.read_bytes()
    chunks = open_sharded(artifact, IMAGE).chunks_of([(0, n) for n in SHAPE])
    damaged = bytearray(sound)
    for one in chunks[:5]:
        damaged[one.offset] ^= 1
    try:
        file.write_bytes(damaged)
        region = ArrayFiles(artifact).region(SHARD, changed=True)
    finally:
        file.write_bytes(sound)
    assert region is not None
    frame = "z 0 to 2, y 0 to 15, x 0 to 19"
    assert region.text() == (
        f"{IMAGE}: t 0 to 4, c 0 to 1, {frame}, damaged at t 0, c 0, {frame}; t 0, c 1, {frame}; "
        f"t 1, c 0, {frame} and 2 more chunks"
    )


@pytest.mark.parametrize("file", [f"{IMAGE}/zarr.json", "cells.parquet", f"{IMAGE}/c/0", "elsewhere/c/0/0"])
def test_what_is_no_chunk_has_no_region(artifact: Path, file: str) -> None:
    assert ArrayFiles(artifact).region(file, changed=True) is None


@given(st.data())
@settings(max_examples=300)
def test_damaged_metadata_beside_a_damaged_shard_is_no_crash(artifact: Path, data: st.DataObject) -> None:
    """Any byte of `zarr.json` replaced by any other."""
    file, metadata = artifact / SHARD, artifact / IMAGE / "zarr.json"
    sound, said = file.read_bytes(), metadata.read_bytes()
    at = data.draw(st.integers(0, len(said) - 1))
    try:
        file.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
        metadata.write_bytes(said[:at] + bytes([data.draw(st.integers(0, 255))]) + said[at + 1 :])
        region = ArrayFiles(artifact).region(SHARD, changed=True)
    finally:
        file.write_bytes(sound)
        metadata.write_bytes(said)
    assert region is None or region.file == SHARD
