"""Attribution maps of one patch, by Captum: occlusion (Zeiler and Fergus 2014), integrated gradients
(Sundararajan et al. 2017).

The baseline of both is 0 in normalised units. Memory: `batch_size` patches with their activations (and gradients,
for integrated gradients), and as many masks for each head.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from captum.attr import IntegratedGradients, Occlusion
from torch import Tensor, nn

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import MapKind


@dataclass(frozen=True)
class AttributionMaps:
    """What K heads say of one patch (C, Z, Y, X), and why."""

    logit: Tensor
    """(K,)"""
    baseline_logit: Tensor
    """(K,), of a patch that is 0 everywhere."""
    maps: dict[MapKind, Tensor]
    """(K, C, Z, Y, X) each, in logits: positive where the pixel speaks for the positive state.

    Occlusion: how far the logit falls when the window is set to the baseline, averaged over the windows that cover
    the pixel. Integrated gradients: already multiplied by input less baseline, so that they sum to `logit` less
    `baseline_logit`.
    """

    @property
    def completeness_error(self) -> Tensor:
        """(K,) how far integrated gradients are from summing to the difference of logits."""
        total = self.maps[MapKind.INTEGRATED_GRADIENTS].double().flatten(1).sum(1)
        return (total - (self.logit - self.baseline_logit).double()).abs()


def attribute(classifier: nn.Module, patch: Tensor, parameters: AttributionParameters) -> AttributionMaps:
    """Both maps of every head for one patch (C, Z, Y, X); the order of arithmetic is fixed.

    The occlusion window slides over (C, Z, Y, X): it covers one channel at a time, and is clipped to the patch.
    """
    with torch.no_grad():
        logit, baseline_logit = classifier(torch.stack([patch, torch.zeros_like(patch)]))
    return AttributionMaps(
        logit,
        baseline_logit,
        {
            MapKind.OCCLUSION: _occlusion(classifier, patch, parameters),
            MapKind.INTEGRATED_GRADIENTS: _integrated_gradients(classifier, patch, len(logit), parameters),
        },
    )


def occlusion_passes(shape: tuple[int, int, int, int], parameters: AttributionParameters) -> int:
    """Patches that go through the network for one occlusion map of a patch (C, Z, Y, X), for all heads together."""
    windows, strides = _window(shape, parameters)
    passes = 1
    for size, window, stride in zip(shape, windows, strides, strict=True):
        passes *= -(-(size - window) // stride) + 1
    return passes


def _window(
    shape: tuple[int, ...], parameters: AttributionParameters
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(C, Z, Y, X) of window and stride; Captum refuses a window beyond the patch."""
    window = (1, *(min(w, size) for w, size in zip(parameters.occlusion_window, shape[1:], strict=True)))
    # A stride beyond its window would leave voxels that no window covers.
    stride = (1, *(min(s, w) for s, w in zip(parameters.occlusion_stride, window[1:], strict=True)))
    return window, stride


def _occlusion(classifier: nn.Module, patch: Tensor, parameters: AttributionParameters) -> Tensor:
    window, stride = _window(tuple(patch.shape), parameters)
    # Of one example and K outputs Captum gives K maps, so that all heads share each pass of the encoder.
    with torch.no_grad():
        return Occlusion(classifier).attribute(
            patch[None],
            sliding_window_shapes=window,
            strides=stride,
            baselines=0.0,
            perturbations_per_eval=parameters.batch_size,
        )


def _integrated_gradients(
    classifier: nn.Module, patch: Tensor, heads: int, parameters: AttributionParameters
) -> Tensor:
    integrated = IntegratedGradients(classifier, multiply_by_inputs=True)
    maps = patch.new_zeros((heads, *patch.shape))
    # The pieces of a straight path add up to the integral along the whole of it.
    for begin, end in pairwise((0.0, *parameters.path_cuts, 1.0)):
        for head in range(heads):
            maps[head] += integrated.attribute(
                end * patch[None],
                baselines=begin * patch[None],
                target=head,
                n_steps=parameters.path_steps,
                method="gausslegendre",
                internal_batch_size=parameters.batch_size,
            )[0].detach()
    return maps
