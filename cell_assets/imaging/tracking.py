"""Tracks of one position: imported with the acquisition, found by Ultrack from the pixels, or by laptrack
from the labels; then corrected, where people did so.

The output folder holds `tracks.parquet` (track columns, then label, area, length and lineage root),
`tracking.json`, the tracks' quality (`track_quality.parquet` and `.json`), where they were corrected
`found_tracks.parquet` (the table before) and, where the tracker chose its own segments, `labels.zarr`.
Columns and soundness are in `track_tables`.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.imaging.correction_history import CorrectionHistory, read_correction_history
from cell_assets.imaging.fields_of_view import FieldOfView, FrameSource
from cell_assets.imaging.label_geometry import label_geometry
from cell_assets.imaging.label_store import LabelImage, open_labels, write_labels
from cell_assets.imaging.laptrack_parameters import ELONGATION, LaptrackParameters
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.segmentation import ResolvedSegmentation, read_segmentation_record
from cell_assets.imaging.threshold_segmentation import ForegroundMaps, foreground_maps
from cell_assets.imaging.track_quality import TrackQualityLimits, TrackQualitySummary, track_quality
from cell_assets.imaging.track_tables import (
    NO_PARENT,
    TRACK_COLUMNS,
    Column,
    ImageExtent,
    check_tracks,
    division_count,
    lineage_roots,
)
from cell_assets.imaging.ultrack_parameters import UltrackParameters

TRACKS_PARQUET = "tracks.parquet"
FOUND_PARQUET = "found_tracks.parquet"
TRACKING_JSON = "tracking.json"
QUALITY_PARQUET = "track_quality.parquet"
QUALITY_JSON = "track_quality.json"

LABEL = "label"
"""Value of the cell in the label image; null where no labelled voxel belongs to it."""
AREA = "area"
"""Voxels of the label; null without one."""
LENGTH_UM = "length_um"
"""Major axis of the label (of its projection along z), µm; null without one."""
LINEAGE_ROOT = "lineage_root"
"""track_id of the founder of the cell's lineage."""
CELL_COLUMNS: tuple[str, ...] = (*TRACK_COLUMNS, LABEL, AREA, LENGTH_UM, LINEAGE_ROOT)


class TrackingBackend(StrEnum):
    """Where tracks come from."""

    AUTO = "auto"
    """IMPORT where the acquisition carries tracks, else ULTRACK; never recorded."""
    IMPORT = "import"
    ULTRACK = "ultrack"
    LAPTRACK = "laptrack"


class LabelSource(StrEnum):
    """Which label image the `label` column speaks of."""

    SEGMENTATION = "segmentation"
    """The position's segmentation."""
    OWN = "own"
    """`labels.zarr` beside the tracks, whose values are the track ids that were found."""


class TrackingRequest(BaseModel):
    """What a person may ask for; None is filled in by `resolve_tracking`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    backend: TrackingBackend = TrackingBackend.AUTO
    """Where tracks come from."""
    ultrack: UltrackParameters | None = None
    """Default: sizes and distances that follow from the segmentation's object width."""
    laptrack: LaptrackParameters | None = None
    """Default: distances that follow from the size of the objects."""


class ResolvedTracking(BaseModel):
    """A backend with every parameter: what is recorded and what runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal[TrackingBackend.IMPORT, TrackingBackend.ULTRACK, TrackingBackend.LAPTRACK]
    ultrack: UltrackParameters | None = None
    """Only for ULTRACK."""
    laptrack: LaptrackParameters | None = None
    """Only for LAPTRACK."""


class TrackingRecord(BaseModel):
    """Content of `tracking.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.tracks"] = "cell_assets.tracks"
    version: Literal[1, 2] = 2
    position: str
    parameters: ResolvedTracking
    label_source: LabelSource
    n_cells: int
    """Rows: cells times time points."""
    n_tracks: int
    n_divisions: int
    n_without_label: int
    """Rows whose centroid lies on no labelled voxel."""
    n_corrections: int = 0
    """Corrections by hand that were applied; version 1 knew none."""
    handed_back: bool = False
    """Whether they were applied to a table that a person edited instead of what was found."""


def resolve_tracking(
    source: FrameSource, fov: FieldOfView, segmentation: ResolvedSegmentation, request: TrackingRequest
) -> ResolvedTracking:
    """Fill in what `request` leaves open, so that AUTO and defaults never reach a record.

    Raises:
        BadInputError: IMPORT is asked of a position without tracks.
    """
    if request.backend is TrackingBackend.LAPTRACK:
        laptrack = request.laptrack or _default_laptrack(source, fov, segmentation)
        return ResolvedTracking(backend=TrackingBackend.LAPTRACK, laptrack=laptrack)
    if request.backend is not TrackingBackend.ULTRACK:
        if source.has_tracks(fov.position):
            return ResolvedTracking(backend=TrackingBackend.IMPORT)
        if request.backend is TrackingBackend.IMPORT:
            raise BadInputError(
                f"{fov.position}: tracking backend 'import' needs tracks, and the acquisition carries none; "
                "use 'ultrack' or 'laptrack'"
            )
    parameters = request.ultrack if request.ultrack is not None else _default_ultrack(fov, segmentation)
    return ResolvedTracking(backend=TrackingBackend.ULTRACK, ultrack=parameters)


def track_position(
    source: FrameSource,
    fov: FieldOfView,
    segmentation: Path,
    parameters: ResolvedTracking,
    folder: Path,
    corrections: Path | None = None,
) -> TrackingRecord:
    """Track a position, whose segmentation is in folder `segmentation`, into `folder` (which exists, empty).

    Args:
        corrections: a track_corrections folder, which is applied to what is found.

    Raises:
        BadInputError: the tracks are not sound (see `check_tracks`), Ultrack found no answer in time, or the
            corrections were made for other tracks.
    """
    if parameters.ultrack is not None:
        tracks, labels = _track_with_ultrack(source, fov, segmentation, parameters.ultrack, folder)
    elif parameters.laptrack is not None:
        tracks, labels = (
            _track_with_laptrack(segmentation, fov, parameters.laptrack),
            LabelSource.SEGMENTATION,
        )
    else:
        given = source.given_tracks(fov.position)
        if given is None:
            raise BadInputError(f"{fov.position}: the acquisition carries no tracks to import")
        tracks, labels = given, LabelSource.SEGMENTATION
        tracks = with_labels(tracks, open_labels(segmentation), fov)
    tracks = tracks.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)
    check_tracks(tracks, f"{fov.position}, {parameters.backend.value} tracks", ImageExtent.of(fov.shape))
    history = None if corrections is None else read_correction_history(corrections)
    if history is not None:
        write_parquet(tracks[[*TRACK_COLUMNS, LABEL]], folder / FOUND_PARQUET)
        labelled = open_labels(folder if labels is LabelSource.OWN else segmentation)
        tracks = _corrected(tracks, history, labelled, fov)
    tracks[LINEAGE_ROOT] = lineage_roots(tracks).to_numpy(np.int64)
    write_parquet(tracks[list(CELL_COLUMNS)], folder / TRACKS_PARQUET)
    record = TrackingRecord(
        position=fov.position,
        parameters=parameters,
        label_source=labels,
        n_cells=len(tracks),
        n_tracks=int(tracks[Column.TRACK_ID].nunique()),
        n_divisions=division_count(tracks),
        n_without_label=int(tracks[LABEL].isna().sum()),
        n_corrections=0 if history is None else len(history.corrections),
        handed_back=history is not None and history.table is not None,
    )
    (folder / TRACKING_JSON).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    quality = track_quality(
        tracks, ImageExtent.of(fov.shape), fov.spacing, fov.interval_min, TrackQualityLimits()
    )
    write_parquet(quality.tracks, folder / QUALITY_PARQUET)
    (folder / QUALITY_JSON).write_text(quality.summary.model_dump_json(indent=1), encoding="utf-8")
    return record


def read_tracks(folder: Path) -> pd.DataFrame:
    """The track table (`CELL_COLUMNS`) of a tracks folder, ordered by track and time."""
    return read_parquet(folder / TRACKS_PARQUET)


def read_found_tracks(folder: Path) -> pd.DataFrame:
    """The table of a tracks folder before anybody corrected it; TRACK_COLUMNS and what else is known."""
    return read_parquet(folder / (FOUND_PARQUET if (folder / FOUND_PARQUET).exists() else TRACKS_PARQUET))


def read_tracking_record(folder: Path) -> TrackingRecord:
    """The record of a tracks folder."""
    return TrackingRecord.model_validate_json((folder / TRACKING_JSON).read_text(encoding="utf-8"))


def read_track_quality(folder: Path) -> TrackQualitySummary:
    """The summary of the quality of a tracks folder; its rows per track are in `track_quality.parquet`."""
    return TrackQualitySummary.model_validate_json((folder / QUALITY_JSON).read_text(encoding="utf-8"))


def open_track_labels(folder: Path, segmentation: Path) -> LabelImage:
    """The label image that the `label` column of a tracks folder speaks of."""
    own = read_tracking_record(folder).label_source is LabelSource.OWN
    return open_labels(folder if own else segmentation)


def track_frames(folder: Path, segmentation: Path) -> Iterator[NDArray[np.int64]]:
    """Per time point, in order, a volume `(Z, Y, X)` whose values are track ids; 0 where no track is."""
    labels, tracks = open_track_labels(folder, segmentation), read_tracks(folder)
    for t in range(labels.array.shape[0]):
        yield track_frame(labels, tracks, t)


def track_frame(labels: LabelImage, tracks: pd.DataFrame, t: int) -> NDArray[np.int64]:
    """The volume `(Z, Y, X)` of time point `t` whose values are track ids; 0 where no track is."""
    here = tracks[(tracks[Column.T] == t) & tracks[LABEL].notna()]
    frame = labels.frame(t)
    track_of = np.zeros(int(frame.max()) + 1, np.int64)
    track_of[here[LABEL].to_numpy(np.int64)] = here[Column.TRACK_ID].to_numpy(np.int64)
    return track_of[frame]


def _default_laptrack(
    source: FrameSource, fov: FieldOfView, segmentation: ResolvedSegmentation
) -> LaptrackParameters:
    """Up to three widths where a width is known, else the median length of the given objects.

    The length is measured in the first, middle and last frame; a position without any object there gets the
    20 pixels that Ultrack gets.
    """
    if segmentation.threshold is not None:
        return LaptrackParameters.for_objects(3 * segmentation.threshold.width_um)
    frames = (source.given_labels(fov.position, t) for t in {0, fov.shape[0] // 2, fov.shape[0] - 1})
    lengths = [label_geometry(frame, fov.spacing).length_um for frame in frames if frame is not None]
    pooled = np.concatenate(lengths) if lengths else np.empty(0)
    return LaptrackParameters.for_objects(float(np.median(pooled)) if pooled.size else 20 * fov.spacing[2])


def _track_with_laptrack(
    segmentation: Path, fov: FieldOfView, parameters: LaptrackParameters
) -> pd.DataFrame:
    # laptrack takes a second to import, which a position with given tracks must not pay.
    from cell_assets.imaging.laptrack_tracking import laptrack_links

    table = laptrack_links(_geometry(open_labels(segmentation), fov), fov.spacing, parameters)
    table.insert(0, Column.FOV_NAME.value, fov.position)
    return table


def _default_ultrack(fov: FieldOfView, segmentation: ResolvedSegmentation) -> UltrackParameters:
    threshold = segmentation.threshold
    if threshold is None:
        # Given labels are taken as they are: a hierarchy is only cut where labels touch.
        voxels = int(np.prod(fov.shape[2:]))
        return UltrackParameters(min_size=4, max_size=max(4, voxels), max_distance_um=20 * fov.spacing[2])
    return UltrackParameters(
        min_size=threshold.min_size,
        max_size=threshold.max_size,
        max_distance_um=3 * threshold.width_um,
        motion_um=0.28 * threshold.width_um,
    )


def _track_with_ultrack(
    source: FrameSource, fov: FieldOfView, segmentation: Path, parameters: UltrackParameters, folder: Path
) -> tuple[pd.DataFrame, LabelSource]:
    # Ultrack takes seconds to import, which a position with given tracks must not pay.
    from cell_assets.imaging.ultrack_tracking import ultrack_tracks

    maps = _frame_maps(source, fov, segmentation)
    with ultrack_tracks(fov, maps, parameters) as result:
        if result is None:
            return _unlinked(open_labels(segmentation), fov), LabelSource.SEGMENTATION
        write_labels(folder, fov, result.labels)
        links = result.links
    geometry = _geometry(open_labels(folder), fov)
    table = links.merge(geometry, left_on=["t", "track_id"], right_on=["t", LABEL], how="left")
    table.insert(0, Column.FOV_NAME.value, fov.position)
    return table, LabelSource.OWN


def _frame_maps(source: FrameSource, fov: FieldOfView, segmentation: Path) -> Iterator[ForegroundMaps]:
    threshold = read_segmentation_record(segmentation).parameters.threshold
    labels = open_labels(segmentation)
    for t in range(fov.shape[0]):
        if threshold is None:
            yield _label_maps(labels.frame(t))
        else:
            volume = source.read_frame(fov.position, t)[fov.channel_index(threshold.channel)]
            yield foreground_maps(volume, threshold, fov.spacing)


def _label_maps(labels: NDArray[np.uint32]) -> ForegroundMaps:
    """Maps whose only boundaries are where two labels meet."""
    meets = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        one = tuple(slice(None, -1) if a == axis else slice(None) for a in range(labels.ndim))
        two = tuple(slice(1, None) if a == axis else slice(None) for a in range(labels.ndim))
        differs = labels[one] != labels[two]
        meets[one] |= differs
        meets[two] |= differs
    inside = labels > 0
    boundary = np.where(inside, meets.astype(np.float32), np.float32(1))
    return ForegroundMaps(inside, boundary)


def _geometry(labels: LabelImage, fov: FieldOfView) -> pd.DataFrame:
    """`t, label, area, length_um, z, y, x` and ELONGATION of every label of every frame."""
    frames = []
    for t in range(fov.shape[0]):
        found = label_geometry(labels.frame(t), fov.spacing)
        frame = pd.DataFrame({Column.T.value: t, LABEL: found.label, AREA: found.area})
        frame[LENGTH_UM] = found.length_um
        frame[["z", "y", "x"]] = found.centroid
        frame[list(ELONGATION)] = found.elongation_um
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _unlinked(labels: LabelImage, fov: FieldOfView) -> pd.DataFrame:
    """Every labelled object as a track of its own: what remains when no two frames can be linked."""
    table = _geometry(labels, fov)
    table[Column.TRACK_ID] = np.arange(1, len(table) + 1)
    table[Column.ID] = table[Column.TRACK_ID]
    table[Column.PARENT_TRACK_ID] = NO_PARENT
    table[Column.PARENT_ID] = NO_PARENT
    table.insert(0, Column.FOV_NAME.value, fov.position)
    return table


def _corrected(
    found: pd.DataFrame, history: CorrectionHistory, labels: LabelImage, fov: FieldOfView
) -> pd.DataFrame:
    """What people made of `found`, by track and time; in a table handed back, a cell that stayed where it was
    found keeps its label, and any other has the one under its centroid."""
    if history.table is None:
        return history.apply(found)
    keys = [Column.ID, Column.T, Column.Z, Column.Y, Column.X]
    kept = history.table[keys].merge(found[[*keys, LABEL]], on=keys, how="left")[LABEL]
    return history.apply(with_labels(history.table, labels, fov, kept.fillna(0).to_numpy(np.int64)))


def with_labels(
    tracks: pd.DataFrame, labels: LabelImage, fov: FieldOfView, known: NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """`tracks` with label, area and length.

    A label is the `known` one where that is not 0. Without `known`, it is the track's own id where every
    cell's frame has it and at least half of the centroids lie in it (as in the Cell Tracking Challenge; labels
    numbered anew in every frame have the same values). Else it is the label under the centroid's nearest voxel.
    """
    times, track_ids = tracks[Column.T].to_numpy(), tracks[Column.TRACK_ID].to_numpy()
    under = np.zeros(len(tracks), np.int64)
    by_id = np.zeros(len(tracks), bool)
    geometries = []
    top = np.array(fov.shape[2:]) - 1
    at = np.floor(tracks[["z", "y", "x"]].to_numpy() + 0.5).astype(np.int64).clip(0, top)
    for t in range(fov.shape[0]):
        frame = labels.frame(t)
        rows = np.flatnonzero(times == t)
        under[rows] = frame[tuple(at[rows].T)]
        found = label_geometry(frame, fov.spacing)
        by_id[rows] = np.isin(track_ids[rows], found.label)
        geometry = pd.DataFrame({Column.T.value: t, LABEL: found.label, AREA: found.area})
        geometries.append(geometry.assign(**{LENGTH_UM: found.length_um}))
    is_track_id = by_id.all() and 2 * np.count_nonzero(under == track_ids) >= len(tracks)
    label = track_ids if is_track_id else under
    if known is not None:
        label = np.where(known > 0, known, under)
    table = tracks.reset_index(drop=True).assign(**{LABEL: label})
    table = table.merge(pd.concat(geometries, ignore_index=True), on=[Column.T.value, LABEL], how="left")
    table[LABEL] = pd.array(label, dtype="Int64")
    table.loc[label == 0, LABEL] = pd.NA
    table[AREA] = table[AREA].astype("Int64")
    return table
