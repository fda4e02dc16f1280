"""TIFF volumes of several writers' layouts; wherever the file is cut, it is refused or still reads the same."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cell_assets.errors import BadInputError
from cell_assets.imaging.tiff_volumes import inspect_tiff, read_tiff
from cell_assets_tests.imaging.source_plates import noise

LAYOUTS = {
    "plain": {},
    "ImageJ": {"imagej": True},
    "compressed strips": {"compression": "zlib", "rowsperstrip": 3},
    "a directory per plane": {"metadata": None, "contiguous": False},
    "OME": {"ome": True, "metadata": {"axes": "ZYX"}},
    "BigTIFF": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "tiles": {"tile": (16, 16)},
}


def write(path: Path, pixels: np.ndarray, layout: str) -> None:
    tifffile.imwrite(path, pixels, photometric="minisblack", **LAYOUTS[layout])


@pytest.mark.parametrize(
    ("layout", "shape"),
    # The OME layout names the axes of a stack, so a single plane cannot be written in it.
    [(layout, (3, 10, 12)) for layout in LAYOUTS]
    + [(layout, (10, 12)) for layout in LAYOUTS if layout != "OME"],
)
def test_every_layout_reads(tmp_path: Path, layout: str, shape: tuple[int, ...]) -> None:
    pixels = noise(shape)
    write(tmp_path / "a.tif", pixels, layout)
    stack = pixels.reshape(-1, 10, 12)
    assert inspect_tiff(tmp_path / "a.tif").shape == stack.shape
    assert inspect_tiff(tmp_path / "a.tif").dtype == np.dtype("uint16")
    assert np.array_equal(read_tiff(tmp_path / "a.tif"), stack)
    assert read_tiff(tmp_path / "a.tif").dtype.isnative
    for z in range(len(stack)):
        assert np.array_equal(read_tiff(tmp_path / "a.tif", slice(z, z + 2)), stack[z : z + 2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_cut_is_seen(tmp_path: Path, layout: str) -> None:
    pixels = noise((3, 10, 12))
    write(tmp_path / "whole.tif", pixels, layout)
    content = (tmp_path / "whole.tif").read_bytes()
    cut = tmp_path / "cut.tif"
    refused = 0
    for kept in range(0, len(content), 7):
        cut.write_bytes(content[:kept])
        try:
            inspect_tiff(cut)
            read = read_tiff(cut)
        except BadInputError as error:
            assert str(error).startswith(f"{cut}: ")
            refused += 1
        else:
            assert np.array_equal(read, pixels)
    assert refused > 0.5 * len(content) / 7


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_types_are_kept(tmp_path: Path, dtype: str) -> None:
    write(tmp_path / "a.tif", noise((10, 12), dtype), "plain")
    assert read_tiff(tmp_path / "a.tif").dtype == np.dtype(dtype)


def test_planes_of_two_shapes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(noise((10, 12)), photometric="minisblack")
        tiff.write(noise((10, 13)), photometric="minisblack")
    with pytest.raises(BadInputError, match=r"planes of different shapes \(\(10, 12\), \(10, 13\)\)"):
        inspect_tiff(tmp_path / "a.tif")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no such file"):
        inspect_tiff(tmp_path / "a.tif")
