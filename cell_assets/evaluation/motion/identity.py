"""How much of a representation is who the cell is, and what is left when that is taken away.

Embeddings of one track may lie close to each other because the cell's state changes slowly, or because the encoder
recognises the cell. Within a track the second is constant, so it goes with the track's mean.
"""

from collections.abc import Callable

import numpy as np

from cell_assets.evaluation.motion.dynamics import temporal_dynamics, unit_vectors
from cell_assets.evaluation.resampling import Estimate, interval_of, resampled, unit_codes
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray, StrArray

MIN_FRAMES = 5
"""Shorter tracks are left out where a track's mean is taken away: of T frames the mean takes a share 1/T of the
noise with it, which makes white noise look rougher by √(T/(T-1)), 1.12 at five frames."""

_TOO_SHORT = f"fewer than two test tracks have {MIN_FRAMES} time points"


def long_tracks(tracks: StrArray) -> BoolArray:
    """Rows (N,) of tracks with at least `MIN_FRAMES` rows."""
    codes, n_tracks = unit_codes(tracks)
    return np.asarray(np.bincount(codes, minlength=n_tracks)[codes] >= MIN_FRAMES)


def without_identity(features: FloatArray, tracks: StrArray) -> FloatArray:
    """Unit vectors of `features` (N, D) less the mean of their track."""
    z = unit_vectors(features)
    codes, n_tracks = unit_codes(tracks)
    sums = np.zeros((n_tracks, z.shape[1]))
    np.add.at(sums, codes, z)
    return z - (sums / np.bincount(codes, minlength=n_tracks)[:, None])[codes]


def smoothness_without_identity(
    features: FloatArray,
    tracks: StrArray,
    t: IntArray,
    interval_min: float,
    *,
    seed: int,
    n_resamples: int,
) -> Estimate:
    """`Dynamics.smoothness` after each track's mean is taken away, with its interval over tracks.

    About 1 where the track's mean was all that held it together, well below 1 where the cell moves on smoothly.
    """
    kept = long_tracks(tracks)
    n_tracks = len(np.unique(tracks[kept]))
    if n_tracks < 2:
        return Estimate.missing(_TOO_SHORT, n_tracks)
    residual = without_identity(features[kept], tracks[kept])
    return temporal_dynamics(
        residual,
        tracks[kept],
        t[kept],
        interval_min,
        seed=seed,
        max_lag=1,
        n_resamples=n_resamples,
        normalised=False,
    ).smoothness


def variance_between_tracks(
    features: FloatArray, tracks: StrArray, *, seed: int, n_resamples: int
) -> Estimate:
    """Share of the variance of unit vectors that the track explains, adjusted for the number of tracks.

    1 - (W / (N - K)) / (T / (N - 1)) with the sums of squares W within the K tracks and T in all of the N rows: 0
    in expectation where tracks say nothing, 1 where a track stands still. States that last longer than a track count
    as identity here too.
    """
    codes, n_tracks = unit_codes(tracks)
    if n_tracks < 2 or n_tracks == len(tracks):
        why = "there are no two test tracks, or none has two time points"
        return Estimate.missing(why, n_tracks)
    z = unit_vectors(features)
    z = z - z.mean(axis=0)  # the sums of squares stay; less is lost in their differences
    sums = np.zeros((n_tracks, z.shape[1]))
    np.add.at(sums, codes, z)
    n_rows = np.bincount(codes, minlength=n_tracks).astype(np.float64)
    squares = np.bincount(codes, weights=(z**2).sum(axis=1), minlength=n_tracks)
    within = squares - (sums**2).sum(axis=1) / n_rows

    def share(weights: FloatArray) -> FloatArray:
        n, k = weights @ n_rows, weights.sum(axis=1)
        total = weights @ squares - ((weights @ sums) ** 2).sum(axis=1) / n
        unexplained = (weights @ within) / np.where(n > k, n - k, np.nan)
        return 1.0 - unexplained / np.where(total > 1e-12 * n, total / (n - 1), np.nan)

    return _over_tracks(share, n_tracks, "the embeddings are all alike", seed, n_resamples)


def state_given_track(
    features: FloatArray, tracks: StrArray, positive: BoolArray, *, seed: int, n_resamples: int
) -> Estimate:
    """Partial R² of the state given the track: the share of the variance within tracks that the state explains.

    Both are taken relative to their track's mean (Frisch-Waugh-Lovell), so that nothing of who the cell is remains;
    in expectation about one over the number of rows where the state says nothing. `positive` (N,) is the state.
    """
    codes, n_tracks = unit_codes(tracks)
    residual = without_identity(features, tracks)
    n_rows = np.bincount(codes, minlength=n_tracks)
    share = np.bincount(codes, weights=positive.astype(np.float64), minlength=n_tracks) / n_rows
    state = positive - share[codes]
    products = np.zeros((n_tracks, residual.shape[1]))
    np.add.at(products, codes, state[:, None] * residual)
    of_state = np.bincount(codes, weights=state**2, minlength=n_tracks)
    of_residual = np.bincount(codes, weights=(residual**2).sum(axis=1), minlength=n_tracks)

    def explained(weights: FloatArray) -> FloatArray:
        below = (weights @ of_state) * (weights @ of_residual)
        return ((weights @ products) ** 2).sum(axis=1) / np.where(below > 1e-24, below, np.nan)

    why = "no test track changes its state while it is annotated, or none moves in feature space"
    return _over_tracks(explained, n_tracks, why, seed, n_resamples)


def _over_tracks(
    statistic: Callable[[FloatArray], FloatArray], n_tracks: int, why: str, seed: int, n_resamples: int
) -> Estimate:
    """Value and interval of a statistic of track weights (B, K) → (B,)."""
    value = float(statistic(np.ones((1, n_tracks)))[0])
    if np.isnan(value):
        return Estimate.missing(why, n_tracks)
    each = np.arange(n_tracks)
    draws = resampled(each, n_tracks, lambda weights: statistic(weights)[:, None], seed, n_resamples)
    return interval_of(value, draws[:, 0], n_tracks, why)
