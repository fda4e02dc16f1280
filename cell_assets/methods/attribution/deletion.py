"""What becomes of a logit when pixels are set to the baseline: those that speak most for the prediction, or any."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import MapKind
from cell_assets.methods.attribution.maps import AttributionMaps


@dataclass(frozen=True)
class LogitDrops:
    """How far each of K heads' logits moves away from the state that it predicts; (K,) each."""

    by_map: dict[MapKind, Tensor]
    random: Tensor
    """Mean over `random_deletions` draws."""


def logit_drops(
    classifier: nn.Module,
    patch: Tensor,
    explained: AttributionMaps,
    parameters: AttributionParameters,
    generator: torch.Generator,
) -> LogitDrops:
    """Delete `deleted_share` of all pixels of a patch (C, Z, Y, X), for every head and map, and at random.

    Args:
        generator: of the random pixels, on the CPU.
    """
    n_deleted = max(1, round(parameters.deleted_share * patch.numel()))
    towards = torch.where(explained.logit > 0, 1.0, -1.0)  # (K,) the sign of what each head predicts
    kinds, heads = tuple(explained.maps), len(towards)
    speaking = torch.cat([(explained.maps[kind].flatten(1) * towards[:, None]) for kind in kinds])
    # Stable, because all voxels under one occlusion window have the same value.
    chosen = speaking.sort(dim=1, descending=True, stable=True).indices[:, :n_deleted]
    drawn = torch.stack(
        [
            torch.randperm(patch.numel(), generator=generator)[:n_deleted]
            for _ in range(parameters.random_deletions)
        ]
    )
    logits = _without(classifier, patch, torch.cat([chosen, drawn.to(chosen.device)]), parameters.batch_size)
    fallen = (explained.logit - logits) * towards  # (kinds * K + draws, K)
    own = torch.arange(heads, device=fallen.device)
    return LogitDrops(
        {kind: fallen[n * heads + own, own] for n, kind in enumerate(kinds)},
        fallen[len(chosen) :].mean(0),
    )


def _without(classifier: nn.Module, patch: Tensor, pixels: Tensor, batch_size: int) -> Tensor:
    """(D, K) logits of the patch without each of D sets of pixels, by their places in the flattened patch."""
    logits = []
    with torch.no_grad():
        for part in pixels.split(batch_size):
            deleted = patch.flatten().repeat(len(part), 1).scatter(1, part, 0.0)
            logits.append(classifier(deleted.view(-1, *patch.shape)))
    return torch.cat(logits)
