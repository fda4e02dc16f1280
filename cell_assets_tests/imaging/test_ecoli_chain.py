"""The FOV chain on a real E. coli colony: its given tracks, and the same movie tracked from the pixels alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.label_store import LabelImage, open_labels
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.imaging.patches import PatchRequest, resolve_patches, write_patch_table
from cell_assets.imaging.segmentation import (
    SegmentationBackend,
    SegmentationRequest,
    resolve_segmentation,
    segment_position,
)
from cell_assets.imaging.track_scores import LabelledTracks, score_tracks
from cell_assets.imaging.tracking import (
    TrackingBackend,
    TrackingRequest,
    read_tracks,
    resolve_tracking,
    track_frames,
    track_position,
)
from cell_assets_tests.shared_data import shared_data

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def colony(tmp_path_factory: pytest.TempPathFactory) -> Acquisition:
    """Ingested with a stated pixel size, which the source lacks: widths below are in pixels."""
    options = IngestOptions(
        format="ctc", channel_names=("Phase",), pixel_size_um=(0.1, 0.1), interval_min=5.0
    )
    folder = tmp_path_factory.mktemp("colony") / "acquisition"
    prepare_ingest(shared_data("ctc_ecoli"), options).write(folder)
    return open_acquisition(folder)


def folders(root: Path) -> tuple[Path, Path, Path]:
    made = (root / "segmentation", root / "tracks", root / "patch_table")
    for folder in made:
        folder.mkdir()
    return made


def test_given_tracks_become_a_patch_table(colony: Acquisition, tmp_path: Path) -> None:
    (position,) = colony.positions
    fov = field_of_view(colony.info, position)
    labels, tracks, table = folders(tmp_path)
    segmentation = resolve_segmentation(colony, fov, SegmentationRequest())
    segment_position(colony, fov, segmentation, labels)
    tracking = resolve_tracking(colony, fov, segmentation, TrackingRequest())
    record = track_position(colony, fov, labels, tracking, tracks)
    assert (record.n_tracks, record.n_divisions, record.n_without_label) == (262, 130, 0)
    written = write_patch_table(colony, fov, tracks, resolve_patches(fov, PatchRequest(side_px=64)), table)
    assert (written.n_cells, written.n_at_border) == (1520, 0)
    opened = open_patch_table(table)
    assert opened.is_memory_mapped
    row = opened.cells.iloc[1000]
    y, x = (int(np.floor(row[axis] - 31.5 + 0.5)) for axis in ("y", "x"))
    frame = colony.read_frame(position, int(row["t"]))
    np.testing.assert_array_equal(opened.read([1000])[0], frame[:, :, y : y + 64, x : x + 64])
    # Rods 14 px wide and 40 to 140 px long, at the stated 0.1 µm.
    assert opened.cells["length_um"].between(4, 14).mean() > 0.95


def test_laptrack_links_the_given_labels_better_than_nearest_neighbours(
    colony: Acquisition, tmp_path: Path
) -> None:
    (position,) = colony.positions
    fov = field_of_view(colony.info, position)
    labels, tracks, _ = folders(tmp_path)
    segmentation = resolve_segmentation(colony, fov, SegmentationRequest())
    segment_position(colony, fov, segmentation, labels)
    tracking = resolve_tracking(colony, fov, segmentation, TrackingRequest(backend=TrackingBackend.LAPTRACK))
    track_position(colony, fov, labels, tracking, tracks)
    table = read_tracks(tracks)
    given = LabelledTracks(given_frames(colony, fov), colony.given_tracks(position))
    scores = score_tracks(LabelledTracks(track_frames(tracks, labels), table), given)
    nearest = nearest_neighbours(table)
    baseline = score_tracks(
        LabelledTracks(relabelled(open_labels(labels), nearest), nearest),
        LabelledTracks(given_frames(colony, fov), colony.given_tracks(position)),
    )
    print(scores, baseline)
    assert len(table) == 1520
    assert scores.det == 1.0
    assert scores.lnk > baseline.lnk + 0.1
    assert scores.divisions[0].f1 > 2 * baseline.divisions[0].f1


def given_frames(colony: Acquisition, fov: FieldOfView) -> Iterator[np.ndarray]:
    return (colony.given_labels(fov.position, t) for t in range(fov.shape[0]))


def nearest_neighbours(table: pd.DataFrame) -> pd.DataFrame:
    """Every cell follows the nearest of the frame before; the first two to claim one are its daughters."""
    frames = [frame.reset_index(drop=True) for _, frame in table.sort_values(["t", "label"]).groupby("t")]
    rows, n_tracks, before = [], 0, np.empty(0, np.int64)
    for t, frame in enumerate(frames):
        mother = np.full(len(frame), -1)
        if t:
            apart = cdist(frame[["y", "x"]], frames[t - 1][["y", "x"]])
            for cell in np.argsort(apart.min(axis=1), kind="stable"):
                nearest = apart[cell].argmin()
                mother[cell] = nearest if (mother == nearest).sum() < 2 else -1
        ids = np.zeros(len(frame), np.int64)
        for cell, above in enumerate(mother):
            if above >= 0 and (mother == above).sum() == 1:
                ids[cell] = before[above]
                parent = next(row[2] for row in reversed(rows) if row[0] == ids[cell])
            else:
                n_tracks += 1
                ids[cell] = n_tracks
                parent = before[above] if above >= 0 else -1
            rows.append((ids[cell], t, parent, frame["label"][cell]))
        before = ids
    return pd.DataFrame(rows, columns=["track_id", "t", "parent_track_id", "label"])


def relabelled(labels: LabelImage, table: pd.DataFrame) -> Iterator[np.ndarray]:
    for t, rows in table.groupby("t"):
        frame = labels.frame(int(t))
        track_of = np.zeros(int(frame.max()) + 1, np.int64)
        track_of[rows["label"].to_numpy(np.int64)] = rows["track_id"]
        yield track_of[frame]


@pytest.mark.slow
def test_pixels_alone_give_most_of_the_lineage(colony: Acquisition, tmp_path: Path) -> None:
    (position,) = colony.positions
    fov = field_of_view(colony.info, position)
    labels, tracks, _ = folders(tmp_path)
    asked = SegmentationRequest(backend=SegmentationBackend.THRESHOLD, width_px=14)
    segmentation = resolve_segmentation(colony, fov, asked)
    segment_position(colony, fov, segmentation, labels)
    tracking = resolve_tracking(colony, fov, segmentation, TrackingRequest(backend=TrackingBackend.ULTRACK))
    track_position(colony, fov, labels, tracking, tracks)
    scores = score_tracks(
        LabelledTracks(track_frames(tracks, labels), read_tracks(tracks)),
        LabelledTracks(given_frames(colony, fov), colony.given_tracks(position)),
    )
    print(scores)
    # Measured: TRA 0.910, DET 0.935, LNK 0.744, SEG 0.734, divisions within 2 frames F1 0.77.
    assert scores.tra > 0.88
    assert scores.det > 0.90
    assert scores.lnk > 0.70
    assert scores.seg > 0.68
    assert scores.divisions[2].f1 > 0.65
