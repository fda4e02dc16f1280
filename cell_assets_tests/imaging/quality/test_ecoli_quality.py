"""Quality of a real phase-contrast movie: 45 time points of a growing colony with given labels."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.quality.plate_quality import ScreeningTables, plate_quality
from cell_assets_tests.shared_data import shared_data

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> ScreeningTables:
    folder: Path = tmp_path_factory.mktemp("colony") / "acquisition"
    options = IngestOptions(
        format="ctc", channel_names=("Phase",), pixel_size_um=(0.1, 0.1), interval_min=5.0
    )
    prepare_ingest(shared_data("ctc_ecoli"), options).write(folder)
    screening = plate_quality(open_acquisition(folder)).screening
    assert screening is not None
    return screening


def test_cells_are_counted(tables: ScreeningTables) -> None:
    files = sorted((shared_data("ctc_ecoli") / "01_GT" / "TRA").glob("man_track*.tif"))
    expected = [len(set(tifffile.imread(file).ravel().tolist()) - {0}) for file in files]
    assert tables.cell_counts["n_cells"].tolist() == expected
    assert (expected[0], expected[-1]) == (2, 132)


def test_every_frame_has_focus_and_drift(tables: ScreeningTables) -> None:
    frames = tables.frames
    assert len(frames) == 45
    assert frames["focus_slope"].notna().all() and (frames["focus_slope"] < -1).all()
    assert frames["drift_um"].notna().sum() == 44
    assert np.median(frames["drift_um"].dropna()) < 1.0


def centroids(t: int) -> dict[int, np.ndarray]:
    labels = tifffile.imread(shared_data("ctc_ecoli") / "01_GT" / "TRA" / f"man_track{t:03d}.tif")
    return {int(k): np.argwhere(labels == k).mean(axis=0) for k in np.unique(labels) if k}


@pytest.mark.parametrize("t", [1, 6, 12])
def test_the_stage_jumps_where_the_given_tracks_jump(tables: ScreeningTables, t: int) -> None:
    """At t = 6 the whole field moved by 57 pixels of 0.1 µm; cells add up to 4 pixels of their own."""
    before, after = centroids(t - 1), centroids(t)
    y, x = np.median([after[k] - before[k] for k in before.keys() & after.keys()], axis=0)
    frame = tables.frames.set_index("t").loc[t]
    assert frame["drift_y_um"] == pytest.approx(y * 0.1, abs=0.4)
    assert frame["drift_x_um"] == pytest.approx(x * 0.1, abs=0.4)
    if t == 6:
        assert frame["drift_um"] == tables.frames["drift_um"].max() > 5


def test_what_one_fov_cannot_tell_says_why(tables: ScreeningTables) -> None:
    assert "1 FOV(s)" in tables.channels["flatness_why_missing"][0]
    assert tables.control_separation["why_missing"].str.contains("no control wells").all()
    assert tables.edge_effects["why_missing"].notna().all()
    (fit,) = tables.bleaching.itertuples()
    assert fit.rate_low < fit.rate_per_min < fit.rate_high
