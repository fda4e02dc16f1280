from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.channels import ChannelKind
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.patches import (
    ChannelChoice,
    PatchRequest,
    PatchTableRecord,
    crop,
    crop_starts,
    patch_layout,
    resolve_patches,
    write_patch_table,
)
from cell_assets.imaging.tracking import CELL_COLUMNS
from cell_assets.ledger.records import WellDraft
from cell_assets.store.digest import digest_folder
from cell_assets_tests.imaging.array_source import ArraySource, dividing_movie, fov_of, track_table

DRUG = WellDraft("B/2", "compound", "taxol", 2.5, "µM", "tubulin", False)


def write_tracks(folder: Path, tracks: pd.DataFrame) -> Path:
    cells = tracks.assign(label=tracks["track_id"], area=49, length_um=8.0, lineage_root=tracks["track_id"])
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(cells[list(CELL_COLUMNS)], folder / "tracks.parquet")
    return folder


def make(
    folder: Path,
    image: np.ndarray,
    tracks: pd.DataFrame,
    request: PatchRequest,
    fov: FieldOfView | None = None,
) -> tuple[PatchTableRecord, pd.DataFrame, np.ndarray]:
    fov = fov or fov_of(image)
    source, out = write_tracks(folder / "tracks", tracks), folder / "table"
    out.mkdir()
    record = write_patch_table(ArraySource(image), fov, source, resolve_patches(fov, request), out)
    return record, read_parquet(out / "cells.parquet"), zarr.open_array(out / "patches.zarr", mode="r")[:]


@pytest.mark.parametrize(
    ("centroid", "side", "start"),
    [
        (10.0, 5, 8),
        (10.4, 5, 8),
        (10.5, 5, 9),
        (10.6, 5, 9),
        (10.0, 4, 9),
        (10.5, 4, 9),
        (10.9, 4, 9),
        (11.0, 4, 10),
    ],
)
def test_crops_start_where_the_text_says(centroid: float, side: int, start: int) -> None:
    assert crop_starts(np.array([[centroid, centroid]]), side).tolist() == [[start, start]]


@given(st.floats(-0.5, 1e4), st.integers(1, 200))
def test_a_crop_is_centred_to_half_a_pixel(centroid: float, side: int) -> None:
    ((start, _),) = crop_starts(np.array([[centroid, 0.0]]), side)
    assert abs(start + (side - 1) / 2 - centroid) <= 0.5 + 1e-9


def test_a_crop_over_the_corner_repeats_edge_pixels() -> None:
    frame = np.arange(9).reshape(1, 1, 3, 3)
    found = crop(frame, np.array([-1, 2]), 3)
    assert found[0, 0].tolist() == [[2, 2, 2], [2, 2, 2], [5, 5, 5]]


def test_patches_are_the_cells_in_order_of_track_and_time(tmp_path: Path) -> None:
    image, _, tracks = dividing_movie()
    record, cells, patches = make(tmp_path, image, tracks, PatchRequest(side_px=9))
    assert patches.shape == (12, 1, 1, 9, 9)
    assert cells[["track_id", "t"]].to_numpy().tolist() == tracks[["track_id", "t"]].to_numpy().tolist()
    assert cells["row"].tolist() == list(range(12))
    for row, (t, y, x) in enumerate(cells[["t", "y", "x"]].to_numpy().astype(int)):
        np.testing.assert_array_equal(patches[row], image[t, :, :, y - 4 : y + 5, x - 4 : x + 5])
    assert (record.n_cells, record.n_at_border, record.patch_shape) == (12, 0, (1, 1, 9, 9))


def test_border_cells_are_flagged_and_kept(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 999, (1, 1, 1, 20, 30)).astype(np.uint16)
    tracks = track_table([(1, 0, -1, 0.0, 15.0), (2, 0, -1, 10.0, 15.0), (3, 0, -1, 10.0, 29.4)])
    record, cells, patches = make(tmp_path, image, tracks, PatchRequest(side_px=8))
    assert cells["at_border"].tolist() == [True, False, True]
    assert record.n_at_border == 2
    padded = np.pad(image[0, 0, 0], 8, mode="edge")
    np.testing.assert_array_equal(patches[0, 0, 0], padded[8 - 3 : 8 + 5, 8 + 12 : 8 + 20])


def test_z_range_and_channels_are_cut_but_scalings_are_of_the_whole_frame(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 999, (2, 3, 5, 16, 16)).astype(np.uint16)
    fov = fov_of(image, ("Phase", "GFP", "RFP"), well=DRUG)
    request = PatchRequest(
        side_px=4,
        z_range=(1, 4),
        channels=(
            ChannelChoice(name="RFP", kind=ChannelKind.FLUORESCENCE),
            ChannelChoice(name="Phase", kind=ChannelKind.PHASE),
        ),
        hours_post_perturbation_at_start=3.0,
    )
    tracks = track_table([(1, 0, -1, 8.0, 8.0), (1, 1, -1, 8.0, 8.0)])
    record, cells, patches = make(tmp_path, image, tracks, request, fov)
    np.testing.assert_array_equal(patches, image[:, [2, 0], 1:4, 7:11, 7:11])
    assert record.channel_names == ("RFP", "Phase")
    assert cells["shift_fov_1"].tolist() == pytest.approx([image[:, 0].mean()] * 2)
    assert cells["scale_time_1"].tolist() == pytest.approx([image[t, 0].std() for t in range(2)])
    assert cells["shift_time_0"].tolist() == pytest.approx([np.median(image[t, 2]) for t in range(2)])
    assert cells["hours_post_perturbation"].tolist() == [3.0, 3.5]
    condition = cells[["perturbation_type", "perturbation", "dose", "dose_unit", "moa", "is_control", "well"]]
    assert condition.iloc[0].tolist() == ["compound", "taxol", 2.5, "µM", "tubulin", False, "B/2"]


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    image, _, tracks = dividing_movie()
    image[1] = 0
    record, cells, _ = make(tmp_path, image, tracks, PatchRequest(side_px=9))
    unknown = ["perturbation_type", "perturbation", "dose", "dose_unit", "moa", "is_control"]
    assert cells[[*unknown, "hours_post_perturbation"]].isna().all(axis=None)
    assert record.channels[0].constant_frames == (1,)
    assert cells["shift_time_0"].isna().tolist() == (cells["t"] == 1).tolist()
    assert cells["shift_fov_0"].notna().all()


def test_a_table_past_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    image, _, tracks = dividing_movie()
    fov = fov_of(image)
    needed = patch_layout(fov, resolve_patches(fov, PatchRequest(side_px=9)), 12).total_bytes
    with pytest.raises(BadInputError, match=rf"12 patches of 162 bytes need {needed:,} bytes"):
        make(tmp_path, image, tracks, PatchRequest(side_px=9, max_bytes=needed - 1))
    assert list((tmp_path / "table").iterdir()) == []


def test_the_estimate_is_what_lies_on_disk(tmp_path: Path) -> None:
    image, _, tracks = dividing_movie()
    fov = fov_of(image)
    make(tmp_path, image, tracks, PatchRequest(side_px=9))
    layout = patch_layout(fov, resolve_patches(fov, PatchRequest(side_px=9)), 12)
    stored = sum(path.stat().st_size for path in (tmp_path / "table" / "patches.zarr" / "c").rglob("*/0"))
    files = [p for p in (tmp_path / "table" / "patches.zarr" / "c").rglob("*") if p.is_file()]
    assert sum(path.stat().st_size for path in files) == layout.total_bytes
    assert stored >= layout.total_bytes


def test_a_position_without_cells_has_an_empty_table(tmp_path: Path) -> None:
    image, _, tracks = dividing_movie()
    record, cells, patches = make(tmp_path, image, tracks.iloc[:0], PatchRequest(side_px=9))
    assert (record.n_cells, len(cells), patches.shape) == (0, 0, (0, 1, 1, 9, 9))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    image, _, tracks = dividing_movie()
    for name in ("one", "two"):
        make(tmp_path / name, image, tracks, PatchRequest(side_px=9))
    one, two = (digest_folder(tmp_path / name / "table").root for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (PatchRequest(z_range=(0, 2)), r"z_range 0\.\.2 is not within the image's planes 0\.\.1"),
        (
            PatchRequest(channels=(ChannelChoice(name="x", kind=ChannelKind.PHASE),)),
            "channel 'x' does not exist",
        ),
    ],
)
def test_what_does_not_go_is_said(request_: PatchRequest, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        resolve_patches(fov_of(np.zeros((1, 1, 1, 8, 8), np.uint8)), request_)
