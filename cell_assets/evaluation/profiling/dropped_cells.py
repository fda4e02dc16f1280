"""Whether means of wells find more mechanisms without some of their cells: the same wells, over other cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.control_normalization import normalized_to_controls
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileSelectionParameters,
    ProfileStudyParameters,
)
from cell_assets.evaluation.profiling.profile_scores import EVERYONE, scores
from cell_assets.evaluation.profiling.profile_selection import selected
from cell_assets.evaluation.profiling.profile_tasks import Task, rank, treated_only
from cell_assets.evaluation.profiling.relevance_study import kept_cells, randomly_kept_cells
from cell_assets.evaluation.profiling.relevance_table import RelevanceScore
from cell_assets.evaluation.profiling.well_manifest import is_treated
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import BoolArray, FloatArray, IntArray


class KeptCells(StrEnum):
    """Which cells of a well its mean is taken over."""

    ALL = "all cells"
    WITHOUT_LEAST_RELEVANT = "without the least relevant"
    WITHOUT_MOST_RELEVANT = "without the most relevant"
    WITHOUT_LEAST_BY_LESSER_RANK = "without the least relevant by the lesser rank"
    WITHOUT_RANDOM = "without as many at random"
    BY_RULE = "without those that the rule leaves out"
    WITHOUT_RANDOM_AS_RULE = "without as many at random as the rule leaves out"


BY_RELEVANCE = (
    KeptCells.ALL,
    KeptCells.WITHOUT_LEAST_RELEVANT,
    KeptCells.WITHOUT_RANDOM,
    KeptCells.WITHOUT_MOST_RELEVANT,
    KeptCells.WITHOUT_LEAST_BY_LESSER_RANK,
)
BY_RULE = (KeptCells.ALL, KeptCells.BY_RULE, KeptCells.WITHOUT_RANDOM_AS_RULE)


@dataclass(frozen=True)
class PlateMeans:
    """Means of the W wells of one plate over D features, not normalised, by the cells that they are taken over."""

    wells: pd.DataFrame
    """W rows of `Metadata_*`."""
    features: tuple[str, ...]
    values: Mapping[KeptCells, FloatArray]
    """(W, D) each."""


@dataclass(frozen=True)
class DroppingStudy:
    """How well means over different cells find mechanisms."""

    plates: tuple[str, ...]
    asked: KeptCells
    """What the study is about."""
    found: Mapping[KeptCells, Estimate]
    """Mean average precision, with the interval over compounds."""
    gains: Mapping[KeptCells, Estimate]
    """What `asked` has over each other, paired."""
    chance: Estimate

    @classmethod
    def missing(cls, kept: Sequence[KeptCells], plates: Sequence[str], why: str) -> "DroppingStudy":
        """Of which nothing is known."""
        none = Estimate.missing(why)
        others = [one for one in kept if one is not kept[1]]
        return cls(tuple(plates), kept[1], dict.fromkeys(kept, none), dict.fromkeys(others, none), none)


def kept_by_relevance(
    scores: Mapping[RelevanceScore, FloatArray], starts: IntArray, share: float, seed: int
) -> dict[KeptCells, BoolArray]:
    """Cells (n,) that are left of every well without a share of them, by the combined relevance where nothing else is
    said."""
    relevance = scores[RelevanceScore.COMBINED]
    least = kept_cells(relevance, starts, share)
    return {
        KeptCells.ALL: np.ones(len(relevance), bool),
        KeptCells.WITHOUT_LEAST_RELEVANT: least,
        KeptCells.WITHOUT_RANDOM: randomly_kept_cells(least, starts, seed=seed),
        KeptCells.WITHOUT_MOST_RELEVANT: kept_cells(-relevance, starts, share),
        KeptCells.WITHOUT_LEAST_BY_LESSER_RANK: kept_cells(scores[RelevanceScore.LESSER_RANK], starts, share),
    }


def kept_by_rule(left_out: BoolArray, starts: IntArray, seed: int) -> dict[KeptCells, BoolArray]:
    """Cells (n,) that a rule leaves; a well of which it leaves none keeps all."""
    kept = ~left_out
    n = np.diff(starts)
    none = np.add.reduceat(kept, starts[:-1], dtype=np.int64) == 0
    kept = kept | none.repeat(n)
    return {
        KeptCells.BY_RULE: kept,
        KeptCells.WITHOUT_RANDOM_AS_RULE: randomly_kept_cells(kept, starts, seed=seed),
    }


def study_dropping(
    means: Mapping[str, PlateMeans],
    kept: Sequence[KeptCells],
    selection: ProfileSelectionParameters,
    parameters: ProfileStudyParameters,
) -> DroppingStudy:
    """Ask the means of all plates (by name) for mechanisms, each plate normalised to its controls.

    Features are chosen once, by the means over all cells, so that nothing differs but the cells.

    Args:
        kept: what is compared: all cells, what the study is about, and what else it is held against.
    """
    try:
        profiles = _profiles(means, kept, selection)
    except BadInputError as error:
        return DroppingStudy.missing(kept, tuple(means), str(error))
    treated = is_treated(profiles[0].metadata)
    ranked = rank(Task.MECHANISM, [treated_only(one, treated) for one in profiles])
    names = [one.name for one in kept]
    gains: dict[KeptCells, Estimate] = {}
    for place, other in enumerate(kept):
        found = list(scores(ranked, names, place, [EVERYONE], parameters.seed, parameters.n_resamples))
        if (gain := found[1].gain) is not None:
            gains[other] = gain.absolute
    precision = {one: score.mean_average_precision for one, score in zip(kept, found, strict=True)}
    return DroppingStudy(tuple(means), kept[1], precision, gains, found[0].chance)


def _profiles(
    means: Mapping[str, PlateMeans], kept: Sequence[KeptCells], selection: ProfileSelectionParameters
) -> list[Profiles]:
    """Of all plates, in the same features, for each choice of cells."""
    normalized = {
        one: {plate: _normalized(of_plate, one, plate) for plate, of_plate in means.items()} for one in kept
    }
    chosen = selected(normalized[kept[0]], selection).profiles
    everywhere = set.intersection(
        *(set(one.names) for by_plate in normalized.values() for one in by_plate.values())
    )
    names = [name for name in chosen.names if name in everywhere]
    if not names:
        raise BadInputError(
            "without some of the cells the control wells differ in no feature that is compared"
        )
    return [
        Profiles(
            chosen.metadata,
            np.concatenate([_columns(one, names) for one in by_plate.values()]),
            tuple(names),
        )
        for by_plate in normalized.values()
    ]


def _normalized(means: PlateMeans, kept: KeptCells, plate: str) -> Profiles:
    values = pd.DataFrame(means.values[kept], columns=list(means.features))
    return Profiles.of_table(normalized_to_controls(pd.concat([means.wells, values], axis=1), plate).table)


def _columns(profiles: Profiles, names: Sequence[str]) -> FloatArray:
    place = {name: column for column, name in enumerate(profiles.names)}
    return profiles.features[:, [place[name] for name in names]]
