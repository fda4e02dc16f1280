"""The study of an experiment, from published folders alone: what a report states, and what an audit states again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cell_assets.errors import BadInputError
from cell_assets.evaluation.annotated_states import AnnotatedStates, annotated_states
from cell_assets.evaluation.embedding_study import (
    EmbeddedCells,
    EmbeddingStudy,
    read_embeddings,
    study_embeddings,
)
from cell_assets.evaluation.leakage import find_leakage
from cell_assets.evaluation.manifest import FrozenCells, Manifest, read_manifest
from cell_assets.evaluation.study_parameters import StudyParameters
from cell_assets.imaging.acquisition import open_acquisition


@dataclass(frozen=True)
class StudiedFolders:
    """What the numbers of a report are computed from."""

    embeddings: Mapping[str, Path]
    """By plate."""
    raw: Mapping[str, Path]
    """By plate; for states given at ingest and the time between frames."""
    manifest: Path
    annotations: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    """By plate and position, where people annotated cells."""


@dataclass(frozen=True)
class StudiedCells:
    """The cells of an experiment with everything that is known of them."""

    manifest: Manifest
    frozen: FrozenCells
    embedded: EmbeddedCells
    known: AnnotatedStates
    interval_min: float | None
    """Minutes between time points; None for plates of a single one."""


def study_published(
    folders: StudiedFolders, method: str, experiment: str, parameters: StudyParameters
) -> EmbeddingStudy:
    """Evaluate the embeddings against the manifest's split and the plates' annotations.

    Raises:
        BadInputError: plates differ in their time between frames, or what is tested on was learned from.
    """
    studied = read_studied(folders, f"the report of {experiment}", experiment)
    study = study_embeddings(
        studied.embedded,
        studied.known.states,
        tracks=studied.frozen.every_track(studied.embedded.cells),
        method=method,
        split_unit=studied.manifest.split_unit,
        interval_min=studied.interval_min,
        simulated=studied.manifest.simulated,
        parameters=parameters,
    )
    evaluation = replace(study.evaluation, notes=(*studied.known.notes, *study.evaluation.notes))
    return replace(study, evaluation=evaluation)


def read_studied(folders: StudiedFolders, purpose: str, experiment: str) -> StudiedCells:
    """Embeddings, split and states of every cell of an experiment.

    Args:
        purpose: what they are read for, as a refusal names it.

    Raises:
        BadInputError: plates differ in their time between frames, or what is tested on was learned from.
    """
    manifest, frozen = read_manifest(folders.manifest)
    acquisitions = {plate: open_acquisition(folder) for plate, folder in folders.raw.items()}
    pixels = {
        (plate, position.name): position.content_digest
        for plate, acquisition in acquisitions.items()
        for position in acquisition.info.positions
    }
    find_leakage(frozen.split_tracks, manifest.split_unit, pixels).refuse(purpose)
    intervals = {acquisition.info.interval_min for acquisition in acquisitions.values()}
    if len(intervals) > 1:
        raise BadInputError(
            f"experiment {experiment}: its plates have {len(intervals)} different times between frames "
            f"({', '.join(str(i) for i in sorted(intervals, key=str))} min); report them as separate experiments"
        )
    embedded = read_embeddings([folders.embeddings[plate] for plate in sorted(folders.embeddings)])
    given = {plate: acquisition.given_states() for plate, acquisition in acquisitions.items()}
    known = annotated_states(
        {plate: frame for plate, frame in given.items() if frame is not None},
        folders.annotations,
        embedded.cells,
    )
    return StudiedCells(manifest, frozen, embedded, known, intervals.pop())
