"""Stage, light and camera: drift, bleaching, blur, shading, noise. Turns ideal volumes into camera counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from cell_assets.simulation.layout import SimulatedField
from cell_assets.simulation.parameters import CAMERA_MAXIMUM, SimulationParameters
from cell_assets.simulation.seeds import Draw, fov_stream, plate_stream

Volume = NDArray[np.float32]

PHASE_ZERO_COUNTS, PHASE_COUNTS_PER_UNIT = 20_000, 6_000
"""Phase has no natural zero in unsigned counts: counts = 20000 + 6000 * phase (cytoplasm about 1)."""
PSF_SIGMA_UM = (1.6, 0.35, 0.35)
"""Widefield blur, standard deviations in z, y, x."""
PHASE_SIGMA_UM = (1.0, 0.25, 0.25)
"""Deconvolved phase keeps finer detail."""
HALO_WIDTH_UM, HALO_STRENGTH = 12.0, 0.75
"""Deconvolution loses the lowest spatial frequencies: a dark halo around dense, above all round, cells."""


def stage_drift_um(parameters: SimulationParameters, place: SimulatedField) -> NDArray[np.float64]:
    """Displacement (T, 2) in y, x of the specimen in the picture; zero at frame 0."""
    p = parameters
    angle = plate_stream(p.seed, Draw.STAGE).uniform(0, 2 * np.pi)
    hours = np.arange(p.time_points)[:, None] * p.interval_hours
    steady = hours * p.drift_um_per_hour * np.array([[np.sin(angle), np.cos(angle)]])
    jitter = fov_stream(p.seed, place.seed_key, Draw.STAGE).normal(0, p.drift_jitter_um, steady.shape)
    jitter[0] = 0
    return steady + jitter


@dataclass(frozen=True)
class Optics:
    """What stays the same in one field of view: shading of the lamp, unevenness of the phase background."""

    parameters: SimulationParameters
    shading: NDArray[np.float32]
    """(Y, X), 1 at the brightest."""
    phase_background: NDArray[np.float32]
    """(Y, X), smooth, about ±0.05."""

    def phase_counts(self, density: Volume, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Phase image (Z, Y, X) of a density volume: blur, halo, background, Gaussian noise."""
        p = self.parameters
        blurred = gaussian_filter(density, _in_voxels(PHASE_SIGMA_UM, p.voxel_um_zyx), truncate=3)
        low = blurred
        for axis, voxel in ((1, p.voxel_um_zyx[1]), (2, p.voxel_um_zyx[2])):
            # Two box passes are close to a Gaussian and cost the same at any width.
            size = max(3, round(HALO_WIDTH_UM / voxel))
            low = uniform_filter1d(uniform_filter1d(low, size, axis), size, axis)
        phase = blurred - np.float32(HALO_STRENGTH) * low + self.phase_background
        phase += np.float32(p.phase_noise) * rng.standard_normal(phase.shape, dtype=np.float32)
        return _counts(PHASE_ZERO_COUNTS + PHASE_COUNTS_PER_UNIT * phase)

    def sensor_counts(self, sensor: Volume, hours: float, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Camera image (Z, Y, X) of a fluorescent volume: blur, bleaching, shading, photons, camera.

        `sensor` is in units of the densest ER, or organelle, of the median cell.
        `hours` counts from the first frame. Photons are Poisson, the read noise Gaussian.
        """
        p = self.parameters
        blurred = gaussian_filter(sensor, _in_voxels(PSF_SIGMA_UM, p.voxel_um_zyx), truncate=3)
        bleached = p.sensor_photons * np.exp(-p.photobleaching_per_hour * hours)
        photons = rng.poisson((bleached * blurred + p.background_photons) * self.shading)
        noise = np.float32(p.read_noise_counts) * rng.standard_normal(photons.shape, dtype=np.float32)
        return _counts(p.camera_offset + p.photon_gain * photons.astype(np.float32) + noise)


def field_optics(parameters: SimulationParameters, rng: np.random.Generator) -> Optics:
    """Draw one field's shading (15 % darker in the corners) and phase background."""
    _, height, width = parameters.shape_zyx
    centre = rng.uniform(-0.15, 0.15, 2)
    y = np.linspace(-1, 1, height)[:, None] - centre[0]
    x = np.linspace(-1, 1, width)[None] - centre[1]
    exposure = np.exp(rng.normal(0, 0.04))
    shading = exposure * (1 - 0.075 * (y**2 + x**2))
    # Smoothing seven random waves instead of noise keeps it smooth at any field size.
    waves = np.zeros((height, width))
    for _ in range(7):
        ky, kx, shift = rng.uniform(-3, 3), rng.uniform(-3, 3), rng.uniform(0, 2 * np.pi)
        waves += 0.02 * np.cos(ky * y + kx * x + shift)
    return Optics(parameters, shading.astype(np.float32), waves.astype(np.float32))


def _in_voxels(
    sigma_um: tuple[float, float, float], voxel_um: tuple[float, float, float]
) -> tuple[float, float, float]:
    return (sigma_um[0] / voxel_um[0], sigma_um[1] / voxel_um[1], sigma_um[2] / voxel_um[2])


def _counts(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    return np.clip(np.rint(values), 0, CAMERA_MAXIMUM).astype(np.uint16)
