"""Attributions of models whose exact answer is known by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import MapKind
from cell_assets.evaluation.scores.probes import LinearHead
from cell_assets.methods.attribution.classifier import StateClassifier
from cell_assets.methods.attribution.deletion import logit_drops
from cell_assets.methods.attribution.maps import attribute, occlusion_passes

OCCLUSION, INTEGRATED = MapKind.OCCLUSION, MapKind.INTEGRATED_GRADIENTS


class Weighted(nn.Module):
    """(N, C, Z, Y, X) → (N, K): one weighted sum of all pixels for each head, plus a bias."""

    def __init__(self, *weights: list[float], shape: tuple[int, int, int, int], bias: float = 5.0) -> None:
        super().__init__()
        self.weight = torch.tensor(weights).view(len(weights), *shape)
        self.bias = bias

    def forward(self, patches: Tensor) -> Tensor:
        return torch.einsum("nczyx,kczyx->nk", patches, self.weight) + self.bias


class OnePixel(nn.Module):
    """(N, 1, 1, 1, 1) → (N, 1) by a function of the pixel."""

    def __init__(self, square: bool) -> None:
        super().__init__()
        self.square = square

    def forward(self, patches: Tensor) -> Tensor:
        pixel = patches.flatten(1)
        return pixel**2 if self.square else torch.relu(pixel - 1)


def parameters(**changes: object) -> AttributionParameters:
    return AttributionParameters.model_validate(
        {
            "occlusion_window": (1, 1, 2),
            "occlusion_stride": (1, 1, 1),
            "path_steps": 8,
            "path_cuts": (),
            "batch_size": 3,
        }
        | changes
    )


def values(tensor: Tensor) -> list[float]:
    return [round(value, 4) for value in tensor.flatten().tolist()]


def test_a_weighted_sum_is_attributed_as_by_hand() -> None:
    shape = (1, 1, 1, 3)
    model = Weighted([1.0, 10.0, 100.0], [0.0, -1.0, 0.0], shape=shape)
    found = attribute(model, torch.tensor([1.0, 2.0, 3.0]).view(shape), parameters())
    # 1·1 + 10·2 + 100·3 + 5, and −2 + 5.
    assert values(found.logit) == [326, 3]
    assert values(found.baseline_logit) == [5, 5]
    # Weight times pixel.
    assert values(found.maps[INTEGRATED]) == [1, 20, 300, 0, -2, 0]
    # Without the first two pixels 21 are lacking, without the last two 320; the middle one is in both windows.
    assert values(found.maps[OCCLUSION][0]) == [21, 170.5, 320]
    assert values(found.maps[OCCLUSION][1]) == [-2, -2, -2]
    assert float(found.completeness_error.max()) < 1e-4


def test_a_window_covers_one_channel_and_the_last_one_is_cut_off() -> None:
    shape = (2, 1, 1, 3)
    model = Weighted([1.0] * 6, shape=shape)
    patch = torch.tensor([1.0, 2.0, 4.0, 10.0, 20.0, 40.0]).view(shape)
    found = attribute(model, patch, parameters(occlusion_stride=(1, 1, 2)))
    assert values(found.maps[OCCLUSION]) == [3, 3, 4, 30, 30, 40]


def test_a_window_deeper_than_the_patch_is_clipped_to_it() -> None:
    shape = (1, 2, 1, 2)
    model = Weighted([1.0] * 4, shape=shape)
    patch = torch.tensor([1.0, 2.0, 10.0, 20.0]).view(shape)
    found = attribute(model, patch, parameters(occlusion_window=(15, 8, 1), occlusion_stride=(15, 4, 1)))
    assert values(found.maps[OCCLUSION]) == [11, 22, 11, 22]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # Windows of 8 px every 4 px begin at 0, 4, …, 56: 15 along each side, all slices at once.
        ((2, 5, 64, 64), 2 * 15 * 15),
        # At 0 and at 15, cut off.
        ((1, 20, 8, 8), 2),
        ((1, 1, 6, 10), 2),
    ],
)
def test_the_papers_window_needs_so_many_passes(shape: tuple[int, int, int, int], expected: int) -> None:
    class Counting(nn.Module):
        seen = 0

        def forward(self, patches: Tensor) -> Tensor:
            self.seen += len(patches)
            return patches.mean(dim=(1, 2, 3, 4))[:, None]

    assert occlusion_passes(shape, AttributionParameters()) == expected
    model = Counting()
    attribute(model, torch.ones(shape), AttributionParameters(path_steps=2, path_cuts=()))
    # Captum looks at the whole patch once, we at it and at the baseline; two points of the path, batched as one.
    assert model.seen == expected + 1 + 2 + 2


def test_integrated_gradients_are_multiplied_by_the_input() -> None:
    # The integral of 2αx over α is x, times x = 3. A gradient alone would be 6.
    found = attribute(
        OnePixel(square=True), torch.full((1, 1, 1, 1), 3.0), parameters(occlusion_window=(1, 1, 1))
    )
    assert values(found.maps[INTEGRATED]) == [9]
    assert values(found.completeness_error) == [0]


def test_the_error_of_completeness_is_what_the_path_misses() -> None:
    # max(3α − 1, 0) rises from α = 1/3. Of the two Gauss-Legendre points 0.211 and 0.789, half the weight each, one
    # lies there: 3 · 1/2 instead of 2.
    patch = torch.full((1, 1, 1, 1), 3.0)
    settings: dict[str, object] = {"occlusion_window": (1, 1, 1), "path_steps": 2}
    found = attribute(OnePixel(square=False), patch, parameters(**settings))
    assert values(found.maps[INTEGRATED]) == [1.5]
    assert values(found.completeness_error) == [0.5]
    fine = attribute(OnePixel(square=False), patch, parameters(**settings | {"path_steps": 64}))
    assert float(fine.completeness_error[0]) < 0.05
    # Cut where it bends, two straight pieces are integrated exactly.
    cut = attribute(OnePixel(square=False), patch, parameters(**settings | {"path_cuts": (1 / 3,)}))
    assert values(cut.maps[INTEGRATED]) == [2]


@pytest.mark.parametrize("cuts", [(0.5, 0.1), (0.0,), (1.0,), (0.2, 0.2)])
def test_a_path_that_does_not_ascend_is_refused(cuts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must ascend between 0 and 1"):
        AttributionParameters(path_cuts=cuts)


def test_heads_behind_an_encoder_say_what_they_say_of_its_features() -> None:
    rng = np.random.default_rng(0)
    heads = [
        LinearHead(rng.normal(size=12) * 100, rng.uniform(0.1, 3, 12), rng.normal(size=12), 0.5)
        for _ in range(2)
    ]
    classifier = StateClassifier(nn.Flatten(), heads)
    patches = torch.from_numpy(rng.normal(size=(4, 1, 1, 3, 4)).astype(np.float32))
    expected = np.stack([head.logit(patches.flatten(1).double().numpy()) for head in heads], axis=1)
    np.testing.assert_allclose(classifier(patches), expected, rtol=1e-4)


def test_deleting_what_speaks_most_lowers_the_predicted_state() -> None:
    shape = (1, 1, 1, 10)
    weights = [3.0, -2.0, 1.0, 0, 0, 0, 0, 0, 0, 0]
    model = Weighted(weights, [-one for one in weights], shape=shape, bias=0.0)
    patch = torch.ones(shape)
    settings = parameters(deleted_share=0.2, occlusion_window=(1, 1, 1), random_deletions=2000)
    found = attribute(model, patch, settings)
    drops = logit_drops(model, patch, found, settings, torch.Generator().manual_seed(0))
    # The first head says 2 and loses 3 and 1; the second says −2, by the same pixels, and rises by as much.
    for kind in MapKind:
        assert values(drops.by_map[kind]) == [4, 4]
    # Two of ten pixels at random are a fifth of the logit.
    assert drops.random.tolist() == pytest.approx([0.4, 0.4], abs=0.1)
