"""What a study of relevance states as numbers of the ledger."""

from collections.abc import Iterator

from cell_assets.evaluation.profiling.dropped_cells import BY_RULE, DroppingStudy, KeptCells
from cell_assets.evaluation.profiling.profile_scores import ALL_COMPOUNDS
from cell_assets.evaluation.profiling.published_relevance import RelevanceStudy
from cell_assets.evaluation.profiling.relevance_table import RelevanceScore
from cell_assets.evaluation.resampling import Estimate, stated_split
from cell_assets.ledger.records import NumberDraft

FEATURES, DROPPED, RULE = "relevance_of_features", "relevance_dropped", "quality_rule"
RELEVANCE_REPORTS = (FEATURES, DROPPED, RULE)
"""Second part of the names of these numbers' reports."""
NAMES = {
    KeptCells.ALL: "all_cells",
    KeptCells.WITHOUT_LEAST_RELEVANT: "without_least_relevant",
    KeptCells.WITHOUT_MOST_RELEVANT: "without_most_relevant",
    KeptCells.WITHOUT_LEAST_BY_LESSER_RANK: "without_least_by_lesser_rank",
    KeptCells.WITHOUT_RANDOM: "without_random",
    KeptCells.BY_RULE: "by_rule",
    KeptCells.WITHOUT_RANDOM_AS_RULE: "without_random",
}
"""Of means over some of the cells, in names of numbers."""


def relevance_numbers(study: RelevanceStudy, method: str) -> tuple[NumberDraft, ...]:
    """Correlations of the features that the page shows, and what is found without some of the cells; what could not be
    computed says why.

    Args:
        method: begins the name of every number's report.
    """
    return tuple(_numbers(study, method))


def _numbers(study: RelevanceStudy, method: str) -> Iterator[NumberDraft]:
    about = f"{method}/{FEATURES}"
    wells = stated_split("all wells", study.simulated)
    shown = study.shown()
    if not shown:
        yield Estimate.missing(study.why_none_shown).as_number(
            report=about, name="rank_correlation", split=wells, unit="wells"
        )
    for score in RelevanceScore:
        found = {one.feature: one.correlation for one in study.correlations.get(score, ())}
        for feature in shown:
            yield found[feature].as_number(
                report=about, name=f"{score.value}_with_{feature}", split=wells, unit="wells"
            )
    yield from _dropping(study.dropping, f"{method}/{DROPPED}", stated_split(ALL_COMPOUNDS, study.simulated))
    about, split = f"{method}/{RULE}", stated_split("plates it is applied to", study.simulated)
    rule = study.rule
    if rule is None:
        missing = Estimate.missing(study.why_no_rule or "")
        for name in ("share_of_cells_left_out", "share_of_these_least_relevant"):
            yield missing.as_number(report=about, name=name, split=split, unit="wells")
        nothing = DroppingStudy.missing(BY_RULE, (), study.why_no_rule or "")
        yield from _dropping(nothing, about, split)
        return
    for name, share in (
        ("share_of_cells_left_out", rule.left_out),
        ("share_of_these_least_relevant", rule.least_relevant),
    ):
        yield share.as_number(report=about, name=name, split=split, unit="wells")
    yield from _dropping(rule.dropping, about, split)


def _dropping(found: DroppingStudy, about: str, split: str) -> Iterator[NumberDraft]:
    for kept, precision in found.found.items():
        yield _of(precision, about, f"mean_average_precision_{NAMES[kept]}", split)
    yield _of(found.chance, about, "mean_average_precision_chance", split)
    first = found.asked
    for other, gain in found.gains.items():
        yield _of(gain, about, f"gain_of_{NAMES[first]}_over_{NAMES[other]}", split)


def _of(estimate: Estimate, about: str, name: str, split: str) -> NumberDraft:
    return estimate.as_number(report=about, name=name, split=split, unit="compounds")
