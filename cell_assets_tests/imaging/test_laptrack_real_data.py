"""laptrack on real movies whose truth is weak: divisions marked by eye, or listed by another lab's tracker."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from cell_assets.imaging.geff_files import read_geff, write_geff
from cell_assets.imaging.tracking import LABEL, TrackingBackend, TrackingRequest, read_track_quality
from cell_assets_tests.imaging.array_source import ArraySource, fov_of
from cell_assets_tests.imaging.test_tracking import run
from cell_assets_tests.shared_data import shared_data

pytestmark = [pytest.mark.needs_shared, pytest.mark.slow]


def tracked(
    folder: Path, image: NDArray[np.generic], labels: NDArray[np.integer] | None, width_px: float = 8
) -> pd.DataFrame:
    """Tracks of a movie `(T, Y, X)`; they also go through GEFF and come back the same."""
    source = ArraySource(image[:, None, None], None if labels is None else labels[:, None])
    fov = fov_of(source.image)
    record, tracks = run(folder, source, fov, TrackingRequest(backend=TrackingBackend.LAPTRACK), width_px)
    quality = read_track_quality(folder / "tracks")
    print(record.n_tracks, record.n_divisions, quality.step_limit_um_per_min, quality.faults())
    write_geff(tracks, folder / "tracks.geff", fov.spacing, fov.interval_min)
    again = read_geff(folder / "tracks.geff", fov.position)
    pd.testing.assert_frame_equal(again, tracks[list(again.columns)], check_exact=True)
    return tracks


def divisions(tracks: pd.DataFrame) -> pd.DataFrame:
    """Last cell of each track that has at least two daughters."""
    children = tracks.drop_duplicates("track_id")["parent_track_id"].value_counts()
    mothers = tracks[tracks["track_id"].isin(children.index[children >= 2])]
    return mothers.groupby("track_id").tail(1)


def seen(found: pd.DataFrame, by_eye: pd.DataFrame) -> list[bool]:
    """Whether each marked division has a found one within 2 frames and 15 px."""
    return [
        bool(
            (
                ((found["t"] - mark["frame_parent"]).abs() <= 2)
                & (np.hypot(found["y"] - mark["parent_y"], found["x"] - mark["parent_x"]) <= 15)
            ).any()
        )
        for _, mark in by_eye.iterrows()
    ]


def test_divisions_of_migrating_nuclei(tmp_path: Path) -> None:
    folder = shared_data("nuclei_migration")
    image = tifffile.imread(folder / "cancer_cell_migration_crop.tif")
    labels = tifffile.imread(folder / "cancer_cell_migration_voronoi_otsu_labeling_crop.tif")
    found = divisions(tracked(tmp_path, image, labels))
    by_eye = pd.read_csv(folder / "cancer_cell_migration_divisions_by_eye.csv", comment="#")
    print(len(found), seen(found, by_eye))
    assert sum(seen(found, by_eye)) >= 1


def test_divisions_of_mitocheck_nuclei(tmp_path: Path) -> None:
    folder = shared_data("mitocheck")
    image = np.stack([tifffile.imread(path) for path in sorted((folder / "movie").glob("t*.tif"))])
    found = divisions(tracked(tmp_path, image, None, width_px=12))
    by_eye = pd.read_csv(folder / "divisions_by_eye.csv", comment="#")
    print(len(found), seen(found, by_eye))
    assert sum(seen(found, by_eye)) >= 1


def test_divisions_of_the_lineage_mappers_cells(tmp_path: Path) -> None:
    folder = shared_data("track_fixtures/nist_lineage_mapper")
    labels = np.stack([tifffile.imread(path) for path in sorted(folder.glob("seg_*.tif"))])
    tracks = tracked(tmp_path, (labels > 0).astype(np.uint8), labels)
    found = divisions(tracks)
    print(found[["t", LABEL]])
    assert len(tracks) == sum(len(np.unique(frame)) - 1 for frame in labels)
