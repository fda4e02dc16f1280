"""Real movies, brought in by the product's own ingest where they are a plate's, and tracked by its FOV chain."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.fields_of_view import FieldOfView, FrameSource
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.segmentation import (
    SegmentationBackend,
    SegmentationRequest,
    resolve_segmentation,
    segment_position,
)
from cell_assets.imaging.track_scores import LabelledTracks, TrackScores, score_tracks
from cell_assets.imaging.track_tables import NO_PARENT, Column
from cell_assets.imaging.tracking import (
    TrackingBackend,
    TrackingRequest,
    read_tracks,
    resolve_tracking,
    track_frames,
    track_position,
)
from cell_assets.ledger.records import WellDraft

POSITION = "A/1/0"


@dataclass(frozen=True)
class Movie:
    """One position, and what is known of it."""

    source: FrameSource
    fov: FieldOfView
    segmentation: SegmentationRequest
    divisions_by_eye: pd.DataFrame | None = None
    """`frame_parent, parent_y, parent_x`."""


@dataclass(frozen=True)
class Tracked:
    """A movie's tracks, and how they compare with what is known."""

    movie: Movie
    tracks: pd.DataFrame
    folder: Path
    scores: TrackScores | None

    @property
    def divisions(self) -> pd.DataFrame:
        """Last cell of each track that has at least two daughters."""
        parents = self.tracks.drop_duplicates(Column.TRACK_ID)[Column.PARENT_TRACK_ID].value_counts()
        mothers = parents.index[(parents >= 2) & (parents.index != NO_PARENT)]
        cells = self.tracks[self.tracks[Column.TRACK_ID].isin(mothers)]
        return cells.sort_values(Column.T).groupby(Column.TRACK_ID).tail(1)

    def seen_by_eye(self, frames: int = 2, px: float = 15) -> list[bool]:
        """Whether each division marked by eye was found within so many frames and pixels (y, x)."""
        marks, found = self.movie.divisions_by_eye, self.divisions
        if marks is None:
            return []
        return [
            bool(
                (
                    ((found["t"] - mark.frame_parent).abs() <= frames)
                    & (np.hypot(found["y"] - mark.parent_y, found["x"] - mark.parent_x) <= px)
                ).any()
            )
            for mark in marks.itertuples()
        ]


def colony(data: Path, scratch: Path, *, from_pixels: bool) -> Movie:
    """An E. coli colony with all of its lineage; its source lacks a pixel size, so 0.1 µm is a stand-in."""
    options = IngestOptions(
        format="ctc", channel_names=("Phase",), pixel_size_um=(0.1, 0.1), interval_min=5.0
    )
    acquisition = _ingested(data / "ctc_ecoli", options, scratch)
    backend = SegmentationBackend.THRESHOLD if from_pixels else SegmentationBackend.GIVEN
    return _movie(acquisition, SegmentationRequest(backend=backend, width_px=14 if from_pixels else None))


def migrating_nuclei(data: Path, scratch: Path) -> Movie:
    """Nuclei of migrating cancer cells; three divisions were marked by eye."""
    folder = data / "nuclei_migration"
    frames = tifffile.imread(folder / "cancer_cell_migration_crop.tif")
    return _nuclei(frames, folder / "cancer_cell_migration_divisions_by_eye.csv", scratch, interval_min=15.0)


def mitocheck_nuclei(data: Path, scratch: Path) -> Movie:
    """HeLa nuclei of a knock-down; three divisions were marked by eye."""
    folder = data / "mitocheck"
    frames = np.stack([tifffile.imread(path) for path in sorted((folder / "movie").glob("t*.tif"))])
    return _nuclei(frames, folder / "divisions_by_eye.csv", scratch, interval_min=30.0)


def lineage_mapper_cells(data: Path) -> Movie:
    """Given labels of ten frames without their images."""
    folder = data / "track_fixtures" / "nist_lineage_mapper"
    labels = np.stack([tifffile.imread(path) for path in sorted(folder.glob("seg_*.tif"))])[:, None]
    return Movie(_Labels(labels), _fov(labels.shape, 30.0), SegmentationRequest())


def track(movie: Movie, backend: TrackingBackend, folder: Path) -> Tracked:
    """Segment and track a movie with the defaults of the product; `folder` must be new."""
    segmentation, tracks = folder / "segmentation", folder / "tracks"
    segmentation.mkdir(parents=True)
    tracks.mkdir()
    resolved = resolve_segmentation(movie.source, movie.fov, movie.segmentation)
    segment_position(movie.source, movie.fov, resolved, segmentation)
    parameters = resolve_tracking(movie.source, movie.fov, resolved, TrackingRequest(backend=backend))
    track_position(movie.source, movie.fov, segmentation, parameters, tracks)
    table = read_tracks(tracks)
    given = movie.source.given_tracks(movie.fov.position)
    scores = None
    if given is not None:
        truth = (movie.source.given_labels(movie.fov.position, t) for t in range(movie.fov.shape[0]))
        scores = score_tracks(
            LabelledTracks(track_frames(tracks, segmentation), table), LabelledTracks(truth, given)
        )
    return Tracked(movie, table, tracks, scores)


@dataclass(frozen=True)
class _Labels:
    """Labels `(T, Z, Y, X)` that came without an image, shown as one."""

    labels: NDArray[np.integer]

    def read_frame(self, position: str, t: int) -> NDArray[np.generic]:
        return (self.labels[t] > 0).astype(np.uint8)[None]

    def has_labels(self, position: str) -> bool:
        return True

    def has_tracks(self, position: str) -> bool:
        return False

    def given_labels(self, position: str, t: int) -> NDArray[np.integer]:
        return self.labels[t]

    def given_tracks(self, position: str) -> None:
        return None


def _nuclei(frames: NDArray[np.generic], by_eye: Path, scratch: Path, interval_min: float) -> Movie:
    source = scratch / "source"
    source.mkdir()
    for t, frame in enumerate(frames):
        tifffile.imwrite(source / f"A01_0_Nuclei_{t:03d}.tif", frame)
    # Neither movie says its pixel size here: lengths are pixels.
    options = IngestOptions(
        pattern="{well}_{fov}_{channel}_{t}.tif", pixel_size_um=(1.0, 1.0), interval_min=interval_min
    )
    movie = _movie(_ingested(source, options, scratch), SegmentationRequest(width_px=12))
    return Movie(movie.source, movie.fov, movie.segmentation, pd.read_csv(by_eye, comment="#"))


def _ingested(source: Path, options: IngestOptions, scratch: Path) -> Acquisition:
    prepare_ingest(source, options).write(scratch / "acquisition")
    return open_acquisition(scratch / "acquisition")


def _movie(acquisition: Acquisition, segmentation: SegmentationRequest) -> Movie:
    (position,) = acquisition.positions
    return Movie(acquisition, field_of_view(acquisition.info, position), segmentation)


def _fov(shape: Sequence[int], interval_min: float) -> FieldOfView:
    t, z, y, x = shape
    return FieldOfView(
        position=POSITION,
        shape=(t, 1, z, y, x),
        dtype=np.dtype(np.uint8),
        channel_names=("Cells",),
        voxel_size_um=(1.0, 1.0, 1.0),
        interval_min=interval_min,
        well=WellDraft("A/1"),
    )
