"""A number computed anew from what it rests on: from the predictions beside it, and from the embeddings below."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from blake3 import blake3

from cell_assets.errors import CellAssetsError, NotFoundError
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.attribution_scores import attribution_numbers
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.evaluation.pixels.bleaching_scores import (
    CELLS_FILE,
    TRACKS_FILE,
    bleaching_numbers,
    probed_columns,
)
from cell_assets.evaluation.pixels.bleaching_scores import REPORT as BLEACHING_REPORT
from cell_assets.evaluation.profiling.profile_parameters import ProfileReportParameters
from cell_assets.evaluation.profiling.published_profiles import (
    ProfileFolders,
    study_published_profiles,
    study_published_relevance,
)
from cell_assets.evaluation.profiling.relevance_numbers import RELEVANCE_REPORTS, relevance_numbers
from cell_assets.evaluation.resampling import Estimate
from cell_assets.evaluation.scores.scoring import rescore
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.comparison_parameters import ComparisonParameters
from cell_assets.evaluation.studies.published_study import StudiedFolders, study_published
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.evaluation.studies.training_comparison import REPORT as COMPARISON_REPORT
from cell_assets.evaluation.studies.training_comparison import paired_gains, reported_trainings
from cell_assets.imaging.feature_tables.measured_cells import feature_table_folder
from cell_assets.ledger.records import Artifact, JsonValue, Number, NumberDraft, Provenance
from cell_assets.store.code_identity import environment_text
from cell_assets.store.store import Store

SAME_TO = 1e-9
"""Relative difference up to which two computations agree: another build of a numerical library may round sums
in another order."""


_MEAN_PROFILES, _SUPERVISED_PROFILES, _WELL_MANIFEST = "mean_profiles", "supervised_profiles", "well_manifest"
_CELLS = "single_cell_features"
_ATTRIBUTION = "/attribution_"
"""In the report name of every number about attribution, between method and annotation column."""


class Outcome(StrEnum):
    """Whether a number came out again."""

    SAME = "comes out again"
    ANOTHER = "does NOT come out again"
    NOT_COMPUTED = "could not be computed anew"


@dataclass(frozen=True)
class Recomputed:
    """The number by one way of computing it."""

    origin: str
    """What it was computed from."""
    value: float | None
    low: float | None
    high: float | None
    why_missing: str | None
    """Why this way gives no value."""


@dataclass(frozen=True)
class Recomputation:
    """A recorded number and what was computed anew."""

    number: Number
    ways: tuple[Recomputed, ...]
    same_environment: bool
    """Whether Python and every installed package are what they were when it was recorded."""

    @property
    def outcome(self) -> Outcome:
        """`SAME` where every way that gives a value gives this one."""
        given = [way for way in self.ways if way.why_missing is None or self._is_missing_too(way)]
        if not given:
            return Outcome.NOT_COMPUTED
        return Outcome.SAME if all(map(self._close, given)) else Outcome.ANOTHER

    @property
    def agrees(self) -> bool:
        """Whether the number came out again."""
        return self.outcome is Outcome.SAME

    def difference(self, way: Recomputed) -> float | None:
        """Largest relative difference of value and bounds; None where one has what the other lacks."""
        draft = self.number.draft
        pairs = ((draft.value, way.value), (draft.ci_low, way.low), (draft.ci_high, way.high))
        differences = [0.0]
        for recorded, anew in pairs:
            if recorded is None or anew is None:
                if recorded is not anew:
                    return None
                continue
            scale = max(abs(recorded), abs(anew))
            differences.append(abs(recorded - anew) / scale if scale else 0.0)
        return max(differences)

    def _close(self, way: Recomputed) -> bool:
        difference = self.difference(way)
        return difference is not None and difference <= SAME_TO

    def _is_missing_too(self, way: Recomputed) -> bool:
        return self.number.draft.value is None and way.why_missing == self.number.draft.why_missing

    def to_text(self) -> str:
        """One line for each way, then the upshot."""
        lines = []
        for way in self.ways:
            if way.why_missing is not None:
                lines.append(f"from {way.origin}: no value: {way.why_missing}")
                continue
            difference = self.difference(way)
            interval = "" if way.low is None else f" [{way.low:.6g}, {way.high:.6g}]"
            if difference == 0.0:
                said = "the recorded one to the last bit"
            elif difference is None:
                said = "the recorded one has other parts"
            else:
                said = f"differs from the recorded one by {difference:.2g} of its size"
            lines.append(f"from {way.origin}: {way.value:.6g}{interval}, {said}")
        if not self.same_environment:
            lines.append("installed packages are not what they were when the number was recorded")
        lines.append(
            f"number {self.number.id} {'comes out again' if self.agrees else 'does NOT come out again'}"
        )
        return "\n".join(lines)

    def as_json(self) -> JsonValue:
        """As part of a verification's document."""
        return {
            "outcome": self.outcome.value,
            "same_environment": self.same_environment,
            "ways": [
                {
                    "from": way.origin,
                    "value": way.value,
                    "ci_low": way.low,
                    "ci_high": way.high,
                    "why_missing": way.why_missing,
                    "relative_difference": self.difference(way),
                }
                for way in self.ways
            ],
        }


def recompute(store: Store, number_id: int) -> Recomputation:
    """Compute number `number_id` again by every way there is.

    From the predictions that its report holds, row by row, where it is a score of predictions; and from the
    published embeddings, manifest and annotations, probes fitted anew, always. A number about profiles of wells, from
    these as they were published, and one about the relevance of cells from their features as well. A number about
    attribution or bleaching, from the scores of its cells that are published beside it; one that compares trainings,
    from their reports.

    Raises:
        NotFoundError: there is no such number.
    """
    number = store.ledger.number(number_id)
    stated = store.ledger.provenance(number.run_id)
    ways: tuple[tuple[str, Callable[[Store, Number, Provenance], Estimate | NumberDraft]], ...] = (
        ("the report's predictions", _from_predictions),
        ("the published embeddings", _from_embeddings),
    )
    if _is_of_relevance(number):
        ways = (("the published cells and their relevance", _from_relevance),)
    elif _is_of_profiles(stated):
        ways = (("the published profiles", _from_profiles),)
    elif _ATTRIBUTION in number.draft.report:
        ways = (("the scored cells", _from_scored_cells),)
    elif number.draft.report.rpartition("/")[2] == COMPARISON_REPORT:
        ways = (("the compared reports", _from_compared_reports),)
    elif number.draft.report.rpartition("/")[2] == BLEACHING_REPORT:
        ways = (("the dimmed cells", _from_dimmed_cells),)
    return Recomputation(
        number,
        tuple(_tried(origin, partial(compute, store, number, stated)) for origin, compute in ways),
        stated.run.code.environment_digest == blake3(environment_text().encode()).hexdigest(),
    )


def _tried(origin: str, compute: Callable[[], Estimate | NumberDraft]) -> Recomputed:
    try:
        found = compute()
    except CellAssetsError as error:
        return Recomputed(origin, None, None, None, str(error))
    except (OSError, ValueError, KeyError) as error:
        # What libraries raise for files that are not what they were, or that an older version wrote.
        return Recomputed(origin, None, None, None, f"it cannot be read: {type(error).__name__}: {error}")
    low, high = (found.low, found.high) if isinstance(found, Estimate) else (found.ci_low, found.ci_high)
    return Recomputed(origin, found.value, low, high, found.why_missing)


def _parameters(stated: Provenance) -> StudyParameters:
    return StudyParameters.model_validate(dict(stated.run.parameters))


def _folder(store: Store, artifact: Artifact) -> Path:
    """Where an artifact's bytes are, withdrawn or not: what rests on it was computed all the same."""
    return store.fetch(artifact)


def _from_predictions(store: Store, number: Number, stated: Provenance) -> Estimate:
    parameters = _parameters(stated)
    task = number.draft.report.rpartition("/")[2]
    file = _folder(store, stated.artifact) / "predictions" / f"{task}.parquet"
    if not file.exists():
        raise NotFoundError(f"{number.draft.report} is not a score of predictions")
    return rescore(
        pd.read_parquet(file),
        number.draft.name,
        seed=parameters.seed,
        n_resamples=parameters.n_resamples,
        units=number.draft.unit,
    )


def _from_scored_cells(store: Store, number: Number, stated: Provenance) -> NumberDraft:
    draft, recorded = number.draft, stated.run.parameters
    settings = AttributionParameters.model_validate(
        {name: recorded[name] for name in AttributionParameters.model_fields if name in recorded}
    )
    method, _, column = draft.report.partition(_ATTRIBUTION)
    cells = pd.read_parquet(_folder(store, stated.artifact) / "cells.parquet")
    scored = cells[cells["is_scored"] & (cells["column"] == column)]
    if scored.empty:
        raise NotFoundError(f"no cell was scored for {column}: {draft.why_missing}")
    for anew in attribution_numbers(scored, column, method, draft.split, settings):
        if anew.name == draft.name:
            return anew
    raise NotFoundError(f"scored cells do not tell {draft.name}")


def _from_dimmed_cells(store: Store, number: Number, stated: Provenance) -> NumberDraft:
    draft, recorded = number.draft, stated.run.parameters
    if draft.value is None:
        raise NotFoundError(f"no cell was scored for {draft.name}: {draft.why_missing}")
    settings = BleachingParameters.model_validate(
        {name: recorded[name] for name in BleachingParameters.model_fields if name in recorded}
    )
    folder = _folder(store, stated.artifact)
    cells, tracks = (pd.read_parquet(folder / name) for name in (CELLS_FILE, TRACKS_FILE))
    unit = SplitUnit(json.loads((folder / "numbers.json").read_text(encoding="utf-8"))["split"]["unit"])
    columns = probed_columns(cells)
    method = draft.report.partition("/")[0]
    for anew in bleaching_numbers(cells, tracks, columns, method, draft.split, unit, settings):
        if anew.name == draft.name:
            return anew
    raise NotFoundError(f"dimmed cells do not tell {draft.name}")


def _from_compared_reports(store: Store, number: Number, stated: Provenance) -> NumberDraft:
    draft, recorded = number.draft, stated.run.parameters
    made = ComparisonParameters.model_validate(recorded)
    read = {artifact.digest: artifact for artifact in stated.inputs}
    trainings = reported_trainings([_folder(store, read[digest]) for digest in made.reports], made.trainings)
    method = draft.report.partition("/")[0]
    for anew in paired_gains(trainings, method, seed=made.seed, n_resamples=made.n_resamples):
        if anew.name == draft.name:
            return anew
    raise NotFoundError(f"the compared reports do not tell {draft.name}")


def _is_of_profiles(stated: Provenance) -> bool:
    return any(artifact.asset == _MEAN_PROFILES for artifact in stated.inputs)


def _from_profiles(store: Store, number: Number, stated: Provenance) -> NumberDraft:
    method = number.draft.report.partition("/")[0]
    parameters = ProfileReportParameters.of_record(stated.run.parameters)
    folders = _profile_folders(store, stated, method)
    return _stated_again(number, study_published_profiles(method, folders, parameters).numbers)


def _is_of_relevance(number: Number) -> bool:
    return number.draft.report.partition("/")[2] in RELEVANCE_REPORTS


def _from_relevance(store: Store, number: Number, stated: Provenance) -> NumberDraft:
    method = number.draft.report.partition("/")[0]
    parameters = ProfileReportParameters.of_record(stated.run.parameters)
    with TemporaryDirectory() as scratch:
        cells = {
            artifact.partition: feature_table_folder(
                _folder(store, artifact), Path(scratch) / artifact.partition
            )
            for artifact in stated.inputs
            if artifact.asset == _CELLS
        }
        folders = replace(_profile_folders(store, stated, method), cells=cells)
        study = study_published_relevance(method, folders, parameters)
    return _stated_again(number, relevance_numbers(study, method) if study else ())


def _profile_folders(store: Store, stated: Provenance, method: str) -> ProfileFolders:
    mean: dict[str, Path] = {}
    learned: dict[str, Path] = {}
    manifest: Path | None = None
    supervised: Path | None = None
    for artifact in stated.inputs:
        if artifact.asset == _MEAN_PROFILES:
            mean[artifact.partition] = _folder(store, artifact)
        elif artifact.asset == f"{method}_profiles":
            learned[artifact.partition.partition("|")[2]] = _folder(store, artifact)
        elif artifact.asset == _WELL_MANIFEST:
            manifest = _folder(store, artifact)
        elif artifact.asset == _SUPERVISED_PROFILES:
            supervised = _folder(store, artifact)
    return ProfileFolders(mean, {method: learned} if learned else {}, manifest, supervised)


def _stated_again(number: Number, numbers: Sequence[NumberDraft]) -> NumberDraft:
    draft = number.draft
    for anew in numbers:
        if (anew.report, anew.name, anew.split) == (draft.report, draft.name, draft.split):
            return anew
    raise NotFoundError(f"the study as it is today states no {draft.report} {draft.name}, {draft.split}")


def _from_embeddings(store: Store, number: Number, stated: Provenance) -> NumberDraft:
    method = number.draft.report.partition("/")[0]
    by_asset: dict[str, dict[str, Artifact]] = {}
    for artifact in stated.inputs:
        by_asset.setdefault(artifact.asset, {})[artifact.partition] = artifact

    def folder(asset: str, partition: str) -> Path:
        return _folder(store, by_asset[asset][partition])

    experiment = stated.artifact.partition
    embeddings = by_asset.get(f"{method}_embeddings", {})
    study = study_published(
        StudiedFolders(
            embeddings={
                partition.partition("|")[2]: folder(f"{method}_embeddings", partition)
                for partition in embeddings
            },
            raw={plate: folder("raw_acquisition", plate) for plate in by_asset.get("raw_acquisition", {})},
            manifest=folder("experiment_manifest", experiment),
            annotations={
                (partition.partition("|")[0], partition.partition("|")[2]): folder("annotations", partition)
                for partition in by_asset.get("annotations", {})
            },
            features={
                plate: folder("single_cell_features", plate)
                for plate in by_asset.get("single_cell_features", {})
            },
            state_segmentation=folder("state_segmentation", experiment)
            if "state_segmentation" in by_asset
            else None,
        ),
        method,
        experiment,
        _parameters(stated),
    )
    return _stated_again(number, study.evaluation.numbers)
