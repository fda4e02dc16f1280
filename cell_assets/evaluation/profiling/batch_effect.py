"""Batch effect: whether profiles that are near each other are so because they are of one plate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.profile_tasks import MOST_COMPARED, TREATMENT
from cell_assets.evaluation.profiling.well_manifest import BATCH
from cell_assets.evaluation.resampling import Estimate, Statistic, bootstrap_interval
from cell_assets.evaluation.retrieval.cross_fitted import AskingProfiles
from cell_assets.evaluation.retrieval.retrieval import NEAREST, PREVALENCE, Question, ranked_queries
from cell_assets.imaging.feature_tables.columns import PLATE


class Among(StrEnum):
    """Whose neighbours are looked at."""

    TREATED = "treated wells"
    """The nearest well of another treatment."""
    CONTROLS = "control wells"
    """The nearest other control well: all are alike but for their plate."""


@dataclass(frozen=True)
class BatchScore:
    """Of one representation."""

    representation: str
    among: Among
    of_what: str
    """`plate` or `batch`."""
    same: Estimate
    """Share of wells whose nearest neighbour (see `Among`) is of their own plate or batch, with the interval
    over plates or batches. As expected is best: neither drawn together by the plate nor pushed apart."""
    expected: Estimate
    """Share of those that may be compared that are of the same: what neighbours without a batch effect would show."""


def batch_scores(
    treated: Sequence[AskingProfiles],
    controls: Sequence[AskingProfiles],
    names: Sequence[str],
    seed: int,
    n_resamples: int,
) -> Iterator[BatchScore]:
    """Of R representations, whose wells and names stand in the same order."""
    columns = [PLATE, *([BATCH] if BATCH in treated[0].metadata.columns else [])]
    for column in columns:
        for among, wells in ((Among.TREATED, treated), (Among.CONTROLS, controls)):
            for name, profiles in zip(names, wells, strict=True):
                yield _score(name, among, column, profiles, seed, n_resamples)


def _score(
    name: str, among: Among, column: str, wells: AskingProfiles, seed: int, n_resamples: int
) -> BatchScore:
    of_what = "plate" if column == PLATE else "batch"
    question = Question(column, (TREATMENT,) if among is Among.TREATED else (), column)
    why = f"there are {len(wells)} {among.value}"
    if len(wells) > MOST_COMPARED:
        why += f", more than the {MOST_COMPARED} of which each two can be compared"
    elif len(wells):
        try:
            found = ranked_queries(wells, question).dropna(subset=[NEAREST])
        except BadInputError as error:
            why = str(error)
        else:
            own = found[NEAREST].to_numpy(float)
            units = found[column].astype(str).to_numpy(str)
            share = Statistic(lambda weights: weights @ own / weights.sum(1), "no well is drawn")
            return BatchScore(
                name,
                among,
                of_what,
                bootstrap_interval(units, share, seed=seed, n_resamples=n_resamples),
                Estimate.exact(
                    float(found[PREVALENCE].mean()), len(set(units)), "it is counted, not estimated"
                ),
            )
    return BatchScore(name, among, of_what, Estimate.missing(why), Estimate.missing(why))
