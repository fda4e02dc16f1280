"""Profiles of several kinds that are compared by the fusion of their similarities, and not by one vector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.evaluation.retrieval.profiles import Profiles, cosines
from cell_assets.evaluation.retrieval.similarity_fusion import fused_similarity
from cell_assets.evaluation.units import FloatArray


@dataclass(frozen=True)
class FusedProfiles:
    """N profiles of m ≥ 2 kinds, fused as Rohban et al. (2019) fuse medians, dispersions and covariances.

    Fusing is transductive: how similar two profiles are depends on all that are fused with them. What is fused is what
    one question ranks, no more and no less: the wells or treatments of one plate, where each plate is asked for itself;
    of all plates, where they are ranked together, even where those of one plate may not be compared; treatments of
    known mechanism, where mechanisms are asked for. Who may not be compared, such as other doses of the own compound,
    is fused all the same and left out of the ranks afterwards. No label is looked at.

    A profile that is 0 in all features of one kind is by that kind like no other, at distance 1 from all, and is still
    compared by the other kinds: whatever can be asked of the features side by side can be asked of these.

    Raises:
        BadInputError: there are fewer than two kinds.
    """

    profiles: Profiles
    """The features of all kinds side by side."""
    kinds: tuple[tuple[int, ...], ...]
    """By kind, the columns of its features."""
    fusion: SimilarityFusionParameters

    def __post_init__(self) -> None:
        if len(self.kinds) < 2:
            raise BadInputError(
                f"{len(self.kinds)} kinds of features are not two or more, whose similarities could be fused; keep "
                "features of more kinds"
            )

    def __len__(self) -> int:
        return len(self.profiles)

    @property
    def metadata(self) -> pd.DataFrame:
        """N rows."""
        return self.profiles.metadata

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features of all kinds."""
        return self.profiles.names

    def select(self, rows: Sequence[bool] | np.ndarray) -> "FusedProfiles":
        """Those of the rows (N,) that are True."""
        return self.each(lambda one: one.select(rows))

    def each(self, change: Callable[[Profiles], Profiles]) -> "FusedProfiles":
        """`change`, which keeps the columns of features, of the profiles."""
        return FusedProfiles(change(self.profiles), self.kinds, self.fusion)

    def similarity(self) -> FloatArray:
        """(N, N), of N ≥ 2: fused from 1 - cosine of each kind, where Rohban et al. take 1 - Pearson's correlation, so
        that only fusing tells it from profiles that are compared by the cosine."""
        distances = [
            np.clip(1 - cosines(self.profiles.features[:, list(one)]), 0, None) for one in self.kinds
        ]
        for one in distances:
            np.fill_diagonal(one, 0)
        return fused_similarity(distances, self.fusion)
