"""What the leading directions of an embedding mean: their rank correlation with measured features.

DynaCLR, Figure 3e and 3f: Spearman correlation of the principal components with computed features, and the cells at
both ends of each component.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from cell_assets.evaluation.features.cell_features import CellFeatures
from cell_assets.evaluation.resampling import Estimate, interval_of, resampled, stated_split, unit_codes
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.evaluate import EmbeddingEvaluation
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray, plural, unit_ids

N_COMPONENTS = 5
"""As many as the paper's figure shows."""
REPORT = "image_features"

_UNDEFINED = "the feature is the same in all cells that have it"


@dataclass(frozen=True)
class FeatureCorrelations:
    """Rank correlations of test cells, and where every cell lies along the components."""

    features: tuple[str, ...]
    """The measured ones, and behind them `n_derived` that are computed of these."""
    estimates: tuple[tuple[Estimate, ...], ...]
    """Of each feature with each of the K components; intervals over resampled tracks."""
    explained: FloatArray
    """(K,) share of the variance of all cells."""
    components: FloatArray
    """(N, K) of all cells, on which they were fitted: the axes of the report's projections, continued."""
    test: BoolArray
    """(N,) rows that were correlated."""
    n_unmeasured: int
    """Of these, rows without any feature: no label belongs to the cell."""
    n_derived: int = 0

    @property
    def n_measured(self) -> int:
        """How many of `features` were measured."""
        return len(self.features) - self.n_derived

    def strongest(self, component: int) -> int | None:
        """Index of the measured feature of greatest absolute correlation with a component; None where none has a value.

        What is derived is drawn and not chosen: the number that names a feature is of those that stand in a table.
        """
        sizes = [
            -1.0 if one[component].value is None else abs(one[component].value or 0.0)
            for one in self.estimates[: self.n_measured]
        ]
        best = int(np.argmax(sizes)) if sizes else -1
        return best if best >= 0 and sizes[best] >= 0 else None


def correlate_features(
    embedding: FloatArray,
    cells: pd.DataFrame,
    features: CellFeatures,
    *,
    test_split: str,
    seed: int,
    n_resamples: int,
) -> FeatureCorrelations:
    """Correlate the first components of `embedding` (N, D) with every feature, on the test rows of `cells` (N).

    Behind the measured features with the interquartile range of each channel's intensity.
    Rows in which a feature is missing are left out for that feature. Cost: features times test rows times resamples.
    """
    k = min(N_COMPONENTS, *embedding.shape)
    pca = PCA(k, svd_solver="full").fit(embedding)
    components = pca.transform(embedding)
    test = (cells["split"].astype(str) == test_split).to_numpy()
    tracks = unit_ids(cells[test], SplitUnit.TRACK)
    derived = features.interquartile_ranges()
    values = pd.concat([features.values, derived], axis=1).loc[test]
    found: dict[str, tuple[Estimate, ...]] = {}
    # Features that are known of the same rows share the ranks of the components.
    patterns: dict[bytes, list[str]] = {}
    for name in values.columns:
        patterns.setdefault(values[name].notna().to_numpy().tobytes(), []).append(str(name))
    for names in patterns.values():
        known = values[names[0]].notna().to_numpy()
        found |= _correlated(
            components[test][known], values.loc[known, names], tracks[known], seed, n_resamples
        )
    order = [str(name) for name in values.columns]
    return FeatureCorrelations(
        features=tuple(order),
        estimates=tuple(found[name] for name in order),
        explained=pca.explained_variance_ratio_,
        components=components,
        test=test,
        n_unmeasured=int(values.isna().all(axis=1).sum()),
        n_derived=derived.shape[1],
    )


def rank_correlations(first: FloatArray, second: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's rho of each column of `first` (N, K) with each of `second` (N, F) under row weights (B, N).

    Returns (B, F, K), NaN where a column is constant. Ties share their mean rank; ranks are those of the weighted
    rows, as if each stood there as many times as it weighs.
    """
    total = weights.sum(axis=1)
    ranks = np.stack([_centred_ranks(column, weights, total) for column in first.T])
    spread = np.einsum("kbn,kbn,bn->bk", ranks, ranks, weights, optimize=True)
    found = np.empty((len(weights), second.shape[1], first.shape[1]))
    for f, column in enumerate(second.T):
        own = _centred_ranks(column, weights, total)
        weighted = own * weights
        together = np.einsum("kbn,bn->bk", ranks, weighted)
        size = np.sqrt(spread * np.einsum("bn,bn->b", own, weighted)[:, None])
        found[:, f] = np.divide(together, size, out=np.full(size.shape, np.nan), where=size > 1e-9)
    return np.clip(found, -1, 1)


def _centred_ranks(values: FloatArray, weights: FloatArray, total: FloatArray) -> FloatArray:
    """(B, N) mean rank of each row among all, less the mean of all ranks."""
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    held = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(held, axis=1) - held / 2
    return (middle - total[:, None] / 2)[:, group]


def _correlated(
    components: FloatArray, values: pd.DataFrame, tracks: StrArray, seed: int, n_resamples: int
) -> dict[str, tuple[Estimate, ...]]:
    k, names = components.shape[1], [str(name) for name in values.columns]
    codes, n_tracks = unit_codes(tracks)
    if not n_tracks:
        none = Estimate.missing("no test cell has this feature")
        return dict.fromkeys(names, (none,) * k)
    matrix = values.to_numpy(np.float64)
    value = rank_correlations(components, matrix, np.ones((1, len(codes))))[0]

    def statistic(weights: FloatArray) -> FloatArray:
        return rank_correlations(components, matrix, weights).reshape(len(weights), -1)

    draws = resampled(codes, n_tracks, statistic, seed, n_resamples).reshape(n_resamples, len(names), k)
    return {
        name: tuple(
            Estimate.missing(_UNDEFINED, n_tracks)
            if np.isnan(value[f, c])
            else interval_of(float(value[f, c]), draws[:, f, c], n_tracks, _UNDEFINED)
            for c in range(k)
        )
        for f, name in enumerate(names)
    }


def extreme_rows(component: FloatArray, tracks: StrArray, n: int) -> tuple[IntArray, IntArray]:
    """Rows of the `n` lowest and the `n` highest values of a component (N,), each end of distinct tracks.

    Lowest first, then the highest with the greatest last; fewer where there are fewer tracks.
    """
    order = np.argsort(component, kind="stable")
    ends = []
    for rising in (order, order[::-1]):
        _, first = np.unique(tracks[rising], return_index=True)
        ends.append(rising[np.sort(first)[:n]])
    return ends[0], ends[1][::-1]


def with_feature_correlations(
    evaluation: EmbeddingEvaluation, found: FeatureCorrelations
) -> EmbeddingEvaluation:
    """`evaluation` with the strongest correlation of each component and its note behind its own numbers."""
    settings = evaluation.settings
    split = f"{settings.test_split} {plural(settings.split_unit)}"
    numbers = []
    for component in range(found.components.shape[1]):
        best = found.strongest(component)
        name = f"rank_correlation_pc{component + 1}"
        why = "no feature could be correlated: none is known of any test cell, or all are constant"
        estimate = Estimate.missing(why) if best is None else found.estimates[best][component]
        numbers.append(
            estimate.as_number(
                report=f"{settings.method}/{REPORT}",
                name=name if best is None else f"{name}_{found.features[best]}",
                split=stated_split(split, settings.simulated),
                unit=plural(SplitUnit.TRACK),
            )
        )
    notes = [
        f"{REPORT}: the feature named beside each principal component is the strongest of {found.n_measured} on "
        "these very cells, so that its correlation is a little larger than on others; the interval does not know of "
        "the choice."
    ]
    if found.n_unmeasured:
        notes.append(
            f"{REPORT}: no label belongs to {found.n_unmeasured} of {int(found.test.sum())} test cell images, which "
            "have no features; the correlations are of the others."
        )
    return replace(evaluation, numbers=(*evaluation.numbers, *numbers), notes=(*evaluation.notes, *notes))
