"""Profiles of several kinds that are compared by the fusion of their similarities, and not by one vector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.evaluation.retrieval.profiles import Profiles
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

    Raises:
        BadInputError: there are fewer than two kinds, or they are not of the same wells.
    """

    kinds: tuple[Profiles, ...]
    """The same N of each kind, in one order."""
    fusion: SimilarityFusionParameters

    def __post_init__(self) -> None:
        if len(self.kinds) < 2 or any(not one.metadata.equals(self.metadata) for one in self.kinds):
            raise BadInputError(
                f"{len(self.kinds)} kinds of profiles are not two or more of the same wells in one order, whose "
                "similarities could be fused; keep features of more kinds"
            )

    def __len__(self) -> int:
        return len(self.metadata)

    @property
    def metadata(self) -> pd.DataFrame:
        """N rows, the same for all kinds."""
        return self.kinds[0].metadata

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features of all kinds."""
        return tuple(name for one in self.kinds for name in one.names)

    def select(self, rows: Sequence[bool] | np.ndarray) -> "FusedProfiles":
        """Those of the rows (N,) that are True."""
        return self.each(lambda one: one.select(rows))

    def each(self, change: Callable[[Profiles], Profiles]) -> "FusedProfiles":
        """`change` of every kind's profiles."""
        return FusedProfiles(tuple(map(change, self.kinds)), self.fusion)

    def similarity(self) -> FloatArray:
        """(N, N), of N ≥ 2: fused from 1 - cosine of each kind, where Rohban et al. take 1 - Pearson's correlation, so
        that only fusing tells it from profiles that are compared by the cosine."""
        distances = [np.clip(1 - one.similarity(), 0, None) for one in self.kinds]
        for one in distances:
            np.fill_diagonal(one, 0)
        return fused_similarity(distances, self.fusion)
