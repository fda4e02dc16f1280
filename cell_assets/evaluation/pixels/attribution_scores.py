"""Whether attributions can be trusted, as numbers: where they lie, what they depend on, what deleting pixels does.

`scores` tables have one row for each scored cell image and head, with the columns of `SCORE_COLUMNS`.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import BoolArray, FloatArray, plural, unit_ids
from cell_assets.ledger.records import NumberDraft


class MapKind(StrEnum):
    """How an attribution map was made."""

    OCCLUSION = "occlusion"
    INTEGRATED_GRADIENTS = "integrated_gradients"


class Region(StrEnum):
    """Part of a patch that attribution may lie in."""

    SEGMENT = "segment"
    """The cell's own segmented region: the nucleus, where nuclei are segmented."""
    CELL = "cell"
    """The segment and what is near it and belongs to no other segment."""


COMPLETENESS_ERROR = "completeness_error"
RANDOM_DROP = "random_logit_drop"


def area_column(region: Region) -> str:
    """Share of the patch's pixels that the region covers: what attribution without any preference would have."""
    return f"area_share_of_{region.value}"


def share_column(kind: MapKind, region: Region) -> str:
    """Share of |attribution| that lies inside the region."""
    return f"{kind.value}_share_in_{region.value}"


def correlation_column(kind: MapKind) -> str:
    """Rank correlation of |attribution| with that of a randomised network."""
    return f"{kind.value}_rank_correlation_randomised"


def drop_column(kind: MapKind) -> str:
    """How far the logit falls when the pixels that speak most for the predicted state are deleted."""
    return f"{kind.value}_logit_drop"


SCORE_COLUMNS: tuple[str, ...] = (
    COMPLETENESS_ERROR,
    *(area_column(region) for region in Region),
    *(share_column(kind, region) for kind in MapKind for region in Region),
    *(correlation_column(kind) for kind in MapKind),
    RANDOM_DROP,
    *(drop_column(kind) for kind in MapKind),
)


def share_inside(attribution: NDArray[np.floating], region: BoolArray) -> float | None:
    """Share of |attribution| (C, Z, Y, X) inside `region` (Z, Y, X); None where the map is zero everywhere."""
    amount = np.abs(attribution.astype(np.float64)).sum(axis=0)
    total = float(amount.sum())
    return float(amount[region].sum()) / total if total else None


def rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float | None:
    """Spearman's ρ of |a| and |b|, ties sharing their mean rank; None where one of them is constant."""
    ranks = [rankdata(np.abs(one).ravel()) for one in (a, b)]
    if any(np.ptp(one) == 0 for one in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def attribution_numbers(
    scores: pd.DataFrame, column: str, method: str, split: str, parameters: AttributionParameters
) -> tuple[NumberDraft, ...]:
    """Means over the scored cells of one head, with 95 % intervals over tracks.

    Args:
        scores: rows of this head alone: `plate, fov_name, track_id` and `SCORE_COLUMNS`, null where not known.
        split: which rows these are, for example `test tracks`.
    """
    plain = [(name, scores[name]) for name in SCORE_COLUMNS]
    gains = [
        (
            f"{share_column(kind, region)}_over_area",
            scores[share_column(kind, region)] - scores[area_column(region)],
        )
        for kind in MapKind
        for region in Region
    ]
    gains += [
        (f"{drop_column(kind)}_over_random", scores[drop_column(kind)] - scores[RANDOM_DROP])
        for kind in MapKind
    ]
    estimates = [(name, _mean(scores, values, parameters)) for name, values in (*plain, *gains)]
    largest = scores[COMPLETENESS_ERROR].dropna()
    estimates.append(
        (
            f"largest_{COMPLETENESS_ERROR}",
            Estimate.exact(
                float(largest.max()), len(np.unique(unit_ids(scores, SplitUnit.TRACK))), "it is a maximum"
            )
            if len(largest)
            else Estimate.missing("no cell was scored"),
        )
    )
    return tuple(_draft(name, estimate, column, method, split) for name, estimate in estimates)


def numbers_without_head(column: str, why: str, method: str, split: str) -> tuple[NumberDraft, ...]:
    """What cannot be said of a column that has no head, and why."""
    names = (COMPLETENESS_ERROR, *(share_column(kind, Region.SEGMENT) for kind in MapKind))
    return tuple(_draft(name, Estimate.missing(why), column, method, split) for name in names)


def _mean(scores: pd.DataFrame, values: "pd.Series[float]", parameters: AttributionParameters) -> Estimate:
    known = values.notna().to_numpy()
    if not known.any():
        return Estimate.missing("it is defined for none of the scored cells")
    return bootstrap_interval(
        unit_ids(scores[known], SplitUnit.TRACK),
        Statistic(_weighted_mean(np.asarray(values[known], dtype=np.float64)), "there is no cell"),
        seed=parameters.seed,
        n_resamples=parameters.n_resamples,
    )


def _weighted_mean(values: FloatArray) -> Callable[[FloatArray], FloatArray]:
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1), dtype=np.float64)


def _draft(name: str, estimate: Estimate, column: str, method: str, split: str) -> NumberDraft:
    return estimate.as_number(
        report=f"{method}/attribution_{column}",
        name=name,
        split=split,
        unit=plural(SplitUnit.TRACK),
    )
