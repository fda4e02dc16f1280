"""Known shifts recovered, in µm."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.imaging.quality.drift import drift


def field(side: int, sigma: float, seed: int) -> np.ndarray:
    return 100 * ndi.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), sigma)


def moved(image: np.ndarray, y: float, x: float) -> tuple[np.ndarray, np.ndarray]:
    """What one sees of `image` before and after its content moved, borders cut off."""
    after = ndi.shift(image, (y, x), order=3, mode="nearest")
    return image[40:-40, 40:-40], after[40:-40, 40:-40]


@settings(max_examples=25)
@given(st.floats(-12, 12), st.floats(-12, 12), st.integers(0, 99))
def test_a_known_shift_is_recovered(y: float, x: float, seed: int) -> None:
    before, after = moved(field(240, 2.0, seed), y, x)
    noise = np.random.default_rng(seed + 1).normal(0, 1.0, (2, *before.shape))
    found = drift(before + noise[0], after + noise[1], (0.5, 0.25))
    assert found.y_um == pytest.approx(y * 0.5, abs=0.1)
    assert found.x_um == pytest.approx(x * 0.25, abs=0.05)


def test_a_still_frame_does_not_drift() -> None:
    image = field(96, 2.0, 0)
    found = drift(image, image, (1.0, 1.0))
    assert (found.y_um, found.x_um) == (0.0, 0.0)


def test_a_large_frame_is_binned_and_keeps_its_unit() -> None:
    before, after = moved(field(1180, 3.0, 4), 6.5, -9.25)
    assert max(before.shape) > 1024
    found = drift(before, after, (2.0, 2.0))
    assert (found.y_um, found.x_um) == pytest.approx((13.0, -18.5), abs=0.2)
