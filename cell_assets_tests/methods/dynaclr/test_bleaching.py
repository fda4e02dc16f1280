"""Dimmed patches have the light and the noise of fewer photons."""

import numpy as np
import pytest
import torch
from torch import Generator

from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.bleaching import dimmed, noise_sd

KINDS = (ChannelKind.PHASE, ChannelKind.FLUORESCENCE)


def photons(mean: float, seed: int) -> torch.Tensor:
    """(4, 2, 3, 64, 64): phase of 1, and Poisson light."""
    light = np.random.default_rng(seed).poisson(mean, (4, 3, 64, 64)).astype(np.float32)
    return torch.stack([torch.ones(4, 3, 64, 64), torch.from_numpy(light)], dim=1)


def test_noise_is_found_below_a_smooth_image() -> None:
    slope = torch.linspace(0, 50, 64).expand(2, 3, 64, 64)
    noise = 3 * torch.randn(2, 3, 64, 64, generator=Generator().manual_seed(0))
    assert noise_sd(slope + noise).numpy() == pytest.approx(3, rel=0.05)
    assert noise_sd(slope).numpy() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("remaining", [0.75, 0.25])
def test_mean_and_variance_fall_together_as_those_of_photons(remaining: float) -> None:
    bright = photons(400, seed=1)
    dim = dimmed(bright, KINDS, remaining, Generator().manual_seed(2))
    fewer = photons(400 * remaining, seed=3)[:, 1]
    assert dim[:, 1].mean().item() == pytest.approx(fewer.mean().item(), rel=0.01)
    assert dim[:, 1].var().item() == pytest.approx(fewer.var().item(), rel=0.05)
    assert torch.equal(dim[:, 0], bright[:, 0])


def test_all_of_the_light_leaves_every_bit() -> None:
    bright = photons(50, seed=1)
    assert torch.equal(dimmed(bright, KINDS, 1.0, Generator().manual_seed(2)), bright)


def test_the_same_seed_dims_alike() -> None:
    bright = photons(50, seed=1)
    first, again, other = (dimmed(bright, KINDS, 0.5, Generator().manual_seed(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
