"""How a representation moves along tracks: temporal smoothness, always paired by (track, t).

Pairing by row position instead of time changed a published score from 0.016 to 0.159 after a shuffle of rows.
Here a pair exists only where the same track was seen at both time points.
"""

from dataclasses import dataclass

import numpy as np

from cell_assets.errors import BadInputError
from cell_assets.evaluation.resampling import (
    MIN_UNITS,
    Estimate,
    interval_of,
    resampled,
    unit_codes,
)
from cell_assets.evaluation.units import FloatArray, IntArray, StrArray

_RANDOM_PAIRS = 20_000

RATIO_LAG = 10
"""Frames at which the displacement of one frame is held against a longer one: the right end of Figure 2b."""


@dataclass(frozen=True)
class LagCurve:
    """Mean distance against elapsed time; every array has shape (L,), one entry per lag that has pairs."""

    lag_frames: IntArray
    lag_min: FloatArray
    mean: FloatArray
    sd: FloatArray
    """Over pairs."""
    low: FloatArray
    high: FloatArray
    """With `low`, the 95 % interval of the mean over resampled tracks; NaN below `MIN_UNITS` tracks."""
    n_pairs: IntArray
    n_tracks: IntArray


@dataclass(frozen=True)
class Dynamics:
    """Movement of embeddings along tracks, beside the distance between strangers."""

    displacement: LagCurve
    """Eq. 3: distance between a cell and itself τ later, over all pairs of its track."""
    from_first: LagCurve
    """Eq. 2: distance between a cell and its first time point."""
    random_pairs: Estimate
    """Mean distance between cells of different tracks."""
    displacement_first_lag: Estimate
    smoothness: Estimate
    """Displacement over one interval divided by the distance between strangers: 0 stands still, 1 jumps as
    far as to another cell."""
    dynamic_range: Estimate
    """Displacement at lag `range_lag_frames` less that at one interval: travel beyond jitter."""
    range_lag_frames: int
    """The longest lag up to `max_lag` that at least `MIN_UNITS` tracks reach."""
    displacement_ratio: Estimate
    """Displacement over one interval divided by that at lag `ratio_lag_frames`: 1 where a cell moves as far in one
    frame as in many, so that it only jitters; small where it moves on. Who the cell is cancels."""
    ratio_lag_frames: int
    """The longest lag up to `RATIO_LAG` and `max_lag` that at least `MIN_UNITS` tracks reach; the longest that was
    asked for where none beyond one frame is reached."""


def unit_vectors(features: FloatArray) -> FloatArray:
    """Rows of (N, D) divided by their Euclidean length. Raises `BadInputError` where a row has none."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise BadInputError(
            f"{len(bad)} embedding row(s), the first is row {bad[0]}, are zero or not finite and have no "
            "direction; look at the patches and the checkpoint they came from"
        )
    return features / lengths


def distance_from_first(features: FloatArray) -> FloatArray:
    """Eq. 2 of one track: (T,) distances of its normalised features (T, D), in order of time, from the first's."""
    z = unit_vectors(features.astype(np.float64))
    return np.linalg.norm(z - z[0], axis=1)


def pairs_at_lag(tracks: StrArray, t: IntArray, lag: int) -> tuple[IntArray, IntArray]:
    """Row indices (i, j) with the same track and t[j] = t[i] + lag, whatever the order of rows.

    Raises `BadInputError` when a track has two rows at one time point.
    """
    codes, _ = unit_codes(tracks)
    start = t.min(initial=0)
    # Gaps between tracks are wider than any lag, so t + lag can never land in the next track.
    span = int(t.max(initial=0) - start) + abs(lag) + 1
    keys = codes.astype(np.int64) * span + (t - start)
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    twice = np.flatnonzero(np.diff(ranked) == 0)
    if len(twice):
        row = order[twice[0]]
        raise BadInputError(f"track {tracks[row]} has two rows at t {t[row]}; keep one row per time point")
    place = np.minimum(np.searchsorted(ranked, ranked + lag), len(ranked) - 1)
    found = ranked[place] == ranked + lag if len(ranked) else np.zeros(0, dtype=bool)
    return order[found], order[place[found]]


def first_time_pairs(tracks: StrArray, t: IntArray) -> tuple[IntArray, IntArray]:
    """Row indices (first, i) that join every row with the first time point of its track."""
    order = np.lexsort((t, tracks))
    starts = np.flatnonzero(np.append(True, tracks[order][1:] != tracks[order][:-1]))
    first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    return first, order


def temporal_dynamics(
    features: FloatArray,
    tracks: StrArray,
    t: IntArray,
    interval_min: float,
    *,
    seed: int,
    max_lag: int = 10,
    n_resamples: int = 1000,
    normalised: bool = True,
) -> Dynamics:
    """Temporal smoothness of `features` (N, D) by DynaCLR Eq. 2 and 3, with intervals over resampled tracks.

    `tracks` (N,) names each row's track and `t` (N,) its frame; `max_lag` is in frames of `interval_min`
    minutes. `normalised` makes unit vectors of the rows first, as both equations do. The result does not depend on
    the order of rows. Raises `BadInputError` when a row has no
    direction, a track has two rows at one time, there is no row, or `max_lag` is below 1.
    """
    if max_lag < 1 or not len(t):
        raise BadInputError(f"max_lag is {max_lag} and there are {len(t)} rows; give at least 1 of each")
    order = np.lexsort((t, tracks))
    tracks, t = tracks[order], t[order]
    z = features[order].astype(np.float64)
    z = unit_vectors(z) if normalised else z
    codes, n_tracks = unit_codes(tracks)
    per_lag = [
        _Distances.of(z, codes, n_tracks, *pairs_at_lag(tracks, t, lag)) for lag in range(1, max_lag + 1)
    ]
    first, later = first_time_pairs(tracks, t)
    since = t[later] - t[first]
    elapsed = [
        _Distances.of(z, codes, n_tracks, first[since == lag], later[since == lag])
        for lag in range(1, int(since.max(initial=0)) + 1)
    ]
    strangers = _random_pairs(codes, n_tracks, seed)
    return _Resampled(per_lag, elapsed, z, codes, strangers, n_tracks, seed, n_resamples).dynamics(
        interval_min
    )


@dataclass(frozen=True)
class _Distances:
    """Distances of one set of within-track pairs, summed per track so that resampling costs one product."""

    sums: FloatArray
    counts: FloatArray
    mean: float
    sd: float

    @classmethod
    def of(cls, z: FloatArray, codes: np.ndarray, n_tracks: int, i: IntArray, j: IntArray) -> "_Distances":
        distances = np.linalg.norm(z[i] - z[j], axis=1)
        return cls(
            sums=np.bincount(codes[i], weights=distances, minlength=n_tracks).astype(np.float64),
            counts=np.bincount(codes[i], minlength=n_tracks).astype(np.float64),
            mean=float(distances.mean()) if len(distances) else float("nan"),
            sd=float(distances.std()) if len(distances) else float("nan"),
        )


def _random_pairs(codes: np.ndarray, n_tracks: int, seed: int) -> tuple[IntArray, IntArray]:
    """Up to `_RANDOM_PAIRS` uniformly drawn pairs of rows of different tracks."""
    if n_tracks < 2:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing
    n = len(codes)
    if n * (n - 1) // 2 <= _RANDOM_PAIRS:
        i, j = np.triu_indices(n, k=1)
    else:
        i, j = np.random.default_rng(seed).integers(n, size=(2, _RANDOM_PAIRS))
    apart = codes[i] != codes[j]
    return i[apart], j[apart]


@dataclass(frozen=True)
class _Resampled:
    """All curves and scores from the same resamples of tracks, so that ratios and differences are paired."""

    per_lag: list[_Distances]
    elapsed: list[_Distances]
    z: FloatArray
    codes: np.ndarray
    strangers: tuple[IntArray, IntArray]
    n_tracks: int
    seed: int
    n_resamples: int

    def dynamics(self, interval_min: float) -> Dynamics:
        everything = [*self.per_lag, *self.elapsed]
        sums = np.column_stack([d.sums for d in everything])
        counts = np.column_stack([d.counts for d in everything])
        i, j = self.strangers
        apart = np.linalg.norm(self.z[i] - self.z[j], axis=1)
        left, right = self.codes[i], self.codes[j]

        def means(weights: FloatArray) -> FloatArray:
            within = _divide(weights @ sums, weights @ counts)
            # A pair of strangers counts as often as both of its tracks were drawn.
            between = np.empty((len(weights), 1))
            for row, drawn in enumerate(weights):
                pair = drawn[left] * drawn[right]
                between[row] = pair @ apart / pair.sum() if pair.sum() else np.nan
            return np.hstack([within, between])

        every_track = np.arange(self.n_tracks)
        draws = resampled(every_track, self.n_tracks, means, self.seed, self.n_resamples)
        random_mean = float(apart.mean()) if len(apart) else float("nan")
        n_lags = len(self.per_lag)
        first = self.per_lag[0]
        reach = self._longest_lag()
        last = self.per_lag[reach - 1]
        far = min(reach, RATIO_LAG)
        beyond = f"no lag beyond one interval has {MIN_UNITS} tracks long enough for it"
        still = "no track has two consecutive time points"
        alike = "there are no two tracks that differ"
        return Dynamics(
            displacement=_curve(self.per_lag, draws[:, :n_lags], interval_min),
            from_first=_curve(self.elapsed, draws[:, n_lags:-1], interval_min),
            random_pairs=self._estimate(random_mean, draws[:, -1], self.n_tracks, alike),
            displacement_first_lag=self._estimate(first.mean, draws[:, 0], _n_tracks(first), still),
            smoothness=self._estimate(
                first.mean / random_mean if random_mean > 0 else float("nan"),
                _divide(draws[:, 0], draws[:, -1]),
                _n_tracks(first),
                still if np.isnan(first.mean) else alike,
            ),
            dynamic_range=self._estimate(
                last.mean - first.mean if reach > 1 else float("nan"),
                draws[:, reach - 1] - draws[:, 0],
                _n_tracks(last),
                beyond,
            ),
            range_lag_frames=reach,
            displacement_ratio=self._estimate(
                first.mean / self.per_lag[far - 1].mean
                if far > 1 and self.per_lag[far - 1].mean > 0
                else float("nan"),
                _divide(draws[:, 0], draws[:, far - 1]),
                _n_tracks(self.per_lag[far - 1]),
                beyond if far == 1 else "no cell moves at all",
            ),
            ratio_lag_frames=far if far > 1 else min(n_lags, RATIO_LAG),
        )

    def _longest_lag(self) -> int:
        """The longest lag, in frames, that enough tracks reach; 1 when none does."""
        reached = [k + 1 for k, d in enumerate(self.per_lag) if _n_tracks(d) >= MIN_UNITS]
        return max(reached, default=1)

    def _estimate(self, value: float, draws: FloatArray, n_tracks: int, undefined_when: str) -> Estimate:
        if np.isnan(value):
            return Estimate.missing(undefined_when, n_tracks)
        return interval_of(value, draws, n_tracks, undefined_when)


def _curve(distances: list[_Distances], draws: FloatArray, interval_min: float) -> LagCurve:
    kept = [k for k, d in enumerate(distances) if d.counts.sum() > 0]
    bounds = np.full((2, len(kept)), np.nan)
    for place, k in enumerate(kept):
        defined = draws[:, k][~np.isnan(draws[:, k])]
        if _n_tracks(distances[k]) >= MIN_UNITS:
            bounds[:, place] = np.quantile(defined, [0.025, 0.975])
    lag_frames = np.array([k + 1 for k in kept], dtype=np.int64)
    return LagCurve(
        lag_frames=lag_frames,
        lag_min=lag_frames.astype(np.float64) * interval_min,
        mean=np.array([distances[k].mean for k in kept]),
        sd=np.array([distances[k].sd for k in kept]),
        low=bounds[0],
        high=bounds[1],
        n_pairs=np.array([int(distances[k].counts.sum()) for k in kept], dtype=np.int64),
        n_tracks=np.array([_n_tracks(distances[k]) for k in kept], dtype=np.int64),
    )


def _n_tracks(distances: _Distances) -> int:
    return int((distances.counts > 0).sum())


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    good = np.asarray(denominator) > 0
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=good)
