"""What the relevance of cells means, as a part of a report on profiles: its tables, its figure and its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cell_assets.evaluation.profiling.dropped_cells import DroppingStudy
from cell_assets.evaluation.profiling.published_relevance import AppliedRule, RelevanceStudy
from cell_assets.evaluation.profiling.quality_rule import write_quality_rule
from cell_assets.evaluation.profiling.relevance_table import RelevanceScore
from cell_assets.evaluation.resampling import Estimate
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets.reporting.cell_ends import CellEnds, ends_figure
from cell_assets.reporting.html import ReportFigure
from cell_assets.reporting.wording import estimate_text, interval_text, value_text

CORRELATIONS_FILE, RULE_FILE = "relevance_correlations.parquet", "quality_rule.json"


@dataclass(frozen=True)
class RelevantCellPictures:
    """The least and the most relevant cells of some wells."""

    ends: tuple[CellEnds, ...] = ()
    wells: tuple[str, ...] = ()
    """What is known of the well of each of `ends`, for a person."""
    why_none: str | None = None
    """A sentence, where none are shown."""


@dataclass(frozen=True)
class RelevancePage:
    """What was found, and what is shown of it."""

    study: RelevanceStudy
    pictures: RelevantCellPictures

    def figures(self) -> tuple[ReportFigure, ...]:
        """The cells in their images, where there are any."""
        if not self.pictures.ends:
            return ()
        figure = ReportFigure(
            "relevant_cells",
            "Least and most relevant cells",
            "Cells with the lowest (left) and the highest (right) combined relevance of a well, lowest and highest at "
            f"the ends; no track is shown twice at one end. From above: {', '.join(self.pictures.wells)}. These are "
            "wells of the compounds whose mechanism is found better than without learning by the most, or the first "
            "ones where no mechanism is known. Contrast is the same in all patches of a channel (paper, Fig. 6).",
            ends_figure(self.pictures.ends),
        )
        return (figure,)

    def write(self, out: Path) -> None:
        """Write all correlations into the folder `out`, and the rule where there is one."""
        write_parquet(correlations_table(self.study), out / CORRELATIONS_FILE)
        if self.study.rule is not None:
            write_quality_rule(self.study.rule.rule, out / RULE_FILE)


@dataclass(frozen=True)
class FeatureRow:
    """A row of the table of features: its name, and the correlation and its interval by each score."""

    feature: str
    correlations: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DroppingRow:
    """A row of a table of means over some of the cells."""

    kept: str
    found: str
    interval: str
    gain: str
    gain_interval: str


@dataclass(frozen=True)
class RelevanceWords:
    """What a template shows."""

    cells: str
    scores: tuple[str, ...]
    features: tuple[FeatureRow, ...]
    n_features: int
    why_no_features: str | None
    why_no_cells: str | None
    share: str
    dropping: tuple[DroppingRow, ...]
    chance: str
    why_no_dropping: str | None
    rule: str | None
    """In words; None where there is none."""
    rule_says: str
    rule_dropping: tuple[DroppingRow, ...]
    why_no_rule_dropping: str | None


def relevance_words(page: RelevancePage) -> RelevanceWords:
    """All that the page says."""
    study, rule = page.study, page.study.rule
    share = f"{study.parameters.rule.least_relevant:.0%}".replace("%", " %")
    return RelevanceWords(
        cells=_cells_sentence(study),
        scores=tuple(RelevanceScore),
        features=_feature_rows(study),
        n_features=len(study.correlations.get(RelevanceScore.COMBINED, ())),
        why_no_features=None if study.shown() else study.why_none_shown,
        why_no_cells=page.pictures.why_none,
        share=share,
        dropping=_dropping_rows(study.dropping),
        chance=value_text(study.dropping.chance.value),
        why_no_dropping=study.dropping.chance.why_missing,
        rule=None if rule is None else rule.rule.sentence,
        rule_says=f"There is none: {study.why_no_rule}." if rule is None else _rule_says(rule, share),
        rule_dropping=() if rule is None else _dropping_rows(rule.dropping),
        why_no_rule_dropping=None if rule is None else rule.dropping.chance.why_missing,
    )


def correlations_table(study: RelevanceStudy) -> pd.DataFrame:
    """A row for each score and feature: `score, feature, rank_correlation, low, high, wells, why_missing`."""
    rows = [
        (
            score.value,
            one.feature,
            one.correlation.value,
            one.correlation.low,
            one.correlation.high,
            one.correlation.n_units,
            one.correlation.why_missing,
        )
        for score, found in study.correlations.items()
        for one in found
    ]
    names = ["score", "feature", "rank_correlation", "low", "high", "wells", "why_missing"]
    types = {
        "score": "string", "feature": "string", "rank_correlation": "float64", "low": "float64", "high": "float64",
        "wells": "int64", "why_missing": "string",
    }  # fmt: skip
    return pd.DataFrame(rows, columns=names).astype(types)


def _cells_sentence(study: RelevanceStudy) -> str:
    cells, wells = sum(one.cells for one in study.plates), sum(one.wells for one in study.plates)
    plates = "1 plate" if len(study.plates) == 1 else f"{len(study.plates)} plates"
    said = f"{cells} cells of {wells} wells on {plates} have a relevance and are looked at."
    lacking = sum(one.lacking for one in study.plates)
    if lacking:
        said += f" {lacking} more lack a feature and are left out."
    for plate, why in study.why_without.items():
        said += f" No cell of plate {plate} has one: {why}."
    return said


def _feature_rows(study: RelevanceStudy) -> tuple[FeatureRow, ...]:
    found = {
        score: {one.feature: one.correlation for one in of_score}
        for score, of_score in study.correlations.items()
    }
    return tuple(
        FeatureRow(feature, tuple(_signed(found[score][feature]) for score in RelevanceScore))
        for feature in study.shown()
    )


def _dropping_rows(found: DroppingStudy) -> tuple[DroppingRow, ...]:
    """The gain of a row is what leaving out the cells that the table is about has over that row's."""
    rows = []
    for kept, precision in found.found.items():
        gain = found.gains.get(kept)
        said, interval = ("", "") if gain is None else _signed(gain)
        rows.append(
            DroppingRow(
                kept.value,
                value_text(precision.value),
                interval_text(precision.low, precision.high),
                said,
                interval,
            )
        )
    return tuple(rows)


def _rule_says(rule: AppliedRule, least_relevant: str) -> str:
    text = (
        f"Made of the {rule.foretells.value} relevance on {_plates(rule.learned_on)}, and applied to "
        f"{_plates(rule.applied_to)}, of whose cells it leaves out a share of {estimate_text(rule.left_out)}. "
    )
    least = rule.least_relevant
    if least.value is None:
        text += f"Which of these are among the least relevant is not known: {least.why_missing}."
    else:
        text += (
            f"Of these, a share of {estimate_text(least)} is among the least relevant of its well; {least_relevant} "
            "would be by chance."
        )
    if rule.kept_whole:
        text += f" {rule.kept_whole} wells would keep no cell, and keep all."
    return text


def _plates(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ("plate " if len(names) == 1 else "plates ") + ", ".join(names[:3]) + more


def _signed(estimate: Estimate) -> tuple[str, str]:
    value = "–" if estimate.value is None else f"{estimate.value:+.3f}"
    return value, interval_text(estimate.low, estimate.high)
