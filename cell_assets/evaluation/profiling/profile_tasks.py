"""What profiles are asked for: mechanisms and replicates, and which profiles may be compared for that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.well_manifest import (
    BATCH,
    COMPOUND,
    DOSE,
    DOSE_SPLIT,
    DOSE_UNIT,
    MOA,
    holds_doses_out,
)
from cell_assets.evaluation.retrieval.cross_fitted import AskingProfiles
from cell_assets.evaluation.retrieval.profiles import Profiles, treatment_profiles
from cell_assets.evaluation.retrieval.retrieval import (
    AVERAGE_PRECISION,
    CHANCE,
    N_POSITIVES,
    NEAREST,
    PREVALENCE,
    Question,
    ranked_queries,
)
from cell_assets.evaluation.units import FloatArray
from cell_assets.imaging.feature_tables.columns import PLATE

TREATMENT = "Metadata_Treatment"
"""Compound and dose, in words."""
_TREATMENT_OF = (COMPOUND, DOSE, DOSE_UNIT, TREATMENT)
_NO_MECHANISM = "no well has a compound of known mechanism"
MOST_COMPARED = 8_000
"""Profiles of one question: of each two of them the similarity is held, and those are 64 million."""


class Task(StrEnum):
    """One question to profiles."""

    MECHANISM = "mechanism"
    """Treatments: is another compound of the same mechanism near?"""
    MECHANISM_OTHER_PLATE = "mechanism_other_plate"
    """Treatments as each plate shows them, compared with those of other plates alone."""
    MECHANISM_OTHER_BATCH = "mechanism_other_batch"
    """Treatments as each batch shows them, compared with those of other batches alone."""
    MECHANISM_ON_PLATE = "mechanism_on_plate"
    """Treatments as each plate shows them, compared within the plate."""
    MECHANISM_OF_PLATES = "mechanism_of_plates"
    """Treatments as each plate shows them, compared with those of all plates."""
    MECHANISM_WITHIN_DOSES = "mechanism_within_doses"
    """Treatments at doses that were learned from, compared among themselves, and those at others likewise, so that
    neither finds the other's (Table 1 of CytoSummaryNet)."""
    REPLICATE_ON_PLATE = "replicate_on_plate"
    """Wells, compared within the plate: is another well of the same treatment near?"""
    REPLICATE_OTHER_PLATE = "replicate_other_plate"
    """Wells, compared with those of other plates alone."""

    @property
    def of_mechanisms(self) -> bool:
        """Whether mechanisms are asked for, and not replicates."""
        return self.value.startswith("mechanism")

    @property
    def within_plates(self) -> bool:
        """Whether each plate is asked for itself."""
        return self.within == PLATE

    @property
    def within(self) -> str | None:
        """Column of which the profiles of each value are asked for themselves."""
        return _MATCHINGS[self].within


@dataclass(frozen=True)
class _Matching:
    by: tuple[str, ...]
    """Columns of which each combination is one profile, the median of its wells; none takes wells as they are."""
    question: Question
    within: str | None = None
    """Column of which each value is asked for itself."""


_MATCHINGS = {
    Task.MECHANISM: _Matching(_TREATMENT_OF, Question(MOA, (COMPOUND,), COMPOUND)),
    Task.MECHANISM_OTHER_PLATE: _Matching(
        (PLATE, *_TREATMENT_OF), Question(MOA, (COMPOUND, PLATE), COMPOUND)
    ),
    Task.MECHANISM_OTHER_BATCH: _Matching(
        (BATCH, *_TREATMENT_OF), Question(MOA, (COMPOUND, BATCH), COMPOUND)
    ),
    Task.MECHANISM_ON_PLATE: _Matching((PLATE, *_TREATMENT_OF), Question(MOA, (COMPOUND,), COMPOUND), PLATE),
    Task.MECHANISM_OF_PLATES: _Matching((PLATE, *_TREATMENT_OF), Question(MOA, (COMPOUND,), COMPOUND)),
    Task.MECHANISM_WITHIN_DOSES: _Matching(_TREATMENT_OF, Question(MOA, (COMPOUND,), COMPOUND), DOSE_SPLIT),
    Task.REPLICATE_ON_PLATE: _Matching((), Question(TREATMENT, (), COMPOUND), PLATE),
    Task.REPLICATE_OTHER_PLATE: _Matching((), Question(TREATMENT, (PLATE,), COMPOUND)),
}


@dataclass(frozen=True)
class RankedTask:
    """The answers of R representations to one task: the same Q profiles asked all of them."""

    task: Task
    known: pd.DataFrame
    """Q rows: metadata and `n_positives, n_ranked, prevalence, chance`."""
    average_precision: FloatArray
    """(Q, R)."""
    nearest: FloatArray
    """(Q, R): 1 where the nearest neighbour is a right one, else 0."""
    why_missing: str | None = None
    """Why nothing could be asked; Q is then 0."""
    unanswered: Mapping[str, str] = field(default_factory=dict)
    """By plate, of a task within plates (or by another column that it is asked within): why nothing could be asked."""


def treated_only(wells: AskingProfiles, rows: np.ndarray) -> AskingProfiles:
    """Those of the rows (N,) with `TREATMENT` beside their metadata."""
    return wells.each(lambda one: _with_treatment(one.select(rows)))


def _with_treatment(chosen: Profiles) -> Profiles:
    dose = chosen.metadata[DOSE].map(lambda value: "" if pd.isna(value) else f" {value:g}")
    unit = chosen.metadata[DOSE_UNIT].map(lambda value: "" if pd.isna(value) else f" {value}")
    named = chosen.metadata.assign(**{TREATMENT: chosen.metadata[COMPOUND].astype(str) + dose + unit})
    return Profiles(named, chosen.features, chosen.names)


def profiles_of(task: Task, wells: AskingProfiles) -> AskingProfiles:
    """The profiles that ask: medians of wells for mechanisms (wells without one left out), wells for replicates."""
    matching = _MATCHINGS[task]
    if task.of_mechanisms:
        wells = wells.select(wells.metadata[MOA].notna().to_numpy(np.bool_))
    if not (matching.by and len(wells)):
        return wells
    return wells.each(lambda one: treatment_profiles(one, matching.by))


def question_of(task: Task) -> Question:
    """Label and what is apart."""
    return _MATCHINGS[task].question


def rank(task: Task, wells: Sequence[AskingProfiles]) -> RankedTask:
    """Ask R representations of the same treated wells, in the same order."""
    if task is Task.MECHANISM_OTHER_BATCH and BATCH not in wells[0].metadata.columns:
        return _unasked(task, len(wells), "nobody says of which batch a plate is")
    if task.within == DOSE_SPLIT and not holds_doses_out(wells[0].metadata):
        return _unasked(task, len(wells), "nobody says that some doses were not learned from")
    profiles = [profiles_of(task, one) for one in wells]
    if not len(profiles[0]):
        return _unasked(task, len(wells), _NO_MECHANISM)
    if task.within is None:
        try:
            return _answers(task, [_asked(task, one) for one in profiles])
        except BadInputError as error:
            return _unasked(task, len(wells), str(error))
    within = profiles[0].metadata[task.within].astype(str)
    # A plate none of whose wells has a mechanism has no profile, and is listed with that reason.
    silent = set(wells[0].metadata[task.within].astype(str)) - set(within)
    parts, unanswered = [], dict.fromkeys(sorted(silent), _NO_MECHANISM)
    for value in dict.fromkeys(within):
        own = (within == value).to_numpy(np.bool_)
        try:
            parts.append([_asked(task, one.select(own)) for one in profiles])
        except BadInputError as error:
            unanswered[value] = str(error)
    if not parts:
        which = "on no plate" if task.within_plates else "at no doses"
        why = f"{which}: {next(iter(unanswered.values()))}"
        return replace(_unasked(task, len(wells), why), unanswered=unanswered)
    tables = [pd.concat(of_part, ignore_index=True) for of_part in zip(*parts, strict=True)]
    return replace(_answers(task, tables), unanswered=unanswered)


def _asked(task: Task, profiles: AskingProfiles) -> pd.DataFrame:
    if len(profiles) > MOST_COMPARED:
        raise BadInputError(
            f"{len(profiles)} profiles are more than {MOST_COMPARED}, of which each two would be compared; study fewer "
            "plates"
        )
    return ranked_queries(profiles, question_of(task))


def _answers(task: Task, tables: Sequence[pd.DataFrame]) -> RankedTask:
    asks = (tables[0][N_POSITIVES] > 0).to_numpy()
    known = tables[0].drop(columns=[AVERAGE_PRECISION, NEAREST])[asks].reset_index(drop=True)
    return RankedTask(
        task,
        known,
        np.stack([table[AVERAGE_PRECISION].to_numpy(np.float64)[asks] for table in tables], 1),
        np.stack([table[NEAREST].to_numpy(np.float64)[asks] for table in tables], 1),
    )


def _unasked(task: Task, n_representations: int, why: str) -> RankedTask:
    empty = np.empty((0, n_representations))
    known = pd.DataFrame(columns=[N_POSITIVES, PREVALENCE, CHANCE, COMPOUND, PLATE])
    return RankedTask(task, known, empty, empty, why)
