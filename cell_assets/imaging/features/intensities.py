"""Grey values of one channel within each cell's label and in the cytoplasmic ring around it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import expand_labels

from cell_assets.imaging.features.labelled_plane import FloatArray, IntArray, LabelledPlane
from cell_assets.imaging.quality.signal import otsu_signal

NUCLEUS_NAMES = (
    "MeanIntensity",
    "StdIntensity",
    "LowerQuartileIntensity",
    "MedianIntensity",
    "UpperQuartileIntensity",
)
RING_NAMES = ("MeanIntensity", "StdIntensity")
_QUARTILES = (0.25, 0.5, 0.75)


def background(volume: NDArray[Any], percentile: float) -> float:
    """Grey value without light of one channel at one time point: a low percentile of all pixels `(Z, Y, X)`."""
    return float(np.percentile(volume, percentile))


def nucleus_intensities(
    plane: LabelledPlane, image: NDArray[np.generic], channel: str
) -> dict[str, FloatArray]:
    """`Nuclei_Intensity_<name>_<channel>` for NUCLEUS_NAMES, `(n,)` each, in the pixels' unit, of `(Y, X)` image.

    The standard deviation is that of all pixels (n, not n - 1); quartiles are interpolated between pixels.
    """
    values = image.ravel()[plane.pixels].astype(np.float64)
    mean, deviation = _moments(values, plane.cell, plane.n)
    lower, median, upper = _quartiles(values, plane.cell, plane.n)
    found = (mean, deviation, lower, median, upper)
    return {
        f"Nuclei_Intensity_{name}_{channel}": value for name, value in zip(NUCLEUS_NAMES, found, strict=True)
    }


def ring_pixels(
    plane: LabelledPlane, width_um: float, pixel_um: tuple[float, float]
) -> tuple[IntArray, IntArray]:
    """Flat indices of the pixels of all rings, and the cell 0..n - 1 that each belongs to.

    A ring is what lies outside every label, within `width_um` of the cell's own, and nearer to it than to any other
    label (also of cells that are measured in other planes).
    """
    grown = expand_labels(plane.labels, distance=width_um, spacing=pixel_um)
    pixels = np.flatnonzero((plane.labels == 0) & (grown > 0) & (grown <= plane.n))
    return pixels, grown.ravel()[pixels].astype(np.int64) - 1


def ring_intensities(
    plane: LabelledPlane, ring: tuple[IntArray, IntArray], image: NDArray[np.generic], channel: str
) -> dict[str, FloatArray]:
    """`Cytoplasm_Intensity_<name>_<channel>` for RING_NAMES, `(n,)` each; missing (NaN) where a ring has no pixel."""
    pixels, cell = ring
    found = _moments(image.ravel()[pixels].astype(np.float64), cell, plane.n)
    return {
        f"Cytoplasm_Intensity_{name}_{channel}": value for name, value in zip(RING_NAMES, found, strict=True)
    }


def nucleus_ring_ratio(nucleus: FloatArray, ring: FloatArray, ground: float) -> FloatArray:
    """`(n,)` of background-subtracted means: (nucleus - ground) / (ring - ground).

    Missing (NaN) where there is no ring, or no light above the background in it.
    """
    below = ring - ground
    return np.divide(nucleus - ground, below, out=np.full(len(nucleus), np.nan), where=below > 0)


def fluorescence_area(
    plane: LabelledPlane,
    ring: tuple[IntArray, IntArray],
    image: NDArray[np.generic],
    channel: str,
    pixel_um: tuple[float, float],
) -> dict[str, FloatArray]:
    """`Cells_AreaOccupied_AreaOccupied_<channel>`, `(n,)` in µm²: how much of a cell, label and ring, is bright.

    The area of the sensor's fluorescence of DynaCLR, Figure 3e. Bright is what lies above Otsu's threshold (1979)
    among the cell's own pixels: where within the cell the light is counts, how much light there is does not, and the
    area of a cell without any is that of the brighter part of its noise. VisCy puts the threshold on a square patch
    instead, in which neighbours and ground are counted, too. Missing (NaN) where all pixels of the cell are equal.
    """
    cell = np.concatenate([plane.cell, ring[1]])
    values = image.ravel()[np.concatenate([plane.pixels, ring[0]])].astype(np.float64)
    ends = np.cumsum(np.bincount(cell, minlength=plane.n))[:-1]
    pixel_area = pixel_um[0] * pixel_um[1]
    areas = np.full(plane.n, np.nan)
    for which, own in enumerate(np.split(values[np.argsort(cell, kind="stable")], ends)):
        levels, counts = np.unique(own, return_counts=True)
        if (signal := otsu_signal(counts, levels)) is not None:
            areas[which] = np.count_nonzero(own > signal.threshold) * pixel_area
    return {f"Cells_AreaOccupied_AreaOccupied_{channel}": areas}


def radial_profile(
    plane: LabelledPlane,
    image: NDArray[np.generic],
    channel: str,
    ground: float,
    n_rings: int,
    pixel_um: tuple[float, float],
) -> dict[str, FloatArray]:
    """`Nuclei_RadialDistribution_MeanFrac_<channel>_<k>of<n>`, `(n,)` each: mean of ring k over the label's mean.

    Background-subtracted, without unit; ring 1 is the innermost. A pixel's radius is its distance to the label's
    centroid over that of the farthest pixel. Missing (NaN) where a ring has no pixel, or the label no light above
    the background.
    """
    values = image.ravel()[plane.pixels].astype(np.float64) - ground
    at = _ring_of(plane, n_rings, pixel_um) + plane.cell * n_rings
    size = plane.n * n_rings
    means = _divided(np.bincount(at, values, size), np.bincount(at, minlength=size)).reshape(plane.n, n_rings)
    whole = _divided(np.bincount(plane.cell, values, plane.n), np.bincount(plane.cell, minlength=plane.n))
    fractions = np.divide(means, whole[:, None], out=np.full(means.shape, np.nan), where=whole[:, None] > 0)
    return {
        f"Nuclei_RadialDistribution_MeanFrac_{channel}_{k + 1}of{n_rings}": fractions[:, k]
        for k in range(n_rings)
    }


def _ring_of(plane: LabelledPlane, n_rings: int, pixel_um: tuple[float, float]) -> IntArray:
    y, x = np.divmod(plane.pixels, plane.labels.shape[1])
    count = np.bincount(plane.cell, minlength=plane.n)
    # Whole pixels from the cell's first one: sums are exact, wherever in the frame the cell lies.
    y, x = (axis - _first(axis, plane)[plane.cell] for axis in (y, x))
    dy, dx = (axis - (np.bincount(plane.cell, axis, plane.n) / count)[plane.cell] for axis in (y, x))
    radius = np.hypot(dy * pixel_um[0], dx * pixel_um[1])
    farthest = np.zeros(plane.n)
    np.maximum.at(farthest, plane.cell, radius)
    share = np.divide(radius, farthest[plane.cell], out=np.zeros_like(radius), where=farthest[plane.cell] > 0)
    return np.minimum((share * n_rings).astype(np.int64), n_rings - 1)


def _first(axis: IntArray, plane: LabelledPlane) -> IntArray:
    first = np.full(plane.n, np.iinfo(np.int64).max)
    np.minimum.at(first, plane.cell, axis)
    return first


def _moments(values: FloatArray, cell: IntArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation by cell, NaN for a cell without a pixel."""
    count = np.bincount(cell, minlength=n)
    mean = _divided(np.bincount(cell, values, n), count)
    return mean, np.sqrt(_divided(np.bincount(cell, (values - mean[cell]) ** 2, n), count))


def _quartiles(values: FloatArray, cell: IntArray, n: int) -> list[FloatArray]:
    """Of cells that all have a pixel."""
    ordered = values[np.lexsort((values, cell))]
    count = np.bincount(cell, minlength=n)
    start = np.cumsum(count) - count
    found = []
    for share in _QUARTILES:
        place = share * (count - 1)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, count - 1)
        found.append(ordered[start + low] + (place - low) * (ordered[start + high] - ordered[start + low]))
    return found


def _divided(total: NDArray[Any], count: IntArray) -> FloatArray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
