"""Trainings of one experiment held against each other on the same test cells (DynaCLR, Table 1, Fig. 2 and 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cell_assets.evaluation.resampling import Estimate, bootstrap_interval
from cell_assets.evaluation.scores import metrics
from cell_assets.evaluation.scores.probes import DECISION
from cell_assets.evaluation.scores.scoring import resampled_unit
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.flat_parameters import flat_parameters
from cell_assets.evaluation.studies.published_report import PublishedReport, read_report
from cell_assets.evaluation.units import BoolArray, plural, unit_ids
from cell_assets.ledger.records import JsonValue, NumberDraft

REPORT = "comparison"
GAIN = "balanced_accuracy_gain_of_"
_KEYS = ["plate", "fov_name", "track_id", "t"]


@dataclass(frozen=True)
class ReportedTraining:
    """One training, and what its report states."""

    label: str
    """What tells it from the others, for example `cell-aware, Phase`."""
    report: PublishedReport

    def number(self, about: str, name: str) -> NumberDraft | None:
        """What the report states under this name, whichever the method."""
        found = (
            one for one in self.report.numbers if (one.report.partition("/")[2], one.name) == (about, name)
        )
        return next(found, None)


def reported_trainings(
    reports: Sequence[Path], parameters: Sequence[Mapping[str, JsonValue]]
) -> tuple[ReportedTraining, ...]:
    """From the folders of their reports and what each was trained with."""
    labels = training_labels([dict(flat_parameters("", one)) for one in parameters])
    return tuple(
        ReportedTraining(label, read_report(folder)) for label, folder in zip(labels, reports, strict=True)
    )


def training_labels(parameters: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Each training's values of the parameters in which they differ; a number behind what that does not tell apart.

    Args:
        parameters: of each training, values as text by dotted name.
    """
    names = dict.fromkeys(name for one in parameters for name in one if name != "preset")
    differing = [name for name in names if len({one.get(name) for one in parameters}) > 1]
    labels: list[str] = []
    for one in parameters:
        parts = [_value(name, one[name]) for name in differing if name in one]
        label = ", ".join(parts) or "as trained"
        taken = sum(other == label or other.startswith(f"{label} (") for other in labels)
        labels.append(f"{label} ({taken + 1})" if taken else label)
    return tuple(labels)


def _value(name: str, text: str) -> str:
    """Words speak for themselves; numbers, yes or no, and what is empty need their name."""
    parts = [part.strip(' "') for part in text.strip("[]").split(",")]
    plain = " + ".join(parts)
    if all(part[:1].isalpha() and part not in ("true", "false", "null") for part in parts):
        return plain
    return f"{name.rpartition('.')[2]} {plain or 'all'}"


def shared_tasks(trainings: Sequence[ReportedTraining]) -> tuple[str, ...]:
    """Tasks that every training has predictions and a balanced accuracy of, by name."""
    tasks = set.intersection(*({*one.report.predictions} for one in trainings))
    return tuple(
        sorted(task for task in tasks if all(one.number(task, "balanced_accuracy") for one in trainings))
    )


@dataclass(frozen=True)
class ChosenDivisions:
    """One division of each training's trajectories, to be held against each other."""

    numbers: tuple[int, ...]
    """Of the division in each training's own table."""
    same_cells: bool
    """Whether it is of one parent and its two daughters in all of them."""


def chosen_divisions(tables: Sequence[pd.DataFrame]) -> ChosenDivisions:
    """Of the divisions that all `tables` hold, the first of the first table; each table's first where they share none.

    Args:
        tables: `PublishedReport.trajectories`, each with a division at least.
    """
    families = [_families(table) for table in tables]
    shared = next((one for one in families[0] if all(one in others for others in families)), None)
    if shared is None:
        return ChosenDivisions(tuple(min(one.values()) for one in families), same_cells=False)
    return ChosenDivisions(tuple(one[shared] for one in families), same_cells=True)


def _families(table: pd.DataFrame) -> dict[frozenset[str], int]:
    """Number of each division by the tracks that are in it, in order of the numbers."""
    members = table[table["division"].notna()]
    track = pd.Series(unit_ids(members, SplitUnit.TRACK), index=members.index)
    number = members["division"].astype("int64")
    return {frozenset(track[number == one]): int(one) for one in np.unique(number)}


def paired_gains(
    trainings: Sequence[ReportedTraining], method: str, *, seed: int, n_resamples: int
) -> tuple[NumberDraft, ...]:
    """Balanced accuracy of every training less that of the first, by task, on the same cells and resamples."""
    first = trainings[0]
    found = []
    for task in shared_tasks(trainings):
        stated = first.number(task, "balanced_accuracy")
        for other in trainings[1:]:
            gain, unit = _gain(
                other.report.predictions[task], first.report.predictions[task], seed, n_resamples
            )
            found.append(
                gain.as_number(
                    report=f"{method}/{REPORT}",
                    name=f"{task}_{GAIN}{_slug(other.label)}_over_{_slug(first.label)}",
                    split="" if stated is None else stated.split,
                    unit=plural(unit),
                )
            )
    return tuple(found)


def _slug(label: str) -> str:
    return "_".join(label.replace(",", " ").replace("+", " ").replace("(", " ").replace(")", " ").split())


def _gain(one: pd.DataFrame, other: pd.DataFrame, seed: int, n_resamples: int) -> tuple[Estimate, SplitUnit]:
    if "probability" not in one.columns or "probability" not in other.columns:
        return Estimate.missing("one of the two has no probe"), SplitUnit.TRACK
    both = one.merge(other[[*_KEYS, "label", "probability"]], on=_KEYS, suffixes=("", "_other"))
    agreed = both["label"].notna() & both["label_other"].notna()
    both = both[agreed & (both["label"] == both["label_other"]).fillna(False)].reset_index(drop=True)
    if both.empty:
        return Estimate.missing("no test cell has the same label in both reports"), SplitUnit.TRACK
    label: BoolArray = both["label"].to_numpy(dtype=np.bool_)
    left, right = (
        metrics.balanced_accuracy(label, both[name].to_numpy(dtype=np.float64) >= DECISION)
        for name in ("probability", "probability_other")
    )
    finest = SplitUnit.LINEAGE if "lineage_root" in both.columns else SplitUnit.TRACK
    unit = resampled_unit(both, (SplitUnit.FOV, finest))
    units = unit_ids(both, unit)
    difference = metrics.difference(left, right)
    return bootstrap_interval(units, difference, seed=seed, n_resamples=n_resamples), unit
