"""How many directions a representation uses."""

from dataclasses import dataclass

import numpy as np

from cell_assets.evaluation.units import FloatArray


@dataclass(frozen=True)
class FeatureSpectrum:
    """Variance of centred features along their principal directions."""

    explained: FloatArray
    """(K,) share of variance per direction, falling; sums to 1."""
    matrix_rank: int
    """Directions above rounding error (the "rank of features" of DynaCLR's Appendix Figure 1)."""
    effective_rank: float
    """exp of the entropy of the normalised singular values (Roy & Vetterli 2007)."""
    components_95: int
    """Directions that hold 95 % of the variance."""
    n_rows: int
    n_features: int


def feature_spectrum(features: FloatArray) -> FeatureSpectrum | None:
    """Spectrum of `features` (N, D); None when all rows are equal, so that there is no variance to share."""
    if not len(features) or not np.ptp(features, axis=0).any():
        return None
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    singular = np.linalg.svd(centred, compute_uv=False)
    # Embeddings are stored in single precision, so their rounding error is that, whatever they are read into.
    kept = singular[singular > singular[0] * max(features.shape) * np.finfo(np.float32).eps]
    share = kept / kept.sum()
    explained = kept**2 / (kept**2).sum()
    return FeatureSpectrum(
        explained=explained,
        matrix_rank=len(kept),
        effective_rank=float(np.exp(-(share * np.log(share)).sum())),
        components_95=int(np.searchsorted(np.cumsum(explained), 0.95) + 1),
        n_rows=len(features),
        n_features=features.shape[1],
    )
