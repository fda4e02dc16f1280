"""Normalisation and Table 2's augmentations as batched tensor operations on the training device.

Each transform is a function of its parameters, with the meaning that MONAI gives them (to whose transforms the
paper supplies Table 2); `PatchAugmentation` draws the parameters, all from one seeded generator per batch. Rotation
is about z and the other geometry is lateral, so slices and channels travel together through a 2-D resampling.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from cell_assets.imaging.channels import ChannelKind
from cell_assets.methods.dynaclr.parameters import AugmentationParameters


@dataclass(frozen=True)
class AugmentedBatch:
    """Patches (N, C, Z, Y, X) and the share of their pixels that lay outside the stored patch."""

    patches: Tensor
    share_outside: float


def normalise(patches: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """(N, C, Z, Y, X) stored intensities → (x - offset) / scale, float32; offset and scale are (N, C)."""
    return normalise_(patches.to(torch.float32, copy=True), offset, scale)


def normalise_(patches: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """`normalise` of float32 patches, in place."""
    shape = (*offset.shape, 1, 1, 1)
    return patches.sub_(offset.view(shape)).div_(scale.view(shape))


def center_crop(patches: Tensor, side: int) -> Tensor:
    """(..., Y, X) → (..., side, side) around the middle; an odd remainder leaves one more at the end."""
    y, x = (patches.shape[-2] - side) // 2, (patches.shape[-1] - side) // 2
    return patches[..., y : y + side, x : x + side]


def side_without_padding(side: int, parameters: AugmentationParameters) -> int:
    """Smallest stored patch side from which any augmented patch of `side` pixels is cut without padding."""
    widest_rotation = math.sqrt(2) if parameters.rotation_rad >= math.pi / 4 else 1 + parameters.rotation_rad
    widest_shear = 1 + parameters.shear + parameters.shear**2
    return math.ceil(side * widest_rotation * (1 + parameters.scale) * widest_shear) + 1


def affine_matrix(angle: Tensor, shear: Tensor, scale: Tensor) -> Tensor:
    """(N, 2, 2): offset (y, x) from the middle of the output → offset in the source: rotate · shear · scale.

    Args:
        angle: (N,) radians, from y towards x.
        shear: (N, 2): of y by x, and then of x by y, which together keep areas.
        scale: (N, 2): α of (y, x); a patch shows a region (1 + α) times as wide.
    """
    cos, sin, one = angle.cos(), angle.sin(), torch.ones_like(angle)
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    first, second = shear.unbind(-1)
    shearing = torch.stack(
        [torch.stack([one, first], -1), torch.stack([second, one + first * second], -1)], -2
    )
    return rotation @ shearing @ torch.diag_embed(1 + scale)


def resample(patches: Tensor, matrix: Tensor, side: int) -> AugmentedBatch:
    """(N, C, Z, Y', X') → (N, C, Z, side, side) by bilinear interpolation around the middle of `center_crop`.

    Args:
        matrix: (N, 2, 2) as of `affine_matrix`. What lies outside the given patch is mirrored, and counted.
    """
    n, c, z, height, width = patches.shape
    ramp = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    offsets = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij"), -1)  # (side, side, 2)
    source = torch.einsum("nij,yxj->nyxi", matrix, offsets)
    # The middle of center_crop, in pixels from the stored patch's own middle (half a pixel when odd).
    middle = torch.tensor([(size - side) // 2 + (side - 1) / 2 - (size - 1) / 2 for size in (height, width)])
    unit = (source + middle) * 2 / torch.tensor([height, width], dtype=torch.float32)
    outside = (source + middle).abs() > (torch.tensor([height, width]) - 1) / 2 + 1e-3
    grid = unit.flip(-1).to(patches.device)  # grid_sample wants (x, y)
    moved = F.grid_sample(
        patches.flatten(1, 2), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return AugmentedBatch(moved.view(n, c, z, side, side), float(outside.any(-1).float().mean()))


def adjust_contrast_(images: Tensor, gamma: Tensor) -> Tensor:
    """Raises (M, Z, Y, X), rescaled to their own range of 0 to 1, to the power `gamma` (M,), in place."""
    flat = images.flatten(1)
    floor = flat.amin(-1).view(-1, 1, 1, 1)
    extent = (flat.amax(-1).view(-1, 1, 1, 1) - floor).clamp_min(1e-7)
    return images.sub_(floor).div_(extent).pow_(gamma.view(-1, 1, 1, 1)).mul_(extent).add_(floor)


def scale_intensity_(images: Tensor, alpha: Tensor) -> Tensor:
    """Multiplies (M, Z, Y, X) by 1 + `alpha` (M,), in place."""
    return images.mul_(1 + alpha.view(-1, 1, 1, 1))


def gaussian_smooth(images: Tensor, sigma: Tensor) -> Tensor:
    """Smooths (M, Z, Y, X) along Y and X with `sigma` (2, M) pixels, edges repeated.

    A tap is the Gaussian's integral over its pixel, not its value in the middle: at σ = 0.25 that is the difference
    between a weight of 0.954 and 0.999 for the pixel itself.
    """
    radius = int(max(4 * float(sigma.max()), 0.5) + 0.5) if sigma.numel() else 1
    edges = torch.arange(-radius, radius + 2, dtype=torch.float32, device=sigma.device) - 0.5
    weights = torch.erf(edges / (sigma[..., None] * math.sqrt(2))).diff(dim=-1)
    weights = weights / weights.sum(-1, keepdim=True)  # (2, M, 2 radius + 1)
    for axis, weight in zip((-2, -1), weights, strict=True):
        images = _weighted_shifts(images, weight, axis, radius)
    return images


def add_noise_(images: Tensor, sigma: Tensor, generator: Generator) -> Tensor:
    """Adds noise of a normal distribution with standard deviation `sigma` (M,) to (M, Z, Y, X), in place.

    `generator` lives on the images' device.
    """
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images.add_(noise.mul_(sigma.view(-1, 1, 1, 1)))


def shown_channels(n: int, channels: int, hidden: float, generator: Generator) -> Tensor:
    """(n, channels) bool: each channel of each image is hidden with probability `hidden`, but never all of them.

    `generator` lives on the CPU.
    """
    shown = torch.rand(n, channels, generator=generator) >= hidden
    kept = torch.randint(channels, (n,), generator=generator)
    alone = ~shown.any(1)
    shown[alone, kept[alone]] = True
    return shown


class PatchAugmentation:
    """Table 2 for a whole batch at once; probabilities and values are drawn per patch."""

    def __init__(self, parameters: AugmentationParameters, kinds: Sequence[ChannelKind], side: int) -> None:
        self.parameters = parameters
        self.kinds = tuple(kinds)
        self.side = side

    def __call__(self, stored: Tensor, offset: Tensor, scale: Tensor, generator: Generator) -> AugmentedBatch:
        """(N, C, Z, Y', X') stored intensities → (N, C, Z, side, side), normalised. `generator` lives on the CPU.

        Geometry first, then contrast, intensity, smoothing and noise in Table 2's order; the last four are
        drawn for every channel apart. The noise field is drawn on the patches' own device, seeded by
        `generator`.

        Args:
            offset, scale: (N, C) of `normalise`, which interpolation may come before: of patches of 192 pixels, of
                which 128 are left, that saves a tenth of the time.
        """
        moved = self._affine(stored.to(torch.float32), generator)
        patches = normalise_(moved.patches, offset, scale)
        images = patches.flatten(0, 1)  # (N * C, Z, side, side), a view: the steps below work in place
        self._contrast(images, generator)
        self._intensity(images, generator)
        self._smooth(images, generator)
        self._noise(images, generator)
        return AugmentedBatch(patches, moved.share_outside)

    def _affine(self, patches: Tensor, generator: Generator) -> AugmentedBatch:
        n, p = len(patches), self.parameters
        chosen = torch.rand(n, generator=generator) < p.affine_probability
        angle = torch.rand(n, generator=generator) * p.rotation_rad
        scale = (torch.rand(n, 2, generator=generator) * 2 - 1) * p.scale
        shear = torch.rand(n, 2, generator=generator) * p.shear
        matrix = torch.where(chosen[:, None, None], affine_matrix(angle, shear, scale), torch.eye(2))
        return resample(patches, matrix, self.side)

    def _contrast(self, images: Tensor, generator: Generator) -> None:
        low, high = self.parameters.contrast_gamma
        gamma = low + torch.rand(len(images), generator=generator) * (high - low)
        chosen = torch.rand(len(images), generator=generator) < self.parameters.contrast_probability
        images[chosen] = adjust_contrast_(images[chosen], gamma[chosen].to(images.device))

    def _intensity(self, images: Tensor, generator: Generator) -> None:
        p = self.parameters
        probability = self._per_kind(
            p.intensity_probability_phase, p.intensity_probability_fluorescence, len(images)
        )
        chosen = torch.rand(len(images), generator=generator) < probability
        alpha = (torch.rand(len(images), generator=generator) * 2 - 1) * p.intensity_scale
        scale_intensity_(images, torch.where(chosen, alpha, 0.0).to(images.device))

    def _smooth(self, images: Tensor, generator: Generator) -> None:
        low, high = self.parameters.smooth_sigma_px
        chosen = torch.rand(len(images), generator=generator) < self.parameters.smooth_probability
        sigma = low + torch.rand(2, len(images), generator=generator) * (high - low)  # (y, x)
        images[chosen] = gaussian_smooth(images[chosen], sigma[:, chosen].to(images.device))

    def _noise(self, images: Tensor, generator: Generator) -> None:
        p = self.parameters
        chosen = torch.rand(len(images), generator=generator) < p.noise_probability
        sigma = torch.rand(len(images), generator=generator) * self._per_kind(
            p.noise_sigma_phase, p.noise_sigma_fluorescence, len(images)
        )
        seed = int(torch.randint(2**62, (), generator=generator))
        field = Generator(device=images.device).manual_seed(seed)
        images[chosen] = add_noise_(images[chosen], sigma[chosen].to(images.device), field)

    def _per_kind(self, phase: float, fluorescence: float, n_images: int) -> Tensor:
        values = [phase if kind is ChannelKind.PHASE else fluorescence for kind in self.kinds]
        return torch.tensor(values).repeat(n_images // len(values))


def _weighted_shifts(images: Tensor, weights: Tensor, axis: int, radius: int) -> Tensor:
    """Convolution of (M, Z, Y, X) along `axis`, one kernel (M, 2 radius + 1) per image, edges repeated."""
    pad = (0, 0, radius, radius) if axis == -2 else (radius, radius, 0, 0)
    size = images.shape[axis]
    padded = F.pad(images, pad, mode="replicate")
    smooth = torch.zeros_like(images)
    for tap in range(2 * radius + 1):
        smooth.addcmul_(padded.narrow(axis, tap, size), weights[:, tap].view(-1, 1, 1, 1))
    return smooth
