"""Every transform of Table 2 against MONAI's on the same parameters, one image at a time."""

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, Affine, GaussianSmooth, RandGaussianNoise, ScaleIntensity
from torch import Generator, Tensor

from cell_assets.methods.dynaclr.augmentation import (
    add_noise_,
    adjust_contrast_,
    affine_matrix,
    gaussian_smooth,
    resample,
    scale_intensity_,
)
from cell_assets.methods.dynaclr.parameters import AugmentationParameters

TABLE_2 = AugmentationParameters()
N = 5


def uniform(low: float, high: float, *shape: int) -> Tensor:
    """The same at every call, so that each test sees the whole range."""
    return low + torch.rand(shape, generator=Generator().manual_seed(sum(shape))) * (high - low)


def images(side: int = 32, depth: int = 4) -> Tensor:
    return torch.randn(N, depth, side, side, generator=Generator().manual_seed(1))


def test_rotation_shearing_and_scaling() -> None:
    side, stored, depth = 24, 60, 3
    given = torch.randn(N, 2, depth, stored, stored, generator=Generator().manual_seed(2))
    angle = uniform(0, TABLE_2.rotation_rad, N)
    shear = uniform(0, TABLE_2.shear, N, 2)
    scale = uniform(-TABLE_2.scale, TABLE_2.scale, N, 2)
    made = resample(given, affine_matrix(angle, shear, scale), side)
    assert made.share_outside == 0
    for i in range(N):
        theirs = Affine(
            rotate_params=float(angle[i]),
            shear_params=shear[i].tolist(),
            scale_params=(1 + scale[i]).tolist(),
            spatial_size=(side, side),
            image_only=True,
        )(given[i].flatten(0, 1))
        torch.testing.assert_close(made.patches[i].flatten(0, 1), as_tensor(theirs), atol=1e-4, rtol=0)


def test_geometry_in_space_turns_about_z() -> None:
    given = torch.randn(1, 1, 3, 60, 60, generator=Generator().manual_seed(3))
    angle, scale = torch.tensor([0.7]), torch.tensor([[0.3, -0.2]])
    made = resample(given, affine_matrix(angle, torch.zeros(1, 2), scale), 24).patches
    theirs = Affine(
        rotate_params=(0.7, 0.0, 0.0), scale_params=(1.0, 1.3, 0.8), spatial_size=(3, 24, 24), image_only=True
    )(given[0])
    torch.testing.assert_close(made[0], as_tensor(theirs), atol=1e-4, rtol=0)


def test_contrast() -> None:
    gamma = uniform(*TABLE_2.contrast_gamma, N)
    made = adjust_contrast_(images(), gamma)
    for image, g, result in zip(images(), gamma.tolist(), made, strict=True):
        torch.testing.assert_close(result, as_tensor(AdjustContrast(g)(image)), atol=1e-5, rtol=0)


def test_intensity() -> None:
    alpha = uniform(-TABLE_2.intensity_scale, TABLE_2.intensity_scale, N)
    made = scale_intensity_(images(), alpha)
    for image, a, result in zip(images(), alpha.tolist(), made, strict=True):
        theirs = ScaleIntensity(minv=None, maxv=None, factor=a)(image)
        torch.testing.assert_close(result, as_tensor(theirs), atol=1e-6, rtol=0)


def test_smoothing() -> None:
    sigma = uniform(*TABLE_2.smooth_sigma_px, 2, N)
    made = gaussian_smooth(images(), sigma)
    edge = 4  # MONAI darkens the edge with zeros, where this repeats it.
    for i, image in enumerate(images()):
        theirs = as_tensor(GaussianSmooth(sigma=sigma[:, i].tolist())(image))
        inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
        torch.testing.assert_close(made[i][inner], theirs[inner], atol=5e-4, rtol=0)


@pytest.mark.parametrize("largest", [TABLE_2.noise_sigma_phase, TABLE_2.noise_sigma_fluorescence])
def test_noise_has_the_spread_of_theirs(largest: float) -> None:
    transform = RandGaussianNoise(prob=1.0, std=largest).set_random_state(0)
    theirs = np.array([float(as_tensor(transform(torch.zeros(1, 32, 32))).std()) for _ in range(400)])
    sigma = uniform(0, largest, 400)
    ours = add_noise_(torch.zeros(400, 1, 32, 32), sigma, Generator().manual_seed(0)).std((1, 2, 3)).numpy()
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    np.testing.assert_allclose(
        np.quantile(ours, quantiles), np.quantile(theirs, quantiles), atol=0.12 * largest
    )


def as_tensor(theirs: object) -> Tensor:
    """MONAI's result without its metadata."""
    return torch.as_tensor(np.asarray(theirs))
