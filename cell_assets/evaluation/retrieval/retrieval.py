"""Mean average precision: whether the profiles nearest to one are those that it belongs with.

Similarity is the cosine, or what is fused of several. Average precision and its significance are copairs' (Kalinin et
al. 2025), which the field compares by; what is around them is here: who may be compared, who has no partner, intervals,
and chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from copairs.map import average_precision, mean_average_precision

from cell_assets.errors import BadInputError
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.retrieval.cross_fitted import AskingProfiles
from cell_assets.evaluation.retrieval.fused_profiles import FusedProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import BoolArray, FloatArray, StrArray, require_columns

N_POSITIVES = "n_positives"
N_RANKED = "n_ranked"
PREVALENCE = "prevalence"
AVERAGE_PRECISION = "average_precision"
CHANCE = "chance"
NEAREST = "nearest_is_right"
N_ORDERS = 10_000
"""Random orders that a permutation test draws."""


@dataclass(frozen=True)
class Question:
    """Which profiles belong together, and which of them may be compared at all."""

    label: str
    """Metadata column: profiles with the same value belong together."""
    apart: tuple[str, ...] = ()
    """Columns in which two profiles must differ to be compared: the compound, where mechanisms are asked for, and the
    batch, where what its plates share must not help."""
    unit: str = "Metadata_Compound"
    """Column of what is resampled and tested: profiles with one value are not independent."""


@dataclass(frozen=True)
class Retrieval:
    """The answer."""

    question: Question
    queries: pd.DataFrame
    """One row for every profile that has a partner, with its metadata and `n_positives, n_ranked, prevalence,
    average_precision, chance, nearest_is_right`."""
    without_partner: pd.DataFrame
    """Metadata of profiles that have none. They ask nothing, and stay among those that others are ranked against."""
    mean_average_precision: Estimate
    """Over queries, with the interval over units."""
    nearest: Estimate
    """Share of queries whose nearest neighbour belongs with them."""
    chance: float
    """Mean average precision of a random order, which is more than `prevalence`: the first ranks count most."""
    prevalence: float
    """Mean share of right ones among those that are ranked; often stated as chance, and right for `nearest`."""
    by_unit: pd.DataFrame
    """Unit, `mean_average_precision, p_value, corrected_p_value` (Benjamini-Hochberg), by permutation."""


def retrieve(
    profiles: AskingProfiles, question: Question, *, seed: int = 0, n_resamples: int = 1000
) -> Retrieval:
    """Every profile asks, all that may be compared with it are ranked.

    Memory is that of N² similarities and pairs.

    Raises:
        BadInputError: a column is missing, or no profile has a partner.
    """
    found = ranked_queries(profiles, question)
    asks = (found[N_POSITIVES] > 0).to_numpy()
    queries = found[asks].reset_index(drop=True)
    units = queries[question.unit].to_numpy(str)
    with TemporaryDirectory() as nulls:
        by_unit = permutation_test(queries, question.unit, seed, Path(nulls))
    return Retrieval(
        question,
        queries,
        profiles.metadata[~asks].reset_index(drop=True),
        _mean(queries[AVERAGE_PRECISION], units, seed, n_resamples),
        _mean(queries[NEAREST], units, seed, n_resamples),
        float(queries[CHANCE].mean()),
        float(queries[PREVALENCE].mean()),
        by_unit,
    )


def ranked_queries(profiles: AskingProfiles, question: Question) -> pd.DataFrame:
    """The profiles' metadata (N rows) with the columns of `Retrieval.queries`; what is asked of a profile without a
    partner is NaN. Where profiles depend on who asks, each ranks all others as its own model sees them.

    Raises:
        BadInputError: a column is missing, no profile has a partner, or none can be taken for one.
    """
    if isinstance(profiles, FusedProfiles):
        return _ranked(profiles, question)
    return profiles.asked(partial(_ranked, question=question))


def _ranked(profiles: Profiles | FusedProfiles, question: Question) -> pd.DataFrame:
    known = profiles.metadata
    require_columns(known, [question.label, *question.apart, question.unit], "profiles'")
    comparable = _comparable(known, question.apart)
    label = known[question.label].to_numpy()
    positive = comparable & (label[:, None] == label[None, :])
    n_positives, n_ranked = positive.sum(1), comparable.sum(1)
    if not n_positives.any():
        apart = f" from which it differs in {', '.join(question.apart)}" if question.apart else ""
        raise BadInputError(
            f"no profile has another of its {question.label}{apart}; ask for another label, or let fewer columns differ"
        )
    if (n_positives == n_ranked).all():
        raise BadInputError(
            f"all profiles that may be compared are of one {question.label}, so that every order is right; bring in "
            "profiles of another"
        )
    similarity = np.where(comparable, profiles.similarity(), -np.inf)
    nearest = positive[np.arange(len(known)), similarity.argmax(1)].astype(np.float64)
    if isinstance(profiles, FusedProfiles):
        precision = similarity_precision(similarity, positive)
    else:
        found = average_precision(
            known,
            profiles.features,
            pos_sameby=[question.label],
            pos_diffby=list(question.apart),
            neg_sameby=[],
            neg_diffby=[question.label, *question.apart],
            progress_bar=False,
        )
        precision = found["average_precision"].to_numpy(np.float64)
    return known.assign(
        **{
            N_POSITIVES: n_positives,
            N_RANKED: n_ranked,
            PREVALENCE: n_positives / np.maximum(n_ranked, 1),
            AVERAGE_PRECISION: np.where(n_positives > 0, precision, np.nan),
            CHANCE: expected_average_precision(n_positives, n_ranked),
            NEAREST: np.where(n_positives > 0, nearest, np.nan),
        }
    )


def similarity_precision(similarity: FloatArray, positive: BoolArray) -> FloatArray:
    """Average precision (N,) of every profile, from similarities in place of vectors, of which copairs makes its own in
    single precision; 0 of a profile without a right one. Of equally similar profiles the right come first, as there.

    Args:
        similarity: (N, N), minus infinity where two profiles are not compared.
        positive: (N, N), where two that are compared belong together.
    """
    order = np.lexsort((~positive, -similarity), axis=-1)
    right = np.take_along_axis(positive, order, 1)
    precision = np.cumsum(right, 1) / np.arange(1, len(right) + 1)
    return np.where(right, precision, 0.0).sum(1) / np.maximum(right.sum(1), 1)


def permutation_test(queries: pd.DataFrame, unit: str, seed: int, nulls: Path) -> pd.DataFrame:
    """Every value of the column `unit` with its `mean_average_precision, p_value, corrected_p_value`.

    Args:
        queries: that ask, as in `Retrieval.queries`.
        nulls: folder for what random orders give. copairs keeps it by the numbers of profiles and draws it by what else
            is asked in the same call, so p is the same again only where the folder was empty, or was filled by the same
            queries of other profiles.
    """
    columns = [unit, "mean_average_precision", "p_value", "corrected_p_value"]
    named = queries.rename(columns={N_POSITIVES: "n_pos_pairs", N_RANKED: "n_total_pairs"})
    # A column that copairs averages beside; it decides nothing here.
    named["normalized_average_precision"] = named[AVERAGE_PRECISION]
    tested: pd.DataFrame = mean_average_precision(
        named,
        sameby=[unit],
        null_size=N_ORDERS,
        threshold=0.05,
        seed=seed,
        progress_bar=False,
        cache_dir=nulls,
    )
    return tested[columns].sort_values(unit).reset_index(drop=True)


def expected_average_precision(n_positives: np.ndarray, n_ranked: np.ndarray) -> FloatArray:
    """Of a random order of `n_ranked` profiles, `n_positives` of which are right: the exact mean, NaN without any.

    At rank k stands a right one with probability M/N; the precision there is (1 + (k - 1)(M - 1)/(N - 1)) / k.
    """
    total, right = n_ranked.astype(np.float64), n_positives.astype(np.float64)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(n_ranked.max(initial=0)) + 1))])[
        n_ranked
    ]
    others = (right - 1) / np.maximum(total - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = others + (1 - others) * harmonic / total
    return np.where(n_positives > 0, mean, np.nan)


def _comparable(known: pd.DataFrame, apart: Sequence[str]) -> BoolArray:
    """(N, N): which two profiles may be compared; none with itself."""
    allowed = ~np.eye(len(known), dtype=bool)
    for column in apart:
        values = known[column].to_numpy()
        allowed &= values[:, None] != values[None, :]
    return allowed


def _mean(values: pd.Series, units: StrArray, seed: int, n_resamples: int) -> Estimate:
    own = values.to_numpy(np.float64)
    statistic = Statistic(lambda weights: weights @ own / weights.sum(1), "no profile is drawn")
    return bootstrap_interval(units, statistic, seed=seed, n_resamples=n_resamples)
