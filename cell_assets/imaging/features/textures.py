"""Texture of one channel within each cell's label: how grey values of neighbouring pixels go together."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.feature import graycomatrix, graycoprops

from cell_assets.imaging.features.labelled_plane import FloatArray, LabelledPlane

TEXTURE_NAMES = ("Contrast", "Correlation", "AngularSecondMoment", "InverseDifferenceMoment")
_PROPERTIES = ("contrast", "correlation", "ASM", "homogeneity")
"""scikit-image's names of TEXTURE_NAMES."""
_DIRECTIONS = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def textures(
    plane: LabelledPlane, image: NDArray[np.generic], channel: str, distance_px: int, levels: int
) -> dict[str, FloatArray]:
    """`Nuclei_Texture_<name>_<channel>_<distance>` for TEXTURE_NAMES, `(n,)` each, without unit.

    Of the grey-level co-occurrence matrix (Haralick et al. 1973) of pairs of pixels of the label, all four
    directions together, each pair both ways. Grey values are spread over `levels` from the label's least to its
    greatest, so that brightness, which is measured elsewhere, does not count. Missing (NaN): all four where the
    label has no such pair; Correlation where grey values do not differ.
    """
    pairs = np.zeros((levels, levels, plane.n, 1))
    for cell, box in enumerate(ndi.find_objects(plane.own, max_label=plane.n)):
        assert box is not None
        pairs[:, :, cell, 0] = _pairs(image[box], plane.labels[box] == cell + 1, distance_px, levels)
    has_pair = pairs.sum(axis=(0, 1, 3)) > 0
    # scikit-image gives a correlation of 1 where grey values do not differ.
    differs = np.count_nonzero(pairs.sum(axis=(1, 3)), axis=0) > 1
    return {
        f"Nuclei_Texture_{name}_{channel}_{distance_px}": np.where(
            has_pair & (differs | (name != "Correlation")), graycoprops(pairs, known_as)[:, 0], np.nan
        )
        for name, known_as in zip(TEXTURE_NAMES, _PROPERTIES, strict=True)
    }


def _pairs(pixels: NDArray[np.generic], inside: NDArray[np.bool_], distance: int, levels: int) -> FloatArray:
    """How often grey level i stands beside j, `(levels, levels)`."""
    values = pixels.astype(np.float64)
    low, high = values[inside].min(), values[inside].max()
    scaled = np.zeros(values.shape) if high == low else (values - low) / (high - low) * levels
    # Level 0 is what lies outside; its pairs are cut away.
    grey = np.where(inside, np.clip(scaled.astype(np.int64), 0, levels - 1) + 1, 0)
    dtype = np.uint8 if levels < 256 else np.uint16
    counts = graycomatrix(grey.astype(dtype), [distance], _DIRECTIONS, levels=levels + 1, symmetric=True)
    return np.asarray(counts[1:, 1:].sum(axis=(2, 3)), np.float64)
