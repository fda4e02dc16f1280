"""Intensity over background against scikit-image's Otsu threshold."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from cell_assets.imaging.histograms import PixelHistogram
from cell_assets.imaging.quality.signal import otsu_signal


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_otsus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.concatenate([rng.normal(40, 8, 3000), rng.normal(150, 25, 500)]).clip(0, 255).astype(np.uint8)
    histogram = PixelHistogram.exact(pixels.dtype)
    histogram.add(pixels)
    threshold = threshold_otsu(pixels)
    dark, bright = pixels[pixels <= threshold].mean(), pixels[pixels > threshold].mean()
    found = otsu_signal(*histogram.counts())
    assert found is not None
    assert (found.background, found.over_background) == pytest.approx((dark, bright - dark))
    assert found.threshold == pixels[pixels <= threshold].max()


def test_real_numbers_are_classed_by_bin() -> None:
    pixels = np.array([1.0] * 30 + [5.0] * 10, np.float32)
    histogram = PixelHistogram.binned(pixels.dtype, 0.0, 6.0)
    histogram.add(pixels)
    found = otsu_signal(*histogram.counts())
    assert found is not None
    assert (found.background, found.over_background) == pytest.approx((1.0, 4.0), abs=1e-4)


def test_equal_pixels_have_no_classes() -> None:
    assert otsu_signal(np.array([0, 9, 0]), np.array([0.0, 1.0, 2.0])) is None
