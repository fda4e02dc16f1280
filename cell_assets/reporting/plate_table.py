"""What profiles find on each plate, each batch and each group of plates, and what one representation has over the
reference there (upper half of Table 1 of CytoSummaryNet, with what is found beyond luck)."""

from collections.abc import Iterator
from dataclasses import dataclass

from cell_assets.evaluation.profiling.profile_scores import (
    PLATE_TASKS,
    Gain,
    PlateScore,
    Score,
    Stratum,
)
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.significance import Significance
from cell_assets.evaluation.profiling.well_manifest import PlateSplit
from cell_assets.reporting.profile_figures import TASK_TITLES
from cell_assets.reporting.wording import value_text

_AS_IN_FIG_8 = {
    PlateSplit.LEARNED: "training",
    PlateSplit.VALIDATION: "validation",
    PlateSplit.HELD_OUT: "test",
    PlateSplit.OUT_OF_DISTRIBUTION: "out-of-distribution",
}


@dataclass(frozen=True)
class PlateCell:
    """One representation, as text."""

    own: str
    significant: str


@dataclass(frozen=True)
class PlateRow:
    """One group of plates, or one plate; what is gained is empty where the reference stands alone."""

    plates: str
    n_queries: int
    reference: PlateCell
    own: PlateCell
    absolute: str
    relative: str
    p_plates: str
    p_compounds: str


@dataclass(frozen=True)
class PlateGroup:
    """One task."""

    title: str
    of_what: str
    """What is tested: `compounds` or `mechanisms`; empty where nothing is."""
    rows: tuple[PlateRow, ...]
    unlisted: str
    """How many plates could not be asked, and why the first could not; empty where all could."""


def plate_groups(study: ProfileStudy, headline: str) -> tuple[PlateGroup, ...]:
    """Of tasks that could be asked; all plates first, then by what they are for, by batch, and one by one.

    Args:
        headline: the representation that is held against the study's reference, or that itself.
    """
    return tuple(group for task in PLATE_TASKS if (group := _group(study, task, headline)).rows)


def _group(study: ProfileStudy, task: Task, headline: str) -> PlateGroup:
    reference = study.parameters.reference
    whole = {
        (one.stratum, one.representation): one
        for one in study.scores
        if one.task is task and (one.is_whole or one.stratum.is_of_plates)
    }
    single = {(one.plate, one.representation): one for one in study.plates if one.task is task}
    pairs = [
        (_group_text(stratum), whole[stratum, reference], whole[stratum, headline])
        for stratum in dict.fromkeys(stratum for stratum, _ in whole)
    ]
    plates = [
        (f"plate {plate}", single[plate, reference], single[plate, headline])
        for plate in dict.fromkeys(plate for plate, _ in single)
    ]
    rows = tuple(_rows([*pairs, *plates]))
    tested = study.score(task, reference).significance
    of_what = "" if tested is None else tested.of_what
    return PlateGroup(TASK_TITLES[task], of_what, rows, _unlisted([own for _, _, own in plates]))


def _group_text(stratum: Stratum) -> str:
    if not stratum.is_of_plates:
        return "all plates"
    if stratum.plates is None:
        return stratum.name
    of_batch = "" if stratum.batch is None else f" of batch {stratum.batch}"
    return f"{_AS_IN_FIG_8[stratum.plates]} plates{of_batch}"


def _rows(pairs: list[tuple[str, Score | PlateScore, Score | PlateScore]]) -> Iterator[PlateRow]:
    for plates, reference, own in pairs:
        if own.mean_average_precision.value is not None:
            yield PlateRow(plates, own.n_queries, _cell(reference), _cell(own), *_gained(own.gain))


def _unlisted(plates: list[PlateScore]) -> str:
    silent = [one for one in plates if one.mean_average_precision.value is None]
    if not silent:
        return ""
    first = f"plate {silent[0].plate}: {silent[0].mean_average_precision.why_missing}"
    return f"{len(silent)} of {len(plates)} plates could not be asked ({'first ' if len(silent) > 1 else ''}{first})"


def _cell(score: Score | PlateScore) -> PlateCell:
    return PlateCell(value_text(score.mean_average_precision.value), _significant(score.significance))


def _significant(found: Significance | None) -> str:
    if found is None or found.share.value is None:
        return "–"
    return f"{round(found.share.value * found.share.n_units)} of {found.share.n_units}"


def _gained(gain: Gain | None) -> tuple[str, str, str, str]:
    """Absolute, relative, and Welch's p over plates and over compounds."""
    if gain is None:
        return "", "", "", ""
    p_values = {test.over: value_text(test.p_value) for test in gain.welch}
    absolute, relative = gain.absolute.value, gain.relative.value
    return (
        "–" if absolute is None else f"{absolute:+.3f}",
        "–" if relative is None else f"{100 * relative:+.0f} %",
        p_values.get("plates", "–"),
        p_values.get("compounds", "–"),
    )
