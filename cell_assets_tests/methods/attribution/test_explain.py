"""A toy network that was taught to look at one tile: what is attributed to it, and to a randomised one."""

import copy
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import (
    RANDOM_DROP,
    SCORE_COLUMNS,
    MapKind,
    Region,
    correlation_column,
    drop_column,
    share_column,
    share_inside,
)
from cell_assets.evaluation.pixels.state_heads import StateHead, StateHeads
from cell_assets.evaluation.scores.probes import LinearHead
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import SplitStatement
from cell_assets.methods.attribution.classifier import PatchEncoder, StateClassifier
from cell_assets.methods.attribution.explain import ExplainedCell, explain_cells, largest_disagreement
from cell_assets.methods.attribution.maps import attribute

N, SIDE, TILE = 12, 16, 4
SEEN = (slice(None), slice(4, 8), slice(8, 12))
"""The tile (z, y, x) whose sign is the state."""
SETTINGS = AttributionParameters(
    occlusion_window=(1, 4, 4), occlusion_stride=(1, 2, 2), threads=1, random_deletions=4
)


def tiles(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, 1, 1, 16, 16) whose 16 tiles are each brighter or darker than 0 by chance, and the sign of one of them."""
    signs = torch.randint(0, 2, (n, 4, 4), generator=generator) * 2.0 - 1
    bright = signs.repeat_interleave(TILE, 1).repeat_interleave(TILE, 2)
    noise = 0.3 * torch.randn((n, SIDE, SIDE), generator=generator)
    return (bright + noise)[:, None, None], signs[:, 1, 2] > 0


class Encoder(nn.Module):
    """(N, 1, 1, 16, 16) → (N, 16); the last layer mixes all places, as pooling does."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, 8, TILE, stride=TILE)
        self.mix = nn.Linear(8 * 16, 16)

    def forward(self, patches: Tensor) -> Tensor:
        return torch.relu(self.mix(torch.tanh(self.look(patches[:, :, 0])).flatten(1)))


class Toy:
    """Taught on 512 images, and asked about 12 others."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.randomised, network, last = Encoder(), Encoder(), nn.Linear(16, 1)
        patches, label = tiles(512, generator)
        step = torch.optim.AdamW([*network.parameters(), *last.parameters()], lr=0.01, weight_decay=0.1)
        for _ in range(150):
            loss = nn.functional.binary_cross_entropy_with_logits(last(network(patches))[:, 0], label.float())
            step.zero_grad()
            loss.backward()
            step.step()
        assert float(loss) < 0.05
        self.patches, asked = tiles(N, generator)
        weight, bias = last.weight[0].detach().double().numpy(), float(last.bias)
        linear = LinearHead(np.zeros(16), np.ones(16), weight, bias)
        with torch.no_grad():
            features = network(self.patches).double().numpy()
        self.cells = pd.DataFrame(
            {"plate": "P1", "fov_name": "A/1/000", "track_id": range(N), "t": 0, "row": range(N)}
        )
        every = np.ones(N, dtype=bool)
        head = StateHead("state", "on", "off", linear, "C = 1", asked.numpy(), every, linear.logit(features))
        split = SplitStatement(SplitUnit.TRACK, ("train",), "test", 512, N, N, None)
        self.heads = StateHeads(self.cells, every, split, (head,), {})
        self.encoder = PatchEncoder(
            network=network.eval(),
            randomised=self.randomised.eval(),
            read=lambda cells: self.patches[cells["row"].to_numpy()],
            channel_names=("Phase",),
            side_px=SIDE,
            baseline="the mean",
            arithmetic=nullcontext,
        )
        self.mask = np.zeros((1, SIDE, SIDE), dtype=bool)
        self.mask[SEEN] = True

    def explain(self, with_mask: bool = True) -> tuple[pd.DataFrame, list[ExplainedCell]]:
        kept: list[ExplainedCell] = []
        masks = dict.fromkeys(Region, self.mask) if with_mask else {}
        rows = np.arange(N)
        scores = explain_cells(
            self.encoder, self.heads, rows, {"state": rows[2:]}, lambda row: masks, SETTINGS, kept.append
        )
        return scores, kept


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def explained(toy: Toy) -> tuple[pd.DataFrame, list[ExplainedCell]]:
    return toy.explain()


@pytest.mark.parametrize("kind", list(MapKind))
def test_attribution_lies_where_the_network_was_taught_to_look(
    toy: Toy, explained: tuple[pd.DataFrame, list[ExplainedCell]], kind: MapKind
) -> None:
    scores, _ = explained
    chance = 1 / 16
    assert scores["area_share_of_segment"].eq(chance).all()
    assert scores[share_column(kind, Region.SEGMENT)].mean() > 5 * chance
    assert scores[share_column(kind, Region.SEGMENT)].min() > 3 * chance
    classifier = StateClassifier(toy.randomised, [toy.heads.heads[0].linear])
    shares = [
        share_inside(attribute(classifier, patch, SETTINGS).maps[kind][0].numpy(), toy.mask)
        for patch in toy.patches
    ]
    assert np.mean([share for share in shares if share is not None]) == pytest.approx(chance, abs=chance / 2)
    assert scores[correlation_column(kind)].mean() < 0.5


@pytest.mark.parametrize("kind", list(MapKind))
def test_deleting_the_most_attributed_pixels_moves_the_logit_more_than_random_ones(
    explained: tuple[pd.DataFrame, list[ExplainedCell]], kind: MapKind
) -> None:
    scores, _ = explained
    assert (scores[drop_column(kind)] > 2 * scores[RANDOM_DROP].abs()).mean() > 0.8


def test_every_cell_is_kept_and_only_those_asked_for_are_scored(
    toy: Toy, explained: tuple[pd.DataFrame, list[ExplainedCell]]
) -> None:
    scores, kept = explained
    assert [cell.row for cell in kept] == list(range(N))
    assert scores["row"].tolist() == list(range(2, N))
    assert set(scores.columns) == {"column", "row", *SCORE_COLUMNS}
    for cell in kept:
        assert cell.maps[MapKind.OCCLUSION].shape == (1, 1, 1, SIDE, SIDE)
        total = float(cell.maps[MapKind.INTEGRATED_GRADIENTS].sum(dtype=np.float64))
        assert total == pytest.approx(float(cell.logit[0] - cell.baseline_logit[0]), rel=0.02, abs=0.1)
        assert cell.completeness_error[0] == pytest.approx(
            abs(total - float(cell.logit[0] - cell.baseline_logit[0])), abs=1e-5
        )
        assert largest_disagreement(toy.heads.heads, cell) < 1e-4


def test_the_same_again_is_the_same_to_the_last_bit(
    toy: Toy, explained: tuple[pd.DataFrame, list[ExplainedCell]]
) -> None:
    scores, kept = toy.explain()
    pd.testing.assert_frame_equal(scores, explained[0], check_exact=True)
    for one, other in zip(kept, explained[1], strict=True):
        for kind in MapKind:
            assert np.array_equal(one.maps[kind], other.maps[kind])


def test_a_cell_without_label_has_no_share(toy: Toy) -> None:
    scores, _ = toy.explain(with_mask=False)
    assert scores[[share_column(kind, region) for kind in MapKind for region in Region]].isna().all().all()
    assert scores[[correlation_column(kind) for kind in MapKind]].notna().all().all()


def test_another_checkpoint_than_the_embeddings_is_noticed(toy: Toy) -> None:
    other = copy.deepcopy(toy)
    other.encoder.network.mix.weight.data *= 1.5  # type: ignore[union-attr, operator]
    _, kept = other.explain()
    assert max(largest_disagreement(toy.heads.heads, cell) for cell in kept) > 0.1
