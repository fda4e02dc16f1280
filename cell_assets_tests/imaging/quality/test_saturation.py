"""Saturation levels, and shares counted by hand."""

import numpy as np
import pytest

from cell_assets.imaging.quality.saturation import LevelSource, SaturationLevel, pixels_at, saturation_level


@pytest.mark.parametrize(
    ("dtype", "largest", "value", "source"),
    [
        ("uint16", 4095, 4095, LevelSource.LARGEST_PIXEL),
        ("uint16", 1023, 1023, LevelSource.LARGEST_PIXEL),
        ("uint16", 16383, 16383, LevelSource.LARGEST_PIXEL),
        ("uint16", 4094, 65535, LevelSource.DTYPE),
        ("uint16", 65535, 65535, LevelSource.DTYPE),
        ("uint8", 255, 255, LevelSource.DTYPE),
        ("uint8", 100, 255, LevelSource.DTYPE),
        ("int16", 4095, 4095, LevelSource.LARGEST_PIXEL),
        ("int16", 9, 32767, LevelSource.DTYPE),
    ],
)
def test_level(dtype: str, largest: int, value: int, source: LevelSource) -> None:
    assert saturation_level(np.dtype(dtype), float(largest)) == SaturationLevel(value, source)


def test_real_numbers_have_no_level() -> None:
    assert saturation_level(np.dtype("float32"), 4095.0) is None


def test_pixels_are_counted() -> None:
    pixels = np.array([[4095, 4095, 1023], [65535, 0, 4094]], np.uint16)
    assert pixels_at(pixels, (1023, 4095, 16383, 65535)).tolist() == [1, 2, 0, 1]
