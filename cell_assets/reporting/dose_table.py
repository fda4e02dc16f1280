"""What each representation has over the reference at doses that were learned from and at others, side by side (lower
half of Table 1 of CytoSummaryNet)."""

from collections.abc import Iterator
from dataclasses import dataclass

from cell_assets.evaluation.profiling.profile_scores import DOSE_TASKS, Score, Stratum
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.well_manifest import DoseSplit
from cell_assets.evaluation.splits import Split
from cell_assets.reporting.profile_figures import TASK_TITLES
from cell_assets.reporting.wording import interval_text, title_text, value_text


@dataclass(frozen=True)
class DoseCell:
    """One representation at one side's doses, as text; the reference has no gain."""

    own: str
    gain: str
    relative: str


@dataclass(frozen=True)
class DoseRow:
    """One representation."""

    representation: str
    learned: DoseCell
    held_out: DoseCell


@dataclass(frozen=True)
class DoseGroup:
    """One task and part of the compounds."""

    title: str
    n_learned: int
    """Profiles that ask at learned doses."""
    n_held_out: int
    rows: tuple[DoseRow, ...]


def dose_groups(study: ProfileStudy) -> tuple[DoseGroup, ...]:
    """Of tasks that could be asked at one of the two; none where every dose is learned from."""
    return tuple(_groups(study)) if study.holds_doses_out else ()


def _groups(study: ProfileStudy) -> Iterator[DoseGroup]:
    found = {(one.task, one.stratum, one.representation): one for one in study.scores}

    def both(task: Task, compounds: Split | None, name: str) -> tuple[Score, Score]:
        learned, held_out = (
            found[task, Stratum(compounds, doses=doses), name]
            for doses in (DoseSplit.LEARNED, DoseSplit.HELD_OUT)
        )
        return learned, held_out

    for task in DOSE_TASKS:
        for compounds in (None, *Split):
            scores = [both(task, compounds, name) for name in study.representations]
            n_learned, n_held_out = (one.n_queries for one in scores[0])
            if n_learned or n_held_out:
                yield DoseGroup(
                    f"{TASK_TITLES[task]}: {Stratum(compounds).name}",
                    n_learned,
                    n_held_out,
                    tuple(
                        DoseRow(title_text(learned.representation), _cell(learned), _cell(held_out))
                        for learned, held_out in scores
                    ),
                )


def _cell(score: Score) -> DoseCell:
    own = value_text(score.mean_average_precision.value)
    if score.gain is None:
        return DoseCell(own, "", "")
    absolute, relative = score.gain.absolute, score.gain.relative.value
    if absolute.value is None:
        return DoseCell(own, "–", "–")
    interval = interval_text(absolute.low, absolute.high)
    share = "–" if relative is None else f"{100 * relative:+.0f} %"
    return DoseCell(own, f"{absolute.value:+.3f} ({interval})", share)
