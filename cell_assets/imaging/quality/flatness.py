"""Flatness of illumination: what is left of a channel when the cells of many FOVs are averaged away.

The smoothed median image over FOVs: Singh, Bray, Jones & Carpenter (2014), J. Microscopy 256:231. A camera's
offset is part of it, so that a dim channel looks flatter than its light is.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

MIN_FOVS = 10
"""With fewer, cells show in the median; Singh et al. want far more."""
MAX_FOVS = 400
"""More are thinned evenly: 400 grids of 64 x 64 are 6.5 MB."""

_GRID = 64
_SIGMA = 2.0
"""Of the smoothing, in cells of the grid: 1/32 of the FOV."""


@dataclass(frozen=True)
class Flatness:
    """Flatness of one channel's illumination, or why it cannot be told."""

    n_fovs: int
    """FOVs that the median is taken over."""
    min_over_max: float | None = None
    """Darkest over brightest place of the smoothed median image; 1 is flat."""
    cv: float | None = None
    """Its standard deviation over its mean; 0 is flat."""
    why_missing: str | None = None


@dataclass
class IlluminationSample:
    """Coarse images of a channel's FOVs, of which at most `MAX_FOVS` are kept, evenly spread over the plate."""

    n_fovs: int
    """FOVs of the plate."""
    _grids: list[NDArray[np.float32]] = field(default_factory=list)

    def wants(self, fov: int) -> bool:
        """Whether the FOV of this number, from 0, is one of those kept."""
        step = max(1, -(-self.n_fovs // MAX_FOVS))
        return fov % step == 0

    def add(self, image: NDArray[np.floating]) -> None:
        """Take one (Y, X) image, of any shape from 1 x 1."""
        self._grids.append(_coarse(image))

    def flatness(self) -> Flatness:
        """Flatness of the median over the FOVs taken."""
        n = len(self._grids)
        if n < MIN_FOVS:
            return Flatness(
                n, why_missing=f"{n} FOV(s) with pixels; {MIN_FOVS} are needed to average cells away"
            )
        smooth = ndi.gaussian_filter(np.median(np.stack(self._grids), axis=0), _SIGMA, mode="nearest")
        low, high, mean = float(smooth.min()), float(smooth.max()), float(smooth.mean())
        if low < 0 or mean <= 0:
            return Flatness(
                n, why_missing="pixels of the median image are negative or zero; a ratio has no meaning"
            )
        return Flatness(n, low / high, float(smooth.std()) / mean)


def _coarse(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Block means on a 64 x 64 grid; a shorter side keeps its pixels, repeated."""
    for axis in (0, 1):
        n = image.shape[axis]
        if n < _GRID:
            image = np.take(image, np.arange(_GRID) * n // _GRID, axis)
        else:
            starts = np.arange(_GRID) * n // _GRID
            widths = np.diff(np.append(starts, n))
            shape = (-1, 1) if axis == 0 else (1, -1)
            image = np.add.reduceat(image, starts, axis, dtype=np.float64) / widths.reshape(shape)
    return image.astype(np.float32)
