import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.correction_history import CorrectionHistory
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.laptrack_parameters import LaptrackParameters
from cell_assets.imaging.segmentation import SegmentationRequest, resolve_segmentation, segment_position
from cell_assets.imaging.track_corrections import Correction, CorrectionAction
from cell_assets.imaging.track_scores import LabelledTracks, score_tracks
from cell_assets.imaging.tracking import (
    CELL_COLUMNS,
    LabelSource,
    TrackingBackend,
    TrackingRecord,
    TrackingRequest,
    open_track_labels,
    read_found_tracks,
    read_track_quality,
    read_tracking_record,
    read_tracks,
    resolve_tracking,
    track_frames,
    track_position,
)
from cell_assets.store.digest import digest_folder
from cell_assets_tests.imaging.array_source import ArraySource, dividing_movie, fov_of, square, track_table


def run(
    folder: Path, source: ArraySource, fov: FieldOfView, request: TrackingRequest, width_px: float = 8
) -> tuple[TrackingRecord, pd.DataFrame]:
    segmentation, tracks = folder / "segmentation", folder / "tracks"
    segmentation.mkdir(parents=True)
    tracks.mkdir()
    resolved = resolve_segmentation(source, fov, SegmentationRequest(width_px=width_px))
    segment_position(source, fov, resolved, segmentation)
    record = track_position(
        source, fov, segmentation, resolve_tracking(source, fov, resolved, request), tracks
    )
    assert read_tracking_record(tracks) == record
    assert read_track_quality(tracks).n_tracks == record.n_tracks
    return record, read_tracks(tracks)


def test_given_tracks_are_kept_and_described_by_their_labels(tmp_path: Path) -> None:
    image, labels, given = dividing_movie()
    record, tracks = run(tmp_path, ArraySource(image, labels, given), fov_of(image), TrackingRequest())
    assert record.parameters.backend is TrackingBackend.IMPORT
    assert (record.n_cells, record.n_tracks, record.n_divisions, record.n_without_label) == (12, 4, 1, 0)
    assert tuple(tracks.columns) == CELL_COLUMNS
    pd.testing.assert_frame_equal(tracks[list(given.columns)], given, check_dtype=False)
    assert tracks["label"].tolist() == given["track_id"].tolist()
    assert set(tracks.loc[tracks["track_id"] == 2, "area"]) == {81}
    assert tracks["lineage_root"].tolist() == [1] * 5 + [2] * 7
    # Side s of a square: 4 sqrt((s² - 1) / 12 + 1 / 12).
    assert tracks["length_um"].iloc[0] == pytest.approx(4 * np.sqrt(49 / 12))


def test_tracks_without_matching_labels_take_the_label_under_their_centroid(tmp_path: Path) -> None:
    image, labels, given = dividing_movie()
    renamed = given.assign(
        track_id=given["track_id"] + 100,
        parent_track_id=given["parent_track_id"].where(
            given["parent_track_id"] < 0, given["parent_track_id"] + 100
        ),
    )
    renamed.loc[0, ["y", "x"]] = [60.0, 60.0]
    record, tracks = run(tmp_path, ArraySource(image, labels, renamed), fov_of(image), TrackingRequest())
    assert record.n_without_label == 1
    assert tracks["label"].isna().tolist() == [True] + [False] * 11
    assert tracks["area"].isna().iloc[0]
    assert np.isnan(tracks["length_um"].iloc[0])
    assert tracks["label"].iloc[1:].tolist() == given["track_id"].iloc[1:].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent_track_id": 9}, "parent 9 of track 1 does not exist"),
        ({"y": 64.0}, "y=64, outside the image"),
        ({"parent_track_id": 3}, "form a cycle|still lives"),
    ],
)
def test_unsound_tracks_are_refused(tmp_path: Path, change: dict[str, float], message: str) -> None:
    image, labels, given = dividing_movie()
    for name, value in change.items():
        given.loc[given["track_id"] == 1, name] = value
    with pytest.raises(BadInputError, match=message):
        run(tmp_path, ArraySource(image, labels, given), fov_of(image), TrackingRequest())


def test_import_without_tracks_says_what_to_use() -> None:
    image, labels, _ = dividing_movie()
    source, fov = ArraySource(image, labels), fov_of(image)
    segmentation = resolve_segmentation(source, fov, SegmentationRequest())
    with pytest.raises(BadInputError, match="use 'ultrack'"):
        resolve_tracking(source, fov, segmentation, TrackingRequest(backend=TrackingBackend.IMPORT))


@pytest.mark.parametrize("with_labels", [True, False], ids=["given labels", "pixels alone"])
def test_ultrack_finds_the_division(tmp_path: Path, with_labels: bool) -> None:
    image, labels, given = dividing_movie()
    source = ArraySource(image, labels if with_labels else None)
    record, tracks = run(tmp_path, source, fov_of(image), TrackingRequest())
    assert record.parameters.backend is TrackingBackend.ULTRACK
    assert record.label_source is LabelSource.OWN
    assert (record.n_tracks, record.n_divisions, record.n_cells) == (4, 1, 12)
    found = open_track_labels(tmp_path / "tracks", tmp_path / "segmentation")
    scores = score_tracks(
        LabelledTracks((found.frame(t) for t in range(5)), tracks), LabelledTracks(labels, given)
    )
    assert scores.tra == 1.0
    drift = tracks[tracks["track_id"] == tracks.loc[tracks["y"].idxmin(), "track_id"]]
    np.testing.assert_allclose(drift["x"], 12.0 + 2 * drift["t"], atol=0.3)


def test_ultrack_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    image, _, _ = dividing_movie()
    for name in ("one", "two"):
        run(tmp_path / name, ArraySource(image), fov_of(image), TrackingRequest())
    one, two = (digest_folder(tmp_path / name / "tracks").root for name in ("one", "two"))
    assert one == two


def test_ultrack_tracks_volumes(tmp_path: Path) -> None:
    image, labels, _ = dividing_movie()
    deep = np.zeros((5, 1, 7, 64, 64), np.uint16) + 100
    deep[:, :, 2:5] = image
    solid = np.zeros((5, 7, 64, 64), np.uint32)
    solid[:, 2:5] = labels
    fov = fov_of(deep, spacing=(2.0, 1.0, 1.0))
    record, tracks = run(tmp_path, ArraySource(deep, solid), fov, TrackingRequest())
    assert (record.n_tracks, record.n_divisions) == (4, 1)
    assert tracks["z"].tolist() == [3.0] * 12


LAPTRACK = TrackingRequest(backend=TrackingBackend.LAPTRACK)


@pytest.mark.parametrize("with_labels", [True, False], ids=["given labels", "pixels alone"])
def test_laptrack_finds_the_division(tmp_path: Path, with_labels: bool) -> None:
    image, labels, given = dividing_movie()
    source = ArraySource(image, labels if with_labels else None)
    record, tracks = run(tmp_path, source, fov_of(image), LAPTRACK)
    assert record.parameters.backend is TrackingBackend.LAPTRACK
    assert record.label_source is LabelSource.SEGMENTATION
    assert (record.n_tracks, record.n_divisions, record.n_cells) == (4, 1, 12)
    scores = score_tracks(
        LabelledTracks(track_frames(tmp_path / "tracks", tmp_path / "segmentation"), tracks),
        LabelledTracks(labels, given),
    )
    assert (scores.tra, scores.divisions[0].f1) == (1.0, 1.0)


def test_laptrack_bridges_a_missed_frame_and_no_more(tmp_path: Path) -> None:
    image, labels, _ = dividing_movie()
    labels[1][labels[1] == 1] = 0
    record, tracks = run(tmp_path / "one", ArraySource(image, labels), fov_of(image), LAPTRACK)
    assert record.n_tracks == 4
    assert tracks.loc[tracks["label"] == 1, "t"].tolist() == [0, 2, 3, 4]
    assert tracks.loc[tracks["label"] == 1, "track_id"].nunique() == 1
    labels[2][labels[2] == 1] = 0
    record, _ = run(tmp_path / "two", ArraySource(image, labels), fov_of(image), LAPTRACK)
    assert record.n_tracks == 5


def test_laptrack_measures_distances_in_micrometres(tmp_path: Path) -> None:
    image, labels, _ = dividing_movie()
    narrow = LaptrackParameters(max_distance_um=6, size_um=0, gap_um=0, break_um=6)
    request = LAPTRACK.model_copy(update={"laptrack": narrow})
    # Track 1 steps by 2 pixels and the daughters stand 5 from their mother.
    for side, expected in ((1.0, (4, 1)), (2.0, (4, 0)), (4.0, (8, 0))):
        fov = fov_of(image, spacing=(1, side, side))
        record, _ = run(tmp_path / str(side), ArraySource(image, labels), fov, request)
        assert (record.n_tracks, record.n_divisions) == expected


def test_a_rod_beside_a_dividing_one_is_not_taken_for_its_daughter(tmp_path: Path) -> None:
    """Halves lie along the mother, and further from her centroid than a neighbour at her side."""
    labels = np.zeros((3, 1, 64, 96), np.uint32)
    for t in range(3):
        labels[t, 0, 20:28, 20:44] = 2
    labels[0, 0, 10:18, 8:56] = 1
    for t in (1, 2):
        labels[t, 0, 10:18, 8:31] = 3
        labels[t, 0, 10:18, 33:56] = 4
    image = (labels[:, None] * 100).astype(np.uint16)
    record, tracks = run(tmp_path, ArraySource(image, labels), fov_of(image), LAPTRACK)
    assert (record.n_tracks, record.n_divisions) == (4, 1)
    mother = tracks.loc[tracks["label"] == 1, "track_id"].iloc[0]
    daughters = tracks[tracks["parent_track_id"] == mother]
    assert set(daughters["label"]) == {3, 4}


def test_corrections_made_for_other_tracks_are_refused(tmp_path: Path) -> None:
    image, labels, given = dividing_movie()
    source, fov = ArraySource(image, labels, given), fov_of(image)
    run(tmp_path, source, fov, TrackingRequest())
    split = Correction(CorrectionAction.SPLIT, 1, t=2, other_track_id=9)
    history = CorrectionHistory.none_of(fov.position, read_tracks(tmp_path / "tracks"))
    corrections, other = tmp_path / "corrections", tmp_path / "other"
    for folder in (corrections, other):
        folder.mkdir()
    history.followed_by((split,), "me", "two cells").write(corrections)
    resolved = resolve_segmentation(source, fov, SegmentationRequest())
    imported, found = (
        resolve_tracking(source, fov, resolved, request) for request in (TrackingRequest(), LAPTRACK)
    )
    with pytest.raises(BadInputError, match="A/1/000: its corrections were made for other tracks"):
        track_position(source, fov, tmp_path / "segmentation", found, other, corrections)
    shutil.rmtree(other)
    other.mkdir()
    record = track_position(source, fov, tmp_path / "segmentation", imported, other, corrections)
    assert (record.n_corrections, record.n_tracks) == (1, 5)
    assert read_track_quality(other).n_tracks == 5
    assert len(read_found_tracks(other)["track_id"].unique()) == 4


def test_laptrack_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    image, _, _ = dividing_movie()
    for name in ("one", "two"):
        run(tmp_path / name, ArraySource(image), fov_of(image), LAPTRACK)
    one, two = (digest_folder(tmp_path / name / "tracks").root for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("backend", [TrackingBackend.ULTRACK, TrackingBackend.LAPTRACK])
def test_what_cannot_be_linked_is_a_track_each(tmp_path: Path, backend: TrackingBackend, frames: int) -> None:
    labels = np.zeros((frames, 1, 32, 32), np.uint32)
    square(labels[0], 1, 8, 8)
    square(labels[0], 2, 24, 24)
    image = (labels * 1000).astype(np.uint16)[:, None]
    request = TrackingRequest(backend=backend)
    record, tracks = run(tmp_path, ArraySource(image, labels), fov_of(image), request)
    assert (record.n_tracks, record.label_source) == (2, LabelSource.SEGMENTATION)
    assert tracks["t"].tolist() == [0, 0]


@pytest.mark.parametrize("backend", [TrackingBackend.ULTRACK, TrackingBackend.LAPTRACK])
def test_a_position_without_cells_has_no_tracks(tmp_path: Path, backend: TrackingBackend) -> None:
    image = np.zeros((3, 1, 1, 32, 32), np.uint16)
    record, tracks = run(tmp_path, ArraySource(image), fov_of(image), TrackingRequest(backend=backend))
    assert record.n_cells == 0
    assert tuple(tracks.columns) == CELL_COLUMNS


def test_an_empty_given_table_is_imported(tmp_path: Path) -> None:
    image, labels, _ = dividing_movie()
    record, tracks = run(
        tmp_path, ArraySource(image, labels, track_table([])), fov_of(image), TrackingRequest()
    )
    assert record.n_cells == len(tracks) == 0
