"""Flatness of a known illumination under cells at random places."""

import numpy as np
import pytest

from cell_assets.imaging.quality.flatness import MAX_FOVS, MIN_FOVS, IlluminationSample


def sample(illumination: np.ndarray, n: int) -> IlluminationSample:
    rng = np.random.default_rng(0)
    found = IlluminationSample(n)
    for _ in range(n):
        cells = np.ones(illumination.shape)
        for y, x in rng.integers(0, 180, (6, 2)):
            cells[y : y + 20, x : x + 20] = 5.0
        found.add(illumination * cells)
    return found


def test_a_ramp_is_recovered_under_cells() -> None:
    ramp = np.broadcast_to(np.linspace(50, 100, 200), (200, 200))
    found = sample(ramp, 60).flatness()
    assert found.n_fovs == 60
    assert found.min_over_max == pytest.approx(0.5, abs=0.05)
    assert found.cv == pytest.approx(float(np.std(ramp) / np.mean(ramp)), abs=0.02)


def test_even_light_is_flat() -> None:
    found = sample(np.full((200, 200), 80.0), 60).flatness()
    assert found.min_over_max == pytest.approx(1.0, abs=0.02)
    assert found.cv == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (10, 300), (64, 64), (65, 63), (1009, 130)])
def test_any_shape_becomes_a_grid_of_block_means(shape: tuple[int, int]) -> None:
    found = IlluminationSample(MIN_FOVS)
    for _ in range(MIN_FOVS):
        found.add(np.full(shape, 7.0))
    flat = found.flatness()
    assert (flat.min_over_max, flat.cv) == pytest.approx((1.0, 0.0), abs=1e-6)


def test_few_fovs_say_why() -> None:
    found = sample(np.full((200, 200), 80.0), MIN_FOVS - 1).flatness()
    assert (
        found.cv is None and found.why_missing == "9 FOV(s) with pixels; 10 are needed to average cells away"
    )


def test_dark_or_signed_pixels_say_why() -> None:
    for value in (0.0, -3.0):
        found = IlluminationSample(MIN_FOVS)
        for _ in range(MIN_FOVS):
            found.add(np.full((64, 64), value))
        why = found.flatness().why_missing
        assert why is not None and "no meaning" in why


@pytest.mark.parametrize("n", [1, MAX_FOVS, MAX_FOVS + 1, 10_000])
def test_a_large_plate_is_thinned_evenly(n: int) -> None:
    found = IlluminationSample(n)
    kept = [fov for fov in range(n) if found.wants(fov)]
    assert kept[0] == 0 and min(n, MAX_FOVS // 2) <= len(kept) <= MAX_FOVS
    assert len(set(np.diff(kept))) <= 1
