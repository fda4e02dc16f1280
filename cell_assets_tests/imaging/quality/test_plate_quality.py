"""Plate quality against numpy on the same pixels; empty frames named and left out."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage as ndi
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cell_assets.errors import BadInputError
from cell_assets.imaging.acquisition import Acquisition, open_acquisition
from cell_assets.imaging.histograms import PixelHistogram
from cell_assets.imaging.ingest import ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.quality.pixel_statistics import EmptyFrame, Level
from cell_assets.imaging.quality.plate_quality import PlateQuality, plate_quality, read_plate_quality
from cell_assets_tests.imaging.source_plates import noise, write_zarr

PERCENTILES = (1.0, 50.0, 99.0, 99.9)


def acquire(tmp_path: Path, images: dict[str, np.ndarray]) -> Acquisition:
    with zarr.config.set({"array.write_empty_chunks": True}):
        source = write_zarr(tmp_path / "source.zarr", images)
    ingest(source, tmp_path / "out", IngestOptions())
    return open_acquisition(tmp_path / "out")


def row(
    quality: PlateQuality, level: Level, channel: str, fov: str | None = None, t: int | None = None
) -> pd.Series:
    table = quality.table
    chosen = (table["level"] == level) & (table["channel"] == channel)
    chosen &= table["fov_name"].isna() if fov is None else table["fov_name"] == fov
    chosen &= table["t"].isna() if t is None else (table["t"] == t).fillna(False)
    (found,) = table[chosen].itertuples()
    return found


def check(found: pd.Series, pixels: np.ndarray) -> None:
    assert found.mean == pytest.approx(pixels.mean(dtype=float), rel=1e-9)
    assert found.sd == pytest.approx(pixels.std(dtype=float), rel=1e-9)
    assert (found.min, found.max) == (pixels.min(), pixels.max())
    expected = np.percentile(pixels.astype(float), PERCENTILES)
    assert [found.p1, found.p50, found.p99, found.p99_9] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_every_level_is_numpys(tmp_path: Path, dtype: str) -> None:
    images = {"A/1/0": noise((3, 2, 2, 16, 20), dtype, 1), "A/1/1": noise((2, 2, 2, 16, 20), dtype, 2) // 3}
    quality = plate_quality(acquire(tmp_path, images))
    for channel, name in enumerate(("DNA", "sensor")):
        everything = np.concatenate([pixels[:, channel].ravel() for pixels in images.values()])
        check(row(quality, Level.PLATE, name), everything)
        for fov, pixels in images.items():
            check(row(quality, Level.FOV, name, fov), pixels[:, channel])
            for t in range(len(pixels)):
                check(row(quality, Level.TIME, name, fov, t), pixels[t, channel])
    assert quality.empty_frames == ()
    assert quality.table["percentiles_exact"].all()
    assert len(quality.table) == 2 * (1 + 2 + 5)


def test_empty_frames_are_named_and_not_averaged_in(tmp_path: Path) -> None:
    pixels = noise((4, 2, 2, 16, 20))
    pixels[1, 1] = 0
    pixels[3, 1] = 100
    dark = np.zeros((2, 2, 2, 16, 20), np.uint16)
    dark[:, 0] = noise((2, 2, 16, 20))
    quality = plate_quality(acquire(tmp_path, {"A/1/0": pixels, "B/1/0": dark}))
    assert quality.empty_frames == (
        EmptyFrame("A/1/0", "sensor", 1, 0.0),
        EmptyFrame("A/1/0", "sensor", 3, 100.0),
        EmptyFrame("B/1/0", "sensor", 0, 0.0),
        EmptyFrame("B/1/0", "sensor", 1, 0.0),
    )
    for level, fov in ((Level.FOV, "A/1/0"), (Level.PLATE, None)):
        found = row(quality, level, "sensor", fov)
        check(found, pixels[[0, 2], 1])
        assert found.n_frames == 2
    assert row(quality, Level.PLATE, "sensor").n_empty == 4
    nothing = row(quality, Level.FOV, "sensor", "B/1/0")
    assert (nothing.n_frames, nothing.n_empty) == (0, 2)
    assert np.isnan(nothing.mean)


def test_real_numbers_have_binned_percentiles_beyond_one_frame(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(5.0, 2.0, (3, 2, 2, 32, 40)).astype("float32")
    quality = plate_quality(acquire(tmp_path, {"A/1/0": pixels}))
    check(row(quality, Level.TIME, "DNA", "A/1/0", 1), pixels[1, 0])
    plate = row(quality, Level.PLATE, "DNA")
    assert not plate.percentiles_exact
    width = np.ptp(pixels[:, 0]) / 65536
    expected = np.percentile(pixels[:, 0].astype(float), PERCENTILES)
    gaps = np.diff(np.sort(pixels[:, 0].ravel().astype(float)))
    found = np.array([plate.p1, plate.p50, plate.p99, plate.p99_9])
    assert np.all(np.abs(found - expected) <= 2 * width + gaps.max())
    assert np.abs(found[1] - expected[1]) < 0.01
    assert plate.mean == pytest.approx(pixels[:, 0].mean(dtype=float))
    assert np.isnan(plate.saturated_share)


def test_saturated_pixels(tmp_path: Path) -> None:
    pixels = noise((1, 2, 1, 16, 20))
    pixels[0, 0, 0, :4] = 65535
    quality = plate_quality(acquire(tmp_path, {"A/1/0": pixels}))
    assert row(quality, Level.PLATE, "DNA").saturated_share == 0.25
    assert row(quality, Level.PLATE, "sensor").saturated_share == 0.0


def test_a_12_bit_camera_saturates_below_its_dtype(tmp_path: Path) -> None:
    pixels = noise((2, 2, 1, 16, 20)) // 2
    pixels[0, 0, 0, :4] = 4095
    screening = plate_quality(acquire(tmp_path, {"A/1/0": pixels})).screening
    assert screening is not None
    assert screening.channels["channel"].tolist() == ["DNA", "sensor"]
    assert screening.channels["saturation_level"].tolist() == [4095, 65535]
    assert screening.channels["saturation_level_from"].tolist() == ["largest_pixel", "dtype"]
    assert screening.frames["saturated_share"].tolist() == [0.25, 0.0, 0.0, 0.0]


def test_an_empty_frame_has_saturation_alone(tmp_path: Path) -> None:
    pixels = noise((2, 2, 1, 32, 40))
    pixels[1, 0] = 65535
    screening = plate_quality(acquire(tmp_path, {"A/1/0": pixels})).screening
    assert screening is not None
    full, empty = screening.frames[screening.frames["channel"] == "DNA"].to_dict("records")
    assert empty["saturated_share"] == 1.0 and full["saturated_share"] == 0.0
    assert pd.isna(empty["sharpest_z"]) and np.isnan(empty["focus_slope"]) and np.isnan(empty["background"])
    assert full["sharpest_z"] == 0 and np.isfinite(full["focus_slope"])
    (well,) = screening.wells[screening.wells["channel"] == "DNA"].to_dict("records")
    assert (well["well"], well["focus_slope"]) == ("A/1", full["focus_slope"])


def test_drift_and_bleaching_of_a_movie_are_recovered(tmp_path: Path) -> None:
    """Pixels are 0.5 x 0.25 µm, time points 10 min apart; cells move by (2, -4) pixels and lose 5 % each."""
    cells = ndi.gaussian_filter(np.random.default_rng(3).normal(size=(160, 200)), 2)
    cells = 1000 * (cells > 0.1)
    movie = np.zeros((6, 2, 2, 96, 96), np.uint16)
    for t in range(6):
        seen = cells[40 - 2 * t : 136 - 2 * t, 40 + 4 * t : 136 + 4 * t]
        movie[t] = 100 + 0.95**t * seen
    screening = plate_quality(acquire(tmp_path, {"A/1/0": movie})).screening
    assert screening is not None
    frames = screening.frames[screening.frames["channel"] == "sensor"]
    assert frames["drift_y_um"].isna().tolist() == [True] + [False] * 5
    assert frames["drift_y_um"][frames["t"] > 0].to_numpy() == pytest.approx(1.0, abs=0.1)
    assert frames["drift_x_um"][frames["t"] > 0].to_numpy() == pytest.approx(-1.0, abs=0.1)
    (fov,) = screening.bleaching[screening.bleaching["channel"] == "sensor"].itertuples()
    assert fov.rate_per_min == pytest.approx(-np.log(0.95) / 10, rel=0.01)


def test_drift_is_only_between_neighbouring_time_points(tmp_path: Path) -> None:
    pixels = noise((5, 2, 1, 32, 40))
    pixels[2, 0] = 9
    images = {"A/1/0": pixels, "A/2/0": noise((2, 2, 1, 32, 40), seed=1)}
    screening = plate_quality(acquire(tmp_path, images)).screening
    assert screening is not None
    known = screening.frames.assign(known=screening.frames["drift_um"].notna())
    fovs = known.groupby(["channel", "fov_name"])["known"].agg(list).to_dict()
    assert fovs == {
        ("DNA", "A/1/0"): [False, True, False, False, True],
        ("DNA", "A/2/0"): [False, True],
        ("sensor", "A/1/0"): [False, True, True, True, True],
        ("sensor", "A/2/0"): [False, True],
    }


def test_files(tmp_path: Path) -> None:
    pixels = noise((2, 2, 1, 16, 20))
    pixels[1, 0] = 7
    quality = plate_quality(acquire(tmp_path, {"A/1/0": pixels}))
    quality.write(tmp_path)
    again = read_plate_quality(tmp_path)
    assert again.empty_frames == quality.empty_frames
    pd.testing.assert_frame_equal(again.table, quality.table, check_dtype=False)
    assert again.screening is not None and quality.screening is not None
    for one in fields(again.screening):
        pd.testing.assert_frame_equal(
            getattr(again.screening, one.name), getattr(quality.screening, one.name), check_dtype=False
        )
    summary = json.loads((tmp_path / "quality.json").read_text())
    assert summary["empty_frames"] == [{"fov_name": "A/1/0", "channel": "DNA", "t": 1, "value": 7.0}]
    assert [channel["channel"] for channel in summary["channels"]] == ["DNA", "sensor"]
    assert summary["channels"][0]["mean"] == pixels[0, 0].mean()


def test_format_version_1_is_read(tmp_path: Path) -> None:
    quality = plate_quality(acquire(tmp_path, {"A/1/0": noise((2, 2, 1, 16, 20))}))
    quality.write(tmp_path)
    old = tmp_path / "old"
    old.mkdir()
    quality.table.to_parquet(old / "quality.parquet", index=False)
    summary = json.loads((tmp_path / "quality.json").read_text())
    (old / "quality.json").write_text(json.dumps(summary | {"version": "1"}))
    again = read_plate_quality(old)
    assert again.screening is None
    pd.testing.assert_frame_equal(again.table, quality.table, check_dtype=False)
    (old / "quality.json").write_text(json.dumps(summary | {"version": "3"}))
    with pytest.raises(BadInputError, match=r"version 3, not .* version 1 or 2"):
        read_plate_quality(old)


@given(
    st.lists(
        npst.arrays(st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]), st.integers(1, 30)),
        min_size=1,
        max_size=4,
    ).filter(lambda parts: len({part.dtype for part in parts}) == 1)
)
def test_histograms_add_up_to_numpy(parts: list[np.ndarray]) -> None:
    total = PixelHistogram.exact(parts[0].dtype)
    for part in parts:
        one = total.empty_like()
        one.add(part)
        total.merge(one)
    pixels = np.concatenate(parts).astype(float)
    summary = total.summary(PERCENTILES)
    assert summary.mean == pytest.approx(pixels.mean(), rel=1e-9, abs=1e-9)
    assert summary.sd == pytest.approx(pixels.std(), rel=1e-6, abs=1e-6)
    assert (summary.minimum, summary.maximum) == (pixels.min(), pixels.max())
    assert summary.percentiles == pytest.approx(np.percentile(pixels, PERCENTILES), rel=1e-9, abs=1e-9)
