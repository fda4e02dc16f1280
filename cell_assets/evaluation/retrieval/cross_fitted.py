"""Profiles that depend on who asks: of several models, each asks with the one that did not learn from it.

Profiles of different models lie in different spaces, so none is ever compared with one of another: the model of who
asks profiles all that it is compared with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.fused_profiles import FusedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import require_columns


@dataclass(frozen=True)
class CrossFittedProfiles:
    """N profiles by each of K models, one for each fold of what is held out.

    Raises:
        BadInputError: the models did not profile the same, or a fold is none of these.
    """

    by_fold: tuple[Profiles, ...]
    """K times the same N, in one order: by the model that did not learn from this fold."""
    held_out: str
    """Metadata column of what folds are made of, for example the compound."""
    fold_of: Mapping[str, int]
    """Fold (0 to K - 1) of each value of that column. What is in none, as controls, no model learned from: it asks with
    the first."""

    def __post_init__(self) -> None:
        if not self.by_fold or any(not one.metadata.equals(self.metadata) for one in self.by_fold):
            raise BadInputError(
                f"{len(self.by_fold)} models did not profile the same wells in one order; give those of one training"
            )
        strange = sorted({fold for fold in self.fold_of.values() if not 0 <= fold < len(self.by_fold)})
        if strange:
            raise BadInputError(
                f"fold {strange[0]} is none of 0 to {len(self.by_fold) - 1}; give profiles by the model of every fold"
            )
        require_columns(self.metadata, [self.held_out], "cross-fitted profiles'")

    def __len__(self) -> int:
        return len(self.metadata)

    @property
    def metadata(self) -> pd.DataFrame:
        """N rows, the same for all models."""
        return self.by_fold[0].metadata

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features of a profile."""
        return self.by_fold[0].names

    @property
    def asking_fold(self) -> NDArray[np.int64]:
        """(N,) with which fold's model each asks."""
        fold = self.metadata[self.held_out].map(self.fold_of)
        return fold.fillna(0).to_numpy().astype(np.int64)

    def select(self, rows: Sequence[bool] | np.ndarray) -> "CrossFittedProfiles":
        """Those of the rows (N,) that are True."""
        return self.each(lambda one: one.select(rows))

    def each(self, change: Callable[[Profiles], Profiles]) -> "CrossFittedProfiles":
        """`change` of every model's profiles; what is held out must stay among what is known."""
        return CrossFittedProfiles(tuple(map(change, self.by_fold)), self.held_out, self.fold_of)

    def asked(self, answers: Callable[[Profiles], pd.DataFrame]) -> pd.DataFrame:
        """`answers` (N rows, one for every profile) as each gets them from the model with which it asks."""
        asking = self.asking_fold
        parts = [
            answers(one)[asking == fold] for fold, one in enumerate(self.by_fold) if (asking == fold).any()
        ]
        return pd.concat(parts).sort_index() if parts else answers(self.by_fold[0])


AskingProfiles = Profiles | CrossFittedProfiles | FusedProfiles
"""Profiles that are the same whoever asks, that depend on it, or that are compared by a fused similarity."""
