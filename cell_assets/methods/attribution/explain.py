"""Attribution of many cells: maps written as they come, and for the scored cells the sanity checks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import (
    COMPLETENESS_ERROR,
    RANDOM_DROP,
    MapKind,
    Region,
    area_column,
    correlation_column,
    drop_column,
    rank_correlation,
    share_column,
    share_inside,
)
from cell_assets.evaluation.pixels.state_heads import StateHead, StateHeads
from cell_assets.evaluation.units import FloatArray, IntArray
from cell_assets.methods.attribution.classifier import PatchEncoder, StateClassifier
from cell_assets.methods.attribution.deletion import logit_drops
from cell_assets.methods.attribution.maps import AttributionMaps, attribute
from cell_assets.methods.contract import Progress, ProgressSink

Masks = Mapping[Region, NDArray[np.bool_]]
"""(Z, Y, X) each; empty where the cell has no label."""


@dataclass(frozen=True)
class ExplainedCell:
    """One cell image as it is written and drawn."""

    row: int
    """Of `StateHeads.cells`."""
    patch: NDArray[np.float32]
    """(C, Z, Y, X) normalised."""
    maps: Mapping[MapKind, NDArray[np.float32]]
    """(K, C, Z, Y, X)."""
    masks: Masks
    logit: FloatArray
    """(K,)"""
    baseline_logit: FloatArray
    """(K,)"""
    completeness_error: FloatArray
    """(K,)"""


def explain_cells(
    encoder: PatchEncoder,
    heads: StateHeads,
    rows: IntArray,
    scored: Mapping[str, IntArray],
    masks_of: Callable[[int], Masks],
    parameters: AttributionParameters,
    keep: Callable[[ExplainedCell], None],
    progress: ProgressSink | None = None,
) -> pd.DataFrame:
    """Hands each of `rows` of `heads.cells` to `keep`, one at a time; gives the scores of the scored ones.

    Memory beyond one pass of the network (`maps`) is that of one cell's maps.

    Args:
        scored: rows by column, a part of `rows`.
        masks_of: of a row.

    Returns:
        One row for each scored cell and head: `column, row` and the columns of `SCORE_COLUMNS`.
    """
    linear = [head.linear for head in heads.heads]
    device = torch.device(parameters.device)
    trained = StateClassifier(encoder.network, linear).to(device).eval()
    randomised = StateClassifier(encoder.randomised, linear).to(device).eval()
    generator = torch.Generator().manual_seed(parameters.seed)
    scores: list[dict[str, object]] = []
    started = time.monotonic()
    with encoder.arithmetic():
        for done, row in enumerate(rows.tolist(), start=1):
            patch = encoder.read(heads.cells.iloc[[row]])[0].to(device)
            explained = attribute(trained, patch, parameters)
            cell = _kept(row, patch, explained, masks_of(row))
            asked = [head for head in heads.heads if row in scored[head.column]]
            if asked:
                drops = logit_drops(trained, patch, explained, parameters, generator)
                against = attribute(randomised, patch, parameters)
                for head in asked:
                    at = heads.heads.index(head)
                    score = _score(cell, against, at)
                    score |= {drop_column(kind): float(drops.by_map[kind][at]) for kind in MapKind}
                    scores.append(
                        {"column": head.column, "row": row, **score, RANDOM_DROP: float(drops.random[at])}
                    )
            keep(cell)
            if progress is not None:
                rate = done / max(time.monotonic() - started, 1e-9)
                progress(Progress(done, len(rows), "cells", rate, (len(rows) - done) / rate))
    return pd.DataFrame(scores)


def largest_disagreement(heads: Sequence[StateHead], cell: ExplainedCell) -> float:
    """Between the logits of the network on pixels and of the heads on published features, relative to 1 + |logit|."""
    published = np.array([head.logit[cell.row] for head in heads])
    return float((np.abs(cell.logit - published) / (1 + np.abs(published))).max())


def _kept(row: int, patch: torch.Tensor, explained: AttributionMaps, masks: Masks) -> ExplainedCell:
    return ExplainedCell(
        row=row,
        patch=patch.cpu().numpy(),
        maps={kind: one.cpu().numpy() for kind, one in explained.maps.items()},
        masks=masks,
        logit=explained.logit.double().cpu().numpy(),
        baseline_logit=explained.baseline_logit.double().cpu().numpy(),
        completeness_error=explained.completeness_error.cpu().numpy(),
    )


def _score(cell: ExplainedCell, randomised: AttributionMaps, at: int) -> dict[str, float | None]:
    """Of head number `at`."""
    score: dict[str, float | None] = {COMPLETENESS_ERROR: float(cell.completeness_error[at])}
    for region in Region:
        mask = cell.masks.get(region)
        score[area_column(region)] = None if mask is None else float(mask.mean())
        for kind in MapKind:
            inside = None if mask is None else share_inside(cell.maps[kind][at], mask)
            score[share_column(kind, region)] = inside
    for kind in MapKind:
        other = randomised.maps[kind][at].cpu().numpy()
        score[correlation_column(kind)] = rank_correlation(cell.maps[kind][at], other)
    return score
