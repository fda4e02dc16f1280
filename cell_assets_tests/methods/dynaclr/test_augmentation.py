"""Normalisation and augmentation: what must stay, what must change, and how often."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, correlate1d
from scipy.special import erf
from scipy.stats import kstest, norm
from torch import Generator, Tensor

from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.augmentation import (
    AugmentedBatch,
    PatchAugmentation,
    add_noise_,
    adjust_contrast_,
    affine_matrix,
    center_crop,
    gaussian_smooth,
    normalise,
    resample,
    scale_intensity_,
    shown_channels,
    side_without_padding,
)
from cell_assets.methods.dynaclr.parameters import AugmentationParameters

KINDS = (ChannelKind.PHASE, ChannelKind.FLUORESCENCE)
STILL = AugmentationParameters(
    affine_probability=0,
    contrast_probability=0,
    intensity_probability_phase=0,
    intensity_probability_fluorescence=0,
    smooth_probability=0,
    noise_probability=0,
)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def patches(n: int = 8, side: int = 40, depth: int = 3) -> Tensor:
    return torch.randn(n, 2, depth, side, side, generator=seeded(9))


def augmented(
    parameters: AugmentationParameters, side: int, normalised: Tensor, generator: Generator
) -> AugmentedBatch:
    """Of patches that are normalised already."""
    zero, one = (torch.full(normalised.shape[:2], value) for value in (0.0, 1.0))
    return PatchAugmentation(parameters, KINDS, side)(normalised, zero, one, generator)


def changed_share(given: Tensor, made: Tensor) -> Tensor:
    """Per channel, the share of patches that differ."""
    return ((given - made).abs().amax((2, 3, 4)) > 1e-5).float().mean(0)


def test_normalise_by_hand() -> None:
    stored = torch.tensor([100, 300, 50, 70], dtype=torch.uint16).view(1, 2, 1, 1, 2)
    made = normalise(stored, torch.tensor([[100.0, 60.0]]), torch.tensor([[200.0, 10.0]]))
    torch.testing.assert_close(made.flatten(), torch.tensor([0.0, 1.0, -1.0, 1.0]))


@pytest.mark.parametrize("side", [40, 41])
def test_without_any_change_it_is_the_center_crop(side: int) -> None:
    given = patches(side=side)
    made = augmented(STILL, 32, given, seeded())
    torch.testing.assert_close(made.patches, center_crop(given, 32), atol=1e-5, rtol=1e-5)
    assert made.share_outside == 0


def test_equal_generators_give_equal_patches_and_others_do_not() -> None:
    first, again, other = (
        augmented(AugmentationParameters(), 24, patches(), seeded(s)).patches for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_normalising_after_interpolation_is_normalising_before() -> None:
    stored = torch.randint(0, 4000, (8, 2, 3, 40, 40), generator=seeded(3)).to(torch.uint16)
    offset, scale = (torch.rand(8, 2, generator=seeded(s)) * 900 + 100 for s in (4, 5))
    made = PatchAugmentation(AugmentationParameters(), KINDS, 24)(stored, offset, scale, seeded())
    before = augmented(AugmentationParameters(), 24, normalise(stored, offset, scale), seeded())
    torch.testing.assert_close(made.patches, before.patches, atol=1e-4, rtol=1e-4)


def test_no_padding_where_the_stored_patch_is_large_enough() -> None:
    parameters = AugmentationParameters(affine_probability=1)
    needed = side_without_padding(24, parameters)
    assert needed == math.ceil(24 * math.sqrt(2) * 1.3 * 1.0101) + 1
    large = patches(n=400, side=needed, depth=1)
    assert augmented(parameters, 24, large, seeded()).share_outside == 0
    assert augmented(parameters, 24, center_crop(large, 30), seeded()).share_outside > 0.01


def gradients(parameters: AugmentationParameters) -> Tensor:
    """(N, 2, 2): what the ramps y and x (one per channel) become, as derivatives along (y, x)."""
    ramp = torch.arange(64.0) - 31.5
    y, x = torch.meshgrid(ramp, ramp, indexing="ij")
    given = torch.stack([y, x])[None, :, None].expand(500, 2, 1, 64, 64).contiguous()
    made = augmented(parameters, 24, given, seeded()).patches[:, :, 0]
    along = torch.stack([made[..., 1, 0] - made[..., 0, 0], made[..., 0, 1] - made[..., 0, 0]], -1)
    # Affine everywhere: the patch's first corner differs from its last by 23 steps each way.
    torch.testing.assert_close(made[..., -1, -1] - made[..., 0, 0], 23 * along.sum(-1), atol=1e-3, rtol=1e-4)
    return along


def test_rotation_is_rigid_and_covers_zero_to_pi() -> None:
    rigid = {"affine_probability": 1.0, "scale": 0.0, "shear": 0.0}
    matrix = gradients(STILL.model_copy(update=rigid))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(2).expand_as(matrix), atol=1e-4, rtol=1e-4)
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    assert 0 <= float(angle.min()) < 0.05
    assert math.pi - 0.05 < float(angle.max()) <= math.pi


def test_scaling_stretches_each_axis_by_up_to_its_share() -> None:
    stretch = {"affine_probability": 1.0, "rotation_rad": 0.0, "shear": 0.0}
    matrix = gradients(STILL.model_copy(update=stretch))
    y, x = matrix[:, 0, 0], matrix[:, 1, 1]
    for zoom in (y, x):
        assert 0.7 <= float(zoom.min()) < 0.72
        assert 1.28 < float(zoom.max()) <= 1.3 + 1e-4
    assert abs(float(torch.corrcoef(torch.stack([y, x]))[0, 1])) < 0.15
    assert float(matrix[:, 0, 1].abs().max()) < 1e-4


def test_slices_and_channels_move_together() -> None:
    parameters = STILL.model_copy(update={"affine_probability": 1.0})
    plane = torch.randn(4, 1, 1, 40, 40, generator=seeded(3)).expand(4, 2, 3, 40, 40).contiguous()
    made = augmented(parameters, 24, plane, seeded()).patches
    torch.testing.assert_close(made, made[:, :1, :1].expand_as(made))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"contrast_probability": 0.5}, (0.5, 0.5)),
        ({"intensity_probability_phase": 0.5, "intensity_probability_fluorescence": 0.7}, (0.5, 0.7)),
        ({"smooth_probability": 0.5}, (0.5, 0.5)),
        ({"noise_probability": 0.5}, (0.5, 0.5)),
        ({"affine_probability": 0.8}, (0.8, 0.8)),
    ],
)
def test_probabilities_are_per_kind(changes: dict[str, float], expected: tuple[float, float]) -> None:
    given = patches(n=1500, side=8, depth=1)
    made = augmented(STILL.model_copy(update=changes), 8, given, seeded()).patches
    torch.testing.assert_close(changed_share(given, made), torch.tensor(expected), atol=0.05, rtol=0)


def test_noise_is_stronger_in_fluorescence() -> None:
    given = torch.zeros(800, 2, 1, 8, 8)
    parameters = STILL.model_copy(update={"noise_probability": 1.0})
    made = augmented(parameters, 8, given, seeded()).patches
    # A uniform σ in [0, s] gives a root mean square of s / √3.
    spread = made.square().mean((0, 2, 3, 4)).sqrt()
    torch.testing.assert_close(spread, torch.tensor([0.2, 0.5]) / math.sqrt(3), atol=0.02, rtol=0)


def test_contrast_keeps_the_range_and_intensity_keeps_zero() -> None:
    given = patches(n=50)
    made = augmented(STILL.model_copy(update={"contrast_probability": 1.0}), 40, given, seeded())
    torch.testing.assert_close(
        made.patches.amax((3, 4)).amax(2), given.amax((3, 4)).amax(2), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        made.patches.amin((3, 4)).amin(2), given.amin((3, 4)).amin(2), atol=1e-4, rtol=1e-4
    )
    always = {"intensity_probability_phase": 1.0, "intensity_probability_fluorescence": 1.0}
    made = augmented(STILL.model_copy(update=always), 40, given, seeded())
    factor = made.patches / center_crop(given, 40)
    assert float(factor.std((2, 3, 4)).max()) < 1e-2
    assert 0.5 <= float(factor.mean((2, 3, 4)).min()) < 0.7
    assert 1.3 < float(factor.mean((2, 3, 4)).max()) <= 1.5


def test_smoothing_keeps_a_constant_and_spreads_a_point() -> None:
    parameters = STILL.model_copy(update={"smooth_probability": 1.0, "smooth_sigma_px": (0.75, 0.75)})
    flat = torch.full((1, 2, 1, 9, 9), 3.0)
    torch.testing.assert_close(augmented(parameters, 9, flat, seeded()).patches, flat)
    point = torch.zeros(1, 2, 1, 9, 9)
    point[..., 4, 4] = 1
    made = augmented(parameters, 9, point, seeded()).patches
    across = norm.cdf([-0.5, 0.5, 1.5], scale=0.75)
    expected = (across[1] - across[0]) * (across[2] - across[1])
    assert float(made[0, 0, 0, 4, 5]) == pytest.approx(expected, rel=1e-3)


def test_channels_are_hidden_as_often_as_asked_and_never_all() -> None:
    shown = shown_channels(4000, 2, 0.25, seeded())
    assert shown.any(1).all()
    # One of two is hidden with .25 · .75, or with half of the .25 · .25 of both.
    expected = torch.tensor([1 - 0.25 * 0.75 - 0.25**2 / 2] * 2)
    torch.testing.assert_close(shown.float().mean(0), expected, atol=0.02, rtol=0)
    assert shown_channels(50, 1, 0.9, seeded()).all()
    assert shown_channels(50, 3, 0.0, seeded()).all()


# Each transform against its definition in MONAI, written out with NumPy and SciPy.


def images(m: int = 6, side: int = 20) -> Tensor:
    return torch.randn(m, 3, side, side, generator=seeded(4))


def test_geometry_is_scipys_affine_transform() -> None:
    given = patches(n=6, side=60, depth=2)
    angle = torch.tensor([0.0, 0.3, 1.2, 2.0, 3.1, 0.7])
    shear = torch.tensor([[0.0, 0.0], [0.01, 0.0], [0.0, 0.01], [0.01, 0.005], [0.2, 0.1], [0.0, 0.0]])
    scale = torch.tensor([[0.3, -0.3], [0.0, 0.0], [0.1, 0.2], [-0.3, 0.3], [0.0, 0.1], [0.3, 0.3]])
    made = resample(given, affine_matrix(angle, shear, scale), 24)
    assert made.share_outside == 0
    for i in range(6):
        # AffineGrid multiplies rotation, shearing and scaling in this order, on output coordinates.
        c, s = math.cos(angle[i]), math.sin(angle[i])
        (s0, s1), (ay, ax) = shear[i].tolist(), scale[i].tolist()
        matrix = (
            np.array([[c, -s], [s, c]])
            @ np.array([[1, 0], [s1, 1]])
            @ np.array([[1, s0], [0, 1]])
            @ np.diag([1 + ay, 1 + ax])
        )
        offset = np.array([29.5, 29.5]) - matrix @ np.array([11.5, 11.5])
        for channel in range(2):
            for z in range(2):
                image = given[i, channel, z].double().numpy()
                expected = affine_transform(image, matrix, offset, (24, 24), order=1)
                np.testing.assert_allclose(made.patches[i, channel, z], expected, atol=1e-4)


def test_contrast_is_a_power_of_the_rescaled_image() -> None:
    given, gamma = images(), torch.linspace(0.8, 1.2, 6)
    made = adjust_contrast_(given.clone(), gamma)
    for image, g, result in zip(given.numpy(), gamma.tolist(), made.numpy(), strict=True):
        low, extent = image.min(), image.max() - image.min()
        expected = ((image - low) / (extent + 1e-7)) ** g * extent + low
        np.testing.assert_allclose(result, expected, atol=1e-5)
    flat = torch.full((1, 2, 4, 4), 3.0)
    torch.testing.assert_close(adjust_contrast_(flat.clone(), torch.tensor([0.8])), flat)


def test_intensity_is_multiplied_by_one_plus_alpha() -> None:
    made = scale_intensity_(images(3), torch.tensor([-0.5, 0.0, 0.5]))
    expected = images(3).numpy() * np.array([0.5, 1.0, 1.5]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_smoothing_is_a_convolution_with_the_integrated_gaussian() -> None:
    given = images()
    sigma = torch.tensor([[0.25, 0.4, 0.5, 0.6, 0.75, 0.3], [0.75, 0.3, 0.25, 0.5, 0.75, 0.6]])
    made = gaussian_smooth(given, sigma)
    for i, image in enumerate(given.double().numpy()):
        expected = image
        for axis, s in ((1, float(sigma[0, i])), (2, float(sigma[1, i]))):
            tail = int(max(4 * s, 0.5) + 0.5)
            x = np.arange(-tail, tail + 1)
            taps = 0.5 * (erf((x + 0.5) / (s * 2**0.5)) - erf((x - 0.5) / (s * 2**0.5)))
            expected = correlate1d(expected, taps, axis=axis, mode="nearest")
        np.testing.assert_allclose(made[i], expected, atol=5e-4)


def test_noise_is_normal_with_the_given_spread() -> None:
    sigma = torch.tensor([0.05, 0.2, 0.5])
    noise = add_noise_(torch.zeros(3, 2, 64, 64), sigma, seeded(8))
    for field, s in zip(noise.flatten(1).numpy(), sigma.tolist(), strict=True):
        assert kstest(field, norm(scale=s).cdf).pvalue > 0.001
    correlation = np.corrcoef(noise.flatten(1).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 0.05
