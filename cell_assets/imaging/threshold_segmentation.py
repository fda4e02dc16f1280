"""Classical segmentation of one volume: contrast, foreground, watershed. No learning, no files.

Two rules for two kinds of pictures, both in 2-D and 3-D:

- `LOCAL`, for crowded objects of one width, such as dark rods in phase contrast, which touch along a thin
  lighter line. It uses the scale-normalised Laplacian of Gaussian (Lindeberg 1998): its sign does not
  depend on local brightness, so cells at a colony's rim and inside it are treated alike, and it still dips
  between two rods in one saturated, featureless blob, where a tracker may cut them.
- `OTSU`, for bright round objects such as nuclei: Otsu's threshold (1979) on the square root of the
  contrast (dim nuclei beside a bright mitosis survive), split by the smoothed distance to the rim.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from cell_assets.imaging.label_geometry import Spacing, compact_labels, component_labels

_CORE_SCALE = 0.25
"""Laplacian sigma over object width for cores: on real rods 0.25 merged fewer cells than 0.30 and 0.36."""
_BOUNDARY_SCALE = 0.12
"""The same for boundaries: fine enough for the septum between two sisters."""
_FULL_BOUNDARY = 0.3
"""Response at which a voxel counts as the middle of an object."""
_FINE_SHARE = 0.5
_RIM_REACH = 0.2
"""How far an object reaches beyond its core, over its width."""


class Polarity(StrEnum):
    """How an object differs from its ground."""

    DARK = "dark"
    BRIGHT = "bright"


class ForegroundRule(StrEnum):
    """How objects are told from the ground; see the module's text."""

    LOCAL = "local"
    OTSU = "otsu"


class ThresholdParameters(BaseModel):
    """Everything that decides a threshold segmentation; contrast is in units of the strongest object
    (0..1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: str = Field(min_length=1)
    """Name of the channel that is segmented."""
    polarity: Polarity
    rule: ForegroundRule
    width_um: float = Field(gt=0)
    """Narrowest extent of an object (a rod's width, a nucleus' diameter), µm."""
    min_size: int = Field(ge=1)
    """Objects with fewer voxels are dropped."""
    max_size: int = Field(ge=2)
    """Upper bound of one object in voxels, for the tracker's hypotheses."""
    background_quantile: float = Field(default=0.5, gt=0, lt=1)
    """Quantile of the frame that is its ground; lower it (bright objects) where objects fill half the
    frame.
    """
    halo_limit: float = Field(default=0.5, ge=0)
    """LOCAL: contrast on the ground's far side is cut here, so that a phase halo does not shape its
    neighbours.
    """
    seed_level: float = Field(default=0.12, gt=0, lt=1)
    """LOCAL: blob response above which pixels are the core of an object."""
    rim_level: float = -0.1
    """LOCAL: blob response above which pixels next to a core belong to its object."""
    object_level: float = Field(default=0.21, gt=0)
    """LOCAL: mean blob response of the cores of a connected foreground; fainter ones are dust or noise."""


@dataclass(frozen=True)
class ForegroundMaps:
    """What a tracker needs of a frame; both arrays `(Z, Y, X)`."""

    foreground: NDArray[np.bool_]
    boundary: NDArray[np.float32]
    """0 in the middle of an object … 1 on a boundary or outside."""


def foreground_maps(
    volume: NDArray[np.generic], parameters: ThresholdParameters, spacing: Spacing
) -> ForegroundMaps:
    """Foreground and boundary strength of one `(Z, Y, X)` volume with voxels of `spacing` µm.

    A volume without any contrast has no foreground.
    """
    seeded = _seeded_maps(volume, parameters, spacing)
    if seeded is None:
        return ForegroundMaps(np.zeros(volume.shape, bool), np.ones(volume.shape, np.float32))
    return seeded.maps


def threshold_labels(
    volume: NDArray[np.generic], parameters: ThresholdParameters, spacing: Spacing
) -> NDArray[np.uint32]:
    """Instance labels 1..n of one `(Z, Y, X)` volume, ordered by their seeds' first voxel; 0 is ground."""
    seeded = _seeded_maps(volume, parameters, spacing)
    if seeded is None or not seeded.maps.foreground.any():
        return np.zeros(volume.shape, np.uint32)
    labels = watershed(seeded.maps.boundary, seeded.seeds, mask=seeded.maps.foreground)
    return compact_labels(labels, np.bincount(labels.ravel()) >= parameters.min_size).astype(np.uint32)


@dataclass(frozen=True)
class _SeededMaps:
    maps: ForegroundMaps
    seeds: NDArray[np.int32]
    """Where each object starts to grow, 1..n."""


def _seeded_maps(
    volume: NDArray[np.generic], parameters: ThresholdParameters, spacing: Spacing
) -> _SeededMaps | None:
    contrast = _contrast(volume, parameters)
    if contrast is None:
        return None
    width = _width_in_voxels(parameters.width_um, spacing, volume.shape)
    if parameters.rule is ForegroundRule.OTSU:
        return _otsu_maps(contrast, width, spacing, parameters)
    return _local_maps(contrast, width, parameters)


def _contrast(volume: NDArray[np.generic], parameters: ThresholdParameters) -> NDArray[np.float32] | None:
    values = volume.astype(np.float32)
    ground = np.float32(np.quantile(values, parameters.background_quantile))
    signed = values - ground if parameters.polarity is Polarity.BRIGHT else ground - values
    # The top 0.05 % stands for the strongest object: few enough pixels for two cells in a large empty frame.
    top = np.float32(np.quantile(signed, 0.9995))
    if top <= 0:
        return None
    return signed / top


def _local_maps(
    contrast: NDArray[np.float32], width: NDArray[np.float64], parameters: ThresholdParameters
) -> _SeededMaps:
    contrast = np.maximum(contrast, np.float32(-parameters.halo_limit))
    blob = _blob_response(contrast, _CORE_SCALE * width)
    cores = blob > parameters.seed_level
    reach = tuple(2 * round(_RIM_REACH * extent) + 1 for extent in width)
    # A phase halo is the ground's far side: what is that bright is no rim, however near a core.
    rim = (blob > parameters.rim_level) & (contrast > -0.6 * parameters.halo_limit)
    components = component_labels(cores | (rim & ndi.maximum_filter(cores, size=reach)))
    core_sizes = np.bincount(components.ravel(), cores.ravel())
    strength = np.bincount(components.ravel(), (blob * cores).ravel()) / np.maximum(core_sizes, 1)
    keep = (strength > parameters.object_level) & (core_sizes >= 0.25 * parameters.min_size)
    keep[0] = False
    foreground = keep[components]
    fine = _blob_response(contrast, _BOUNDARY_SCALE * width)
    # Fine tells sisters apart at their septum, coarse two rods in one saturated blob.
    depth = _FINE_SHARE * fine + (1 - _FINE_SHARE) * blob
    boundary = np.clip(1.0 - depth / np.float32(_FULL_BOUNDARY), 0.0, 1.0).astype(np.float32)
    seeds = component_labels(cores & foreground)
    # A core much smaller than an object is a dent in a neighbour, not a cell.
    seeds = compact_labels(seeds, np.bincount(seeds.ravel()) >= 0.2 * parameters.min_size)
    return _SeededMaps(ForegroundMaps(foreground, boundary), seeds)


def _otsu_maps(
    contrast: NDArray[np.float32],
    width: NDArray[np.float64],
    spacing: Spacing,
    parameters: ThresholdParameters,
) -> _SeededMaps | None:
    root = np.sqrt(_gaussian(np.maximum(contrast, 0), 0.05 * width))
    if root.min() == root.max():
        return None
    filled = root > threshold_otsu(root)
    for plane in filled:
        plane[:] = ndi.binary_fill_holes(plane)
    components = component_labels(filled)
    keep = np.bincount(components.ravel()) >= 0.5 * parameters.min_size
    keep[0] = False
    foreground = keep[components]
    depth = _gaussian(_distance_to_rim(foreground, spacing), 0.2 * width)
    boundary = np.clip(1.0 - depth / np.float32(0.5 * parameters.width_um), 0.0, 1.0)
    boundary = boundary.astype(np.float32)
    seeds = component_labels(foreground & _peaks(boundary, width))
    return _SeededMaps(ForegroundMaps(foreground, boundary), seeds)


def _distance_to_rim(foreground: NDArray[np.bool_], spacing: Spacing) -> NDArray[np.float32]:
    distance = np.empty(foreground.shape, np.float32)
    if len(foreground) == 1:
        distance[0] = ndi.distance_transform_edt(foreground[0], spacing[1:])
    else:
        distance[:] = ndi.distance_transform_edt(foreground, spacing)
    return distance


def _peaks(boundary: NDArray[np.float32], width: NDArray[np.float64]) -> NDArray[np.bool_]:
    size = tuple(int(0.6 * extent) | 1 for extent in width)
    return boundary == ndi.minimum_filter(boundary, size=size)


def _width_in_voxels(width_um: float, spacing: Spacing, shape: tuple[int, ...]) -> NDArray[np.float64]:
    # One plane has no z extent to filter over.
    return np.where(np.asarray(shape) == 1, 0.0, width_um / np.asarray(spacing))


def _gaussian(volume: NDArray[np.float32], sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    return ndi.gaussian_filter(volume, tuple(sigma), mode="nearest")


def _blob_response(contrast: NDArray[np.float32], scales: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale-normalised negative Laplacian: positive inside bright objects."""
    sigma = tuple(scales)
    response = np.zeros_like(contrast)
    for axis, scale in enumerate(sigma):
        if scale > 0:
            order = tuple(2 if other == axis else 0 for other in range(contrast.ndim))
            response -= np.float32(scale**2) * ndi.gaussian_filter(
                contrast, sigma, order=order, mode="nearest"
            )
    return response
