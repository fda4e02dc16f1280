"""Drift between time points: the shift that brings a frame over the one before it.

Phase cross-correlation with an upsampled matrix-multiply DFT: Guizar-Sicairos, Thurman & Fienup (2008), Optics
Letters 33:156, from scikit-image. Cells that all move one way are drift to it, too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

_STEPS_PER_PIXEL = 20
"""A drift is found to 0.05 pixels, of a binned frame where the frame is larger than `_LONGEST_SIDE`."""
_LONGEST_SIDE = 1024
"""Larger frames are binned down to it: drift shows at every scale, and a frame of 2048² took 1.5 s."""


@dataclass(frozen=True)
class Drift:
    """How far the content of a frame moved since the frame before, along rising y and x, in µm."""

    y_um: float
    x_um: float


def drift(
    before: NDArray[np.floating], frame: NDArray[np.floating], pixel_size_um: tuple[float, float]
) -> Drift:
    """Drift from `before` to `frame`, both (Y, X) of one shape and neither constant; `pixel_size_um` is (y, x)."""
    # On noisy and on smooth images with known shifts, normalising the spectrum ("phase") or leaving the window
    # out gave errors of up to the whole shift; windowed and unnormalised, 0.05 pixels.
    bins = -(-max(frame.shape) // _LONGEST_SIDE)
    back, _, _ = phase_cross_correlation(
        _windowed(_binned(before, bins)),
        _windowed(_binned(frame, bins)),
        upsample_factor=_STEPS_PER_PIXEL,
        normalization=None,
    )
    return Drift(-float(back[0]) * bins * pixel_size_um[0], -float(back[1]) * bins * pixel_size_um[1])


def _binned(image: NDArray[np.floating], bins: int) -> NDArray[np.floating]:
    if bins == 1:
        return image
    rows, columns = (side // bins for side in image.shape)
    return image[: rows * bins, : columns * bins].reshape(rows, bins, columns, bins).mean(axis=(1, 3))


def _windowed(image: NDArray[np.floating]) -> NDArray[np.float32]:
    window = np.outer(np.hanning(image.shape[0] + 2)[1:-1], np.hanning(image.shape[1] + 2)[1:-1])
    return ((image - image.mean()) * window).astype(np.float32)
