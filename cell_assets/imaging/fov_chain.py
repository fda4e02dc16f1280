"""Segmentation, tracks and patch table of one position, one after the other: the body that a worker runs.

Serves a notebook as well: it takes folders and parameters, and knows neither the store nor Dagster.
"""

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cell_assets.errors import CellAssetsError, ChangedBytesError
from cell_assets.imaging.acquisition import LABELS, PLATE, Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.label_store import LabelImage
from cell_assets.imaging.patches import PatchRequest, ResolvedPatches, resolve_patches, write_patch_table
from cell_assets.imaging.segmentation import (
    ResolvedSegmentation,
    SegmentationRequest,
    resolve_segmentation,
    segment_position,
)
from cell_assets.imaging.tracking import (
    ResolvedTracking,
    TrackingBackend,
    TrackingRequest,
    read_track_quality,
    read_tracks,
    resolve_tracking,
    track_frame,
    track_frames,
    track_position,
    with_labels,
)
from cell_assets.ledger.records import Artifact, NumberDraft
from cell_assets.store.faults import disk_full_error, is_disk_full
from cell_assets.store.verdict import verify_folder


class Stage(StrEnum):
    """The three outputs of a position, in the order in which they are made."""

    SEGMENTATION = "segmentation"
    TRACKS = "tracks"
    PATCH_TABLE = "patch_table"


class FovRequest(BaseModel):
    """What a person may ask of a position; what is left open is filled in from the position."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    segmentation: SegmentationRequest = SegmentationRequest()
    """Labels of every frame."""
    tracking: TrackingRequest = TrackingRequest()
    """Tracks and divisions."""
    patches: PatchRequest = PatchRequest()
    """Rows and image patches of single cells."""


class ResolvedFov(BaseModel):
    """Every parameter of the three stages: what is recorded and what runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segmentation: ResolvedSegmentation
    tracking: ResolvedTracking
    patches: ResolvedPatches

    def recorded(self, stage: Stage) -> dict[str, Any]:
        """The parameters of one stage as JSON values."""
        parts: dict[Stage, BaseModel] = {
            Stage.SEGMENTATION: self.segmentation,
            Stage.TRACKS: self.tracking,
            Stage.PATCH_TABLE: self.patches,
        }
        return parts[stage].model_dump(mode="json")


@dataclass(frozen=True)
class FovTask:
    """One position for a worker."""

    acquisition: Path
    raw: Artifact
    """The acquisition's record: what its bytes must be."""
    position: str
    parameters: ResolvedFov
    make: Mapping[Stage, Path]
    """Stages to make, and the empty folders to make them in."""
    made: Mapping[Stage, Path]
    """Folders of stages that stand already."""
    corrections: Path | None = None
    """Folder of the corrections of its tracks, where people made some."""


@dataclass(frozen=True)
class FinishedStage:
    """A stage that a worker wrote."""

    seconds: float
    n_objects: int
    """Labelled objects, tracks or patches."""
    empty_frames: tuple[int, ...] = ()
    """Time points without any object; segmentation only."""
    doubts: tuple[str, ...] = ()
    """Kinds of fault that too many tracks have; tracks only."""
    numbers: tuple[NumberDraft, ...] = ()
    """What the stage measured of itself."""


@dataclass(frozen=True)
class FovResult:
    """What became of one position; `error` says why its stages end where they do."""

    position: str
    finished: Mapping[Stage, FinishedStage]
    error: str | None
    trace: str | None = None
    """Traceback of an error that is not a person's to mend."""


def resolve_fov(acquisition: Acquisition, position: str, request: FovRequest) -> ResolvedFov:
    """Fill in what `request` leaves open, from what the acquisition carries.

    Raises:
        BadInputError: what is asked for does not go with the position.
    """
    fov = field_of_view(acquisition.info, position)
    segmentation = resolve_segmentation(acquisition, fov, request.segmentation)
    tracking = resolve_tracking(acquisition, fov, segmentation, request.tracking)
    return ResolvedFov(
        segmentation=segmentation, tracking=tracking, patches=resolve_patches(fov, request.patches)
    )


def process_fov(task: FovTask) -> FovResult:
    """Make the stages that `task` asks for; the first that fails ends it, and what is finished stays.

    The position's raw bytes are held against their recorded digests first: reading damaged pixels would make
    results that look sound.
    """
    finished: dict[Stage, FinishedStage] = {}
    stage = next(iter(task.make), Stage.SEGMENTATION)
    try:
        acquisition = open_acquisition(task.acquisition)
        refuse_changed(
            task.acquisition, task.raw, task.position, acquisition.info.position(task.position).has_labels
        )
        fov = field_of_view(acquisition.info, task.position)
        folders = {**task.made, **task.make}
        for stage in task.make:
            started = time.perf_counter()
            done = _make(stage, acquisition, fov, task, folders)
            finished[stage] = FinishedStage(
                seconds=time.perf_counter() - started,
                n_objects=done.n_objects,
                empty_frames=done.empty_frames,
                doubts=done.doubts,
                numbers=done.numbers,
            )
    except CellAssetsError as error:
        return FovResult(task.position, finished, f"{stage.value}: {error}")
    except Exception as error:  # noqa: BLE001 - one FOV must not end the others; its traceback goes with it
        if stage in task.make and is_disk_full(error):
            full = disk_full_error(task.make[stage], f"writing {task.position}")
            return FovResult(task.position, finished, f"{stage.value}: {full}")
        sentence = f"{stage.value}: {type(error).__name__}: {error}"
        return FovResult(task.position, finished, sentence, traceback.format_exc())
    return FovResult(task.position, finished, None)


@dataclass(frozen=True)
class _Made:
    n_objects: int
    empty_frames: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()
    numbers: tuple[NumberDraft, ...] = ()


def _make(
    stage: Stage,
    acquisition: Acquisition,
    fov: FieldOfView,
    task: FovTask,
    folders: Mapping[Stage, Path],
) -> _Made:
    out, parameters = folders[stage], task.parameters
    if stage is Stage.SEGMENTATION:
        counts = segment_position(acquisition, fov, parameters.segmentation, out).objects_per_frame
        return _Made(sum(counts), tuple(t for t, count in enumerate(counts) if count == 0))
    if stage is Stage.TRACKS:
        segmentation = folders[Stage.SEGMENTATION]
        record = track_position(acquisition, fov, segmentation, parameters.tracking, out, task.corrections)
        return _Made(
            record.n_tracks,
            doubts=read_track_quality(out).faults(),
            numbers=_scores(acquisition, fov, parameters, segmentation, out),
        )
    table = write_patch_table(acquisition, fov, folders[Stage.TRACKS], parameters.patches, out)
    return _Made(table.n_cells)


def _scores(
    acquisition: Acquisition, fov: FieldOfView, parameters: ResolvedFov, segmentation: Path, tracks: Path
) -> tuple[NumberDraft, ...]:
    """How well tracks found from the pixels agree with those that came with the plate, where some did."""
    info = acquisition.info.position(fov.position)
    if parameters.tracking.backend is TrackingBackend.IMPORT or not (info.has_labels and info.has_tracks):
        return ()
    from cell_assets.imaging.track_scores import LabelledTracks, score_tracks

    given = acquisition.given_tracks(fov.position)
    assert given is not None
    # The values of given labels need not be track ids.
    labels = LabelImage(acquisition.given_label_image(fov.position))
    given = with_labels(given, labels, fov)
    truth = (track_frame(labels, given, t) for t in range(fov.shape[0]))
    scores = score_tracks(
        LabelledTracks(track_frames(tracks, segmentation), read_tracks(tracks)), LabelledTracks(truth, given)
    )
    values = {"TRA": scores.tra, "DET": scores.det, "LNK": scores.lnk, "SEG": scores.seg}
    values |= {f"division_F1_within_{d.tolerance_frames}_frames": d.f1 for d in scores.divisions}
    return tuple(
        NumberDraft(
            report=f"tracking/{parameters.tracking.backend.value}",
            name=name,
            split=f"all given tracks of {fov.position}",
            value=value,
            n=scores.n_given,
            unit="cells",
        )
        for name, value in values.items()
    )


def refuse_changed(acquisition: Path, raw: Artifact, position: str, has_labels: bool) -> None:
    """Hold a position's raw bytes, and the labels that came with them, against what was ingested.

    Raises:
        ChangedBytesError: they are other bytes.
    """
    for folder in (Path(PLATE), LABELS) if has_labels else (Path(PLATE),):
        within = folder / position
        verdict = verify_folder(acquisition, raw, within.as_posix())
        if not verdict.is_verified:
            raise ChangedBytesError(
                f"raw acquisition {raw.partition}, {within.as_posix()} is not what was ingested: "
                f"{verdict.why}; ingest the plate again from its source to put the bytes back"
            )
