"""Reading raw acquisitions, the digest of their pixels, and the registry of readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.imaging.acquisition import INFO, open_acquisition
from cell_assets.imaging.ingest import ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.pixel_digest import PixelDigest, combined_digest
from cell_assets.imaging.readers.registry import detect_format, open_source, readers
from cell_assets_tests.imaging.source_plates import noise, write_ctc, write_zarr


@pytest.fixture
def acquired(tmp_path: Path) -> Path:
    source = write_zarr(tmp_path / "source.zarr", {"A/1/0": noise((3, 2, 4, 16, 20))})
    ingest(source, tmp_path / "out", IngestOptions())
    return tmp_path / "out"


def test_frames_volumes_and_images_agree(acquired: Path) -> None:
    acquisition = open_acquisition(acquired)
    pixels = noise((3, 2, 4, 16, 20))
    assert np.array_equal(acquisition.read_frame("A/1/0", 2), pixels[2])
    assert np.array_equal(acquisition.read_volume("A/1/0", 1, 1), pixels[1, 1])
    assert acquisition.image("A/1/0").shape == pixels.shape
    assert acquisition.given_labels("A/1/0", 0) is None
    assert acquisition.given_states() is None


def test_an_unknown_position(acquired: Path) -> None:
    acquisition = open_acquisition(acquired)
    for read in (acquisition.image, acquisition.given_tracks, acquisition.info.well_of):
        with pytest.raises(NotFoundError, match="no position 'B/1/0'"):
            read("B/1/0")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": "7"}, "field version: Input should be '1'"),
        ({"format": "something"}, "field format: Input should be"),
        ({"interval_min": "soon"}, "field interval_min"),
        ({"extra": 1}, "field extra"),
    ],
)
def test_another_format_or_version(acquired: Path, change: dict[str, object], expected: str) -> None:
    file = acquired / INFO
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BadInputError) as caught:
        open_acquisition(acquired)
    assert str(caught.value).startswith(f"{file}: {expected}")


def test_no_acquisition(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"acquisition\.json: cannot be read"):
        open_acquisition(tmp_path)


@given(npst.arrays(np.uint16, npst.array_shapes(min_dims=2, max_dims=4, max_side=5)), st.integers(1, 7))
def test_the_digest_does_not_know_pieces_or_byte_order(pixels: np.ndarray, step: int) -> None:
    header = f"cell_assets.pixels 1\n<u2\n{','.join(map(str, pixels.shape))}\n".encode()
    expected = blake3(header + pixels.astype("<u2").tobytes()).hexdigest()
    for given_pixels in (pixels, pixels.astype(">u2")):
        digest = PixelDigest(pixels.shape, given_pixels.dtype)
        flat = given_pixels.ravel()
        for first in range(0, flat.size, step):
            digest.update(flat[first : first + step])
        assert digest.hexdigest() == expected


def test_the_digest_knows_shape_and_type_and_counts() -> None:
    pixels = np.zeros((2, 6), np.uint8)
    digests = set()
    for shape, dtype in (((2, 6), "u1"), ((6, 2), "u1"), ((2, 3), "u2")):
        digest = PixelDigest(shape, np.dtype(dtype))
        digest.update(pixels.view(dtype))
        digests.add(digest.hexdigest())
    assert len(digests) == 3
    short = PixelDigest((3, 6), np.dtype("u1"))
    short.update(pixels)
    with pytest.raises(ValueError, match="6 pixels of the declared shape were not fed"):
        short.hexdigest()


def test_the_plates_digest_knows_which_pixels_are_whose() -> None:
    assert combined_digest([("A", "1"), ("B", "2")]) == combined_digest([("B", "2"), ("A", "1")])
    assert combined_digest([("A", "1"), ("B", "2")]) != combined_digest([("A", "2"), ("B", "1")])


def test_formats_are_found_by_looking(tmp_path: Path) -> None:
    plate = write_zarr(tmp_path / "plate.zarr", {"A/1/0": noise((1, 2, 1, 16, 20))}, "0.4")
    movie = write_ctc(tmp_path / "movie", [noise((16, 20))])
    assert [reader.format for reader in readers()] == [
        "ctc",
        "micro-manager",
        "ndtiff",
        "ome-tiff",
        "ome-zarr",
        "tiff-folder",
    ]
    assert detect_format(plate) == open_source(plate).format == "ome-zarr"
    assert detect_format(movie) == open_source(movie).format == "ctc"


def test_a_folder_of_two_formats_is_asked_about(tmp_path: Path) -> None:
    plate = write_zarr(tmp_path / "both", {"A/1/0": noise((1, 2, 1, 16, 20))})
    write_ctc(plate, [noise((16, 20))])
    with pytest.raises(BadInputError, match="could be ctc or ome-zarr; say which with --format"):
        detect_format(plate)


@pytest.mark.parametrize("source_format", ["ctc", "ome-zarr"])
def test_sources_read_frames_as_they_read_volumes(tmp_path: Path, source_format: str) -> None:
    """What every reader promises: shapes, parts along z, files below its path."""
    if source_format == "ctc":
        path = write_ctc(tmp_path / "source", [noise((3, 16, 20), seed=t) for t in range(2)])
    else:
        path = write_zarr(tmp_path / "source", {"A/1/0": noise((2, 2, 3, 16, 20))})
    source = open_source(path, source_format)
    source.check()
    (position,) = source.positions
    n_times, n_channels = position.shape[:2]
    for t in range(n_times):
        frame = source.read_frame(position.name, t)
        assert frame.shape == position.shape[1:]
        assert frame.dtype == position.dtype
        for channel in range(n_channels):
            assert np.array_equal(
                source.read_volume(position.name, t, channel, slice(1, 3)), frame[channel, 1:3]
            )
    assert {file for file in path.rglob("*") if file.is_file()} == set(source.files())
