"""The FOV chain on a real E. coli colony: its given tracks, and the same movie tracked from the pixels alone."""

from pathlib import Path

import numpy as np
import pytest

from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
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
    open_track_labels,
    read_tracks,
    resolve_tracking,
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
    found = open_track_labels(tracks, labels)
    times = range(fov.shape[0])
    given_tracks = colony.given_tracks(position)
    assert given_tracks is not None
    scores = score_tracks(
        LabelledTracks((found.frame(t) for t in times), read_tracks(tracks)),
        LabelledTracks((colony.given_labels(position, t) for t in times), given_tracks),
    )
    print(scores)
    # Measured: TRA 0.910, DET 0.935, LNK 0.744, SEG 0.734, divisions within 2 frames F1 0.77.
    assert scores.tra > 0.88
    assert scores.det > 0.90
    assert scores.lnk > 0.70
    assert scores.seg > 0.68
    assert scores.divisions[2].f1 > 0.65
