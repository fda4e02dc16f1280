"""Focus by the power spectrum: known slopes, and blur that must never look sharper."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from cell_assets.imaging.quality.focus import plane_focus, sharpest_plane


def power_law(side: int, exponent: float, seed: int) -> np.ndarray:
    """An image whose power falls as frequency to the `exponent`."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, (side, side))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = np.inf
    return np.fft.ifft2(frequency ** (exponent / 2) * np.exp(1j * phases)).real


@pytest.mark.parametrize("exponent", [0.0, -1.0, -2.0, -3.0])
def test_the_slope_of_a_power_law_is_its_exponent(exponent: float) -> None:
    focus = plane_focus(1000 + power_law(256, exponent, 3))
    assert focus is not None
    assert focus.slope == pytest.approx(exponent, abs=0.15)


def test_the_high_share_of_white_noise_is_the_area_of_its_ring() -> None:
    focus = plane_focus(np.random.default_rng(0).normal(size=(512, 512)))
    assert focus is not None
    area = np.pi * (0.5**2 - 0.125**2), np.pi * (0.5**2 - (1 / 64) ** 2)
    assert focus.high_frequency_share == pytest.approx(area[0] / area[1], abs=0.01)


def test_blur_lowers_the_slope_by_what_its_transfer_function_says() -> None:
    """A Gaussian of sd s multiplies power by exp(-(2 pi s f)^2): linear in s^2, with a slope from the fit."""
    side, sigma = 512, 1.2
    sharp = power_law(side, -2.0, 5)
    blurred = np.fft.ifft2(ndi.fourier_gaussian(np.fft.fft2(sharp), sigma)).real
    before, after = plane_focus(sharp), plane_focus(blurred)
    assert before is not None and after is not None
    edges = np.geomspace(1 / 64, 0.5, 25)
    frequency = np.sqrt(edges[:-1] * edges[1:])
    expected = linregress(np.log(frequency), -((2 * np.pi * sigma * frequency) ** 2)).slope
    assert after.slope - before.slope == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("shape", [(64, 80), (48, 45), (75, 100)])
def test_focus_is_that_of_the_whole_spectrum(shape: tuple[int, int]) -> None:
    """The real transform leaves mirrored coefficients out; numpy's complex one holds them all."""
    image = np.random.default_rng(4).gamma(2.0, 50.0, shape)
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in shape))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    edges = np.geomspace(1 / 64, 0.5, 25)
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    middle = np.sqrt(edges[:-1] * edges[1:])
    present = [k for k, ring in enumerate(rings) if ring.any()]
    slope = linregress(np.log(middle[present]), [np.log(power[rings[k]].mean()) for k in present]).slope
    high = sum(power[ring].sum() for ring, at in zip(rings, middle, strict=True) if at >= 0.125)
    found = plane_focus(image)
    assert found is not None
    assert found.slope == pytest.approx(slope, rel=1e-3)
    assert found.high_frequency_share == pytest.approx(
        high / sum(power[ring].sum() for ring in rings), rel=1e-4
    )


@settings(max_examples=40)
@given(
    st.integers(0, 1000),
    st.sampled_from([(96, 96), (128, 80), (75, 161)]),
    st.floats(0.3, 1.5),
    st.floats(0.2, 1.5),
)
def test_more_blur_is_never_sharper(seed: int, shape: tuple[int, int], sigma: float, further: float) -> None:
    image = np.random.default_rng(seed).normal(200, 20, shape)
    less, more = (plane_focus(ndi.gaussian_filter(image, s)) for s in (sigma, sigma + further))
    assert less is not None and more is not None
    assert more.slope < less.slope
    assert more.high_frequency_share < less.high_frequency_share


def test_brightness_and_contrast_do_not_matter() -> None:
    image = np.random.default_rng(1).integers(0, 200, (64, 64)).astype(np.uint16)
    one, other = plane_focus(image), plane_focus(image * 5 + 1000)
    assert one is not None and other is not None
    assert other.slope == pytest.approx(one.slope, rel=1e-4)
    assert other.high_frequency_share == pytest.approx(one.high_frequency_share, rel=1e-4)


def test_the_sharpest_plane_of_a_stack_is_found() -> None:
    image = np.random.default_rng(2).normal(size=(64, 64))
    stack = np.stack([ndi.gaussian_filter(image, sigma) for sigma in (3, 1, 0.5, 2)])
    found = sharpest_plane(stack)
    assert found is not None and found.z == 2
    assert found.focus == plane_focus(stack[2])


def test_what_has_no_spectrum_has_no_focus() -> None:
    assert plane_focus(np.full((64, 64), 7, np.uint8)) is None
    assert plane_focus(np.arange(12.0).reshape(2, 6)) is None
    assert sharpest_plane(np.full((2, 64, 64), 7, np.uint8)) is None
