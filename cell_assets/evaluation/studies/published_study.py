"""The study of an experiment, from published folders alone: what a report states, and what an audit states again."""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.cell_features import join_features
from cell_assets.evaluation.leakage import find_leakage, fov_pixels, refuse_copies
from cell_assets.evaluation.manifest import FrozenCells, Manifest, read_manifest
from cell_assets.evaluation.motion.disruption_study import (
    centroids_um,
    study_track_disruptions,
    with_track_disruptions,
)
from cell_assets.evaluation.scores.annotated_states import AnnotatedStates, annotated_states
from cell_assets.evaluation.scores.predicted_states import read_predicted_states
from cell_assets.evaluation.scores.tasks import without_states
from cell_assets.evaluation.studies.embedding_study import (
    EmbeddedCells,
    EmbeddingStudy,
    read_embeddings,
    study_embeddings,
)
from cell_assets.evaluation.studies.independent_plates import read_independent
from cell_assets.evaluation.studies.independent_study import study_independent
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.imaging.acquisition import Acquisition, open_acquisition


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
    features: Mapping[str, Path] = field(default_factory=dict)
    """single_cell_features by plate; a report of an earlier version read none."""
    state_segmentation: Path | None = None
    """Where states were also predicted by a segmentation."""

    def without(self, plates: Container[str]) -> Self:
        """The same without what is of these plates."""
        return replace(
            self,
            embeddings={plate: folder for plate, folder in self.embeddings.items() if plate not in plates},
            raw={plate: folder for plate, folder in self.raw.items() if plate not in plates},
            annotations={key: folder for key, folder in self.annotations.items() if key[0] not in plates},
            features={plate: folder for plate, folder in self.features.items() if plate not in plates},
        )


@dataclass(frozen=True)
class StudiedCells:
    """The cells of an experiment with everything that is known of them."""

    manifest: Manifest
    frozen: FrozenCells
    acquisitions: Mapping[str, Acquisition]
    """By plate."""
    embedded: EmbeddedCells
    known: AnnotatedStates
    interval_min: float | None
    """Minutes between time points; None for plates of a single one."""


def study_published(
    folders: StudiedFolders, method: str, experiment: str, parameters: StudyParameters
) -> EmbeddingStudy:
    """Evaluate the embeddings against the manifest's split and the plates' annotations.

    Args:
        folders: of the experiment's own plates and of `parameters.independent_plates`.

    Raises:
        BadInputError: plates differ in their time between frames, or what is tested on was learned from.
    """
    every, folders = folders, folders.without(parameters.independent_plates)
    studied = read_studied(folders, f"the report of {experiment}", experiment, parameters.unused_states)
    embedded, tracks = studied.embedded, studied.frozen.every_track(studied.embedded.cells)
    features = join_features(embedded.cells, folders.features) if folders.features else None
    predicted = (
        None if folders.state_segmentation is None else read_predicted_states(folders.state_segmentation)
    )
    study = study_embeddings(
        embedded,
        studied.known.states,
        tracks=tracks,
        method=method,
        split_unit=studied.manifest.split_unit,
        interval_min=studied.interval_min,
        simulated=studied.manifest.simulated,
        parameters=parameters,
        features=features,
        predicted=predicted,
    )
    evaluation = replace(study.evaluation, notes=(*studied.known.notes, *study.evaluation.notes))
    sizes = {plate: acquisition.info.voxel_size_um for plate, acquisition in studied.acquisitions.items()}
    disruptions = study_track_disruptions(
        embedded.features,
        embedded.cells,
        centroids_um(embedded.cells, sizes),
        evaluation,
        parameters.disruptions,
        tracks,
    )
    study = replace(
        study, evaluation=with_track_disruptions(evaluation, disruptions), disruptions=disruptions
    )
    if not parameters.independent_plates:
        return study
    apart = {plate: every.raw[plate] for plate in parameters.independent_plates}
    refuse_copies(experiment, fov_pixels(folders.raw), fov_pixels(apart))
    strangers = read_independent(
        parameters.independent_plates, every.embeddings, every.raw, every.annotations, every.features
    )
    theirs = without_states(strangers.states, parameters.unused_states)
    return study_independent(
        study, studied.known.states, replace(strangers, states=theirs), features, predicted
    )


def read_studied(
    folders: StudiedFolders, purpose: str, experiment: str, unused_states: Collection[str] = ()
) -> StudiedCells:
    """Embeddings, split and states of every cell of an experiment.

    Args:
        purpose: what they are read for, as a refusal names it.
        unused_states: annotated values, of any column, of which nothing is known; notes count them still.

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
        unused_states,
    )
    return StudiedCells(manifest, frozen, acquisitions, embedded, known, intervals.pop())
