"""What the relevance of cells means: whether debris is told by it, which features go with it, and whether profiles
without the least relevant cells find more.

Relevance is compared within wells alone, since it is scaled within each. The cells of W wells lie one well after
another, and begin at `starts` (W + 1,), the last of which is N.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.profile_parameters import LEAST_RELEVANT
from cell_assets.evaluation.resampling import Estimate, bootstrap_interval, interval_of, resampled
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.retrieval.retrieval import (
    AVERAGE_PRECISION,
    CHANCE,
    N_POSITIVES,
    Question,
    ranked_queries,
)
from cell_assets.evaluation.scores.metrics import mean
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class DebrisFound:
    """How well one score tells debris from cells."""

    auroc: Estimate
    """Probability that debris scores below a cell of the same well: mean over wells, with the interval over them. One
    half knows nothing, and less than that takes debris for the better cells."""
    gain: dict[str, Estimate]
    """What it has over each other score, on the same wells."""


@dataclass(frozen=True)
class FeatureCorrelation:
    """How a feature goes with relevance."""

    feature: str
    correlation: Estimate
    """Spearman's within a well: mean over the wells in which the feature varies, with the interval over them."""


@dataclass(frozen=True)
class PairedRetrieval:
    """Two kinds of profiles of the same wells or treatments, asked the same question."""

    one: Estimate
    """Mean average precision, with the interval over the question's units."""
    other: Estimate
    gain: Estimate
    """`one` minus `other`, paired."""
    chance: float


def debris_found(
    scores: Mapping[str, FloatArray], debris: BoolArray, cells: BoolArray, starts: IntArray, *, seed: int = 0
) -> dict[str, DebrisFound]:
    """Whether low scores are debris, for every score.

    Args:
        scores: (N,) each, such as relevance by a trained and by an untrained network, and the norm of features.
        debris: (N,) what is to be found, for example debris of a large norm alone.
        cells: (N,) what it is told from; rows that are neither are not looked at.
        starts: (W + 1,).

    Raises:
        BadInputError: no well holds both, rows are both, or a score is not of as many cells.
    """
    for name, score in scores.items():
        _require_cells(score, starts, f"score {name}")
    if (debris & cells).any():
        raise BadInputError(
            f"{int((debris & cells).sum())} rows are debris and cells at once; give each row one truth"
        )
    wells = [well for well in _wells(starts) if debris[well].any() and cells[well].any()]
    if not wells:
        raise BadInputError(
            f"none of {len(starts) - 1} wells holds debris and cells, so that neither is told from the other; give "
            "wells with known debris"
        )
    of_wells = {
        name: np.array([_auroc(-score[well], debris[well], cells[well]) for well in wells])
        for name, score in scores.items()
    }
    return {
        name: DebrisFound(
            _over_wells(found, seed),
            {other: _over_wells(found - rival, seed) for other, rival in of_wells.items() if other != name},
        )
        for name, found in of_wells.items()
    }


def relevance_correlations(
    relevance: FloatArray,
    features: NDArray[np.float32],
    names: tuple[str, ...],
    starts: IntArray,
    *,
    seed: int = 0,
    n_resamples: int = 1000,
) -> tuple[FeatureCorrelation, ...]:
    """The rank correlation of every feature with relevance, from the highest to the lowest (paper, Table 2).

    Memory is that of one well's cells and of one correlation per well and feature.

    Args:
        relevance: (N,).
        features: (N, D); may be a memory map.
        names: D names.
        starts: (W + 1,).

    Raises:
        BadInputError: relevance or features are not of as many cells, or features not of as many names.
    """
    _require_cells(relevance, starts, "relevance")
    _require_cells(features, starts, "features")
    if features.shape[1] != len(names):
        raise BadInputError(
            f"features have {features.shape[1]} columns and {len(names)} names; name each column"
        )
    (of_wells,) = rank_correlations(relevance[:, None], features, starts)
    return correlations_over_wells(of_wells, names, seed=seed, n_resamples=n_resamples)


def rank_correlations(scores: FloatArray, features: NDArray[np.float32], starts: IntArray) -> FloatArray:
    """Spearman's rank correlation of S scores (N, S) with D features (N, D) within each well: (S, W, D); NaN where
    either has one value."""
    return np.stack([_spearman(scores[well], features[well]) for well in _wells(starts)], 1)


def correlations_over_wells(
    of_wells: FloatArray, names: tuple[str, ...], *, seed: int = 0, n_resamples: int = 1000
) -> tuple[FeatureCorrelation, ...]:
    """Means of the correlations (W, D) within wells, from the highest to the lowest."""
    values, draws = _means_over_wells(of_wells, seed, n_resamples)
    why = "the feature or relevance has one value in every well"
    n_wells = np.isfinite(of_wells).sum(0)
    found = [
        FeatureCorrelation(
            name,
            interval_of(float(value), of_feature, int(n), why) if n else Estimate.missing(why),
        )
        for name, value, of_feature, n in zip(names, values, draws.T, n_wells, strict=True)
    ]
    return tuple(sorted(found, key=_from_high_to_low))


def kept_cells(relevance: FloatArray, starts: IntArray, dropped: float = LEAST_RELEVANT) -> BoolArray:
    """Which cells (N,) are left when every well loses its least relevant share, rounded down so that each keeps some.

    Equally relevant cells go in their order.

    Raises:
        BadInputError: relevance is not of as many cells, or `dropped` is no share below 1.
    """
    _require_cells(relevance, starts, "relevance")
    if not 0 <= dropped < 1:
        raise BadInputError(f"a share of {dropped:g} cannot be dropped; give at least 0 and less than 1")
    kept = np.ones(len(relevance), bool)
    for well in _wells(starts):
        least = np.argsort(relevance[well], kind="stable")[: _number(well, dropped)]
        kept[well.start + least] = False
    return kept


def randomly_kept_cells(kept: BoolArray, starts: IntArray, *, seed: int) -> BoolArray:
    """As many cells of every well as `kept` (N,) keeps, drawn at random; equal seeds draw equal cells."""
    _require_cells(kept, starts, "what is kept")
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(kept), bool)
    for well in _wells(starts):
        n = well.stop - well.start
        drawn[well.start + random.permutation(n)[: int(kept[well].sum())]] = True
    return drawn


def means_of_kept(features: NDArray[np.float32], kept: BoolArray, starts: IntArray) -> FloatArray:
    """Mean profiles (W, D) over the kept cells (N,) of every well.

    Raises:
        BadInputError: a well has none left.
    """
    _require_cells(features, starts, "features")
    _require_cells(kept, starts, "what is kept")
    empty = [place for place, well in enumerate(_wells(starts)) if not kept[well].any()]
    if empty:
        raise BadInputError(
            f"wells at places {', '.join(map(str, empty[:5]))} have no cell left and so no mean; keep some of each"
        )
    return np.stack([features[well][kept[well]].mean(0, dtype=np.float64) for well in _wells(starts)])


def paired_retrieval(
    one: Profiles, other: Profiles, question: Question, *, seed: int = 0, n_resamples: int = 1000
) -> PairedRetrieval:
    """Whether `one` finds more than `other`, whose rows are the same; resampled by the question's unit.

    Raises:
        BadInputError: rows differ, or none has a partner.
    """
    asked = [ranked_queries(profiles, question) for profiles in (one, other)]
    columns = [question.label, *question.apart, question.unit]
    if len(one) != len(other) or not asked[0][columns].equals(asked[1][columns]):
        raise BadInputError(
            f"the two kinds of profiles differ in rows or in {', '.join(columns)}; give both of the same wells in the "
            "same order"
        )
    asks = (asked[0][N_POSITIVES] > 0).to_numpy()
    first, second = (found.loc[asks, AVERAGE_PRECISION].to_numpy(np.float64) for found in asked)
    units = asked[0].loc[asks, question.unit].to_numpy(str)
    of_one, of_other, gain = (
        bootstrap_interval(units, mean(values), seed=seed, n_resamples=n_resamples)
        for values in (first, second, first - second)
    )
    return PairedRetrieval(of_one, of_other, gain, float(asked[0].loc[asks, CHANCE].mean()))


def _wells(starts: IntArray) -> Iterator[slice]:
    return (slice(int(begin), int(end)) for begin, end in pairwise(starts))


def _number(well: slice, share: float) -> int:
    # A share of 0.2 of 5 cells is one, whatever 0.2 x 5 is in binary.
    return int(share * (well.stop - well.start) + 1e-9)


def _auroc(score: FloatArray, debris: BoolArray, cells: BoolArray) -> float:
    asked = debris | cells
    return float(roc_auc_score(debris[asked], score[asked]))


def _spearman(scores: FloatArray, features: NDArray[np.float32]) -> FloatArray:
    """(S, D) rank correlations over n cells; NaN where either has one value."""
    one, other = (_unit_ranks(values) for values in (scores, features))
    return one.T @ other


def _unit_ranks(values: NDArray[np.floating]) -> FloatArray:
    """Ranks (n, k) of every column, centred and of length 1; NaN in a column of one value."""
    ranks: FloatArray = rankdata(values, axis=0)
    ranks -= ranks.mean(0)
    length = np.linalg.norm(ranks, axis=0)
    return np.divide(ranks, length, out=np.full(ranks.shape, np.nan), where=length > 0)


def _means_over_wells(of_wells: FloatArray, seed: int, n_resamples: int) -> tuple[FloatArray, FloatArray]:
    """Means (D,) over the wells that have a value, of (W, D), and those of resampled wells (B, D)."""
    has = np.isfinite(of_wells)
    values, there = np.where(has, of_wells, 0.0), has.astype(np.float64)

    def means(weights: FloatArray) -> FloatArray:
        n = weights @ there
        return np.divide(weights @ values, n, out=np.full(n.shape, np.nan), where=n > 0)

    n_wells = len(of_wells)
    draws = resampled(np.arange(n_wells), n_wells, means, seed, n_resamples)
    return means(np.ones((1, n_wells)))[0], draws


def _over_wells(values: FloatArray, seed: int) -> Estimate:
    names = np.arange(len(values)).astype(str)
    return bootstrap_interval(names, mean(values), seed=seed)


def _from_high_to_low(found: FeatureCorrelation) -> tuple[bool, float]:
    value = found.correlation.value
    return value is None, -(value or 0.0)


def _require_cells(values: NDArray[np.generic], starts: IntArray, what: str) -> None:
    if len(values) != starts[-1]:
        raise BadInputError(
            f"{what}: is of {len(values)} cells, and the wells hold {int(starts[-1])}; give one value a cell, in the "
            "order of wells"
        )
