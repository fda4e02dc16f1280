"""A cell's region in its patch, on label images drawn by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cell_assets.imaging.cell_masks import cell_masks
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.label_store import LabelImage, open_labels, write_labels
from cell_assets.imaging.patches import (
    PatchRequest,
    PatchTableRecord,
    crop,
    crop_starts,
    resolve_patches,
)
from cell_assets.ledger.records import WellDraft

SHAPE = (1, 1, 3, 40, 40)


def record(side_px: int, z_range: tuple[int, int] = (0, 3), pixel_um: float = 0.5) -> PatchTableRecord:
    fov = FieldOfView(
        "A/1/000",
        SHAPE,
        np.dtype(np.uint16),
        ("Phase",),
        (1.0, pixel_um, pixel_um),
        5.0,
        WellDraft(name="A/1"),
    )
    parameters = resolve_patches(fov, PatchRequest(side_px=side_px, z_range=z_range))
    return PatchTableRecord(
        position="A/1/000",
        parameters=parameters,
        n_cells=1,
        n_at_border=0,
        patch_shape=(1, z_range[1] - z_range[0], side_px, side_px),
        dtype="uint16",
        voxel_size_um=fov.voxel_size_um,
        interval_min=5.0,
        channels=(),
    )


def written(folder: Path, labels: NDArray[np.generic]) -> LabelImage:
    fov = FieldOfView(
        "A/1/000", SHAPE, np.dtype(np.uint16), ("Phase",), (1.0, 0.5, 0.5), 5.0, WellDraft(name="A/1")
    )
    write_labels(folder, fov, iter([labels]))
    return open_labels(folder)


def test_the_segment_is_cut_as_the_middle_of_its_patch(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE[2:], dtype=np.uint32)
    found = cell_masks(written(tmp_path, labels), 0, 2, (19.6, 22.2), record(15, (1, 3)), 8, 0)
    start = crop_starts(np.array([[19.6, 22.2]]), 15)[0]
    patch = crop(labels[None, 1:3], start, 15)[0]
    # An odd remainder leaves one more at the end, as `center_crop` does.
    assert np.array_equal(found.segment, patch[:, 3:11, 3:11] == 2)
    assert np.array_equal(found.cell, found.segment)


@pytest.mark.parametrize(("pixel_um", "reach"), [(0.5, 4), (1.0, 2)])
def test_a_cell_reaches_so_many_micrometres_in_the_plane_and_not_into_others(
    tmp_path: Path, pixel_um: float, reach: int
) -> None:
    labels = np.zeros(SHAPE[2:], np.uint32)
    labels[1, 20, 20] = 7
    labels[1, 20, 22] = 3
    found = cell_masks(written(tmp_path, labels), 0, 7, (20.0, 20.0), record(21, pixel_um=pixel_um), 21, 2.0)
    assert found.segment.sum() == 1
    y, x = np.mgrid[-10:11, -10:11]
    expected = y**2 + x**2 <= reach**2
    expected[10, 12] = False
    assert np.array_equal(found.cell[1], expected)
    assert not found.cell[0].any() and not found.cell[2].any()


def test_what_lies_outside_the_patch_still_reaches_into_it(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE[2:], np.uint32)
    labels[:, 20, 26] = 7
    found = cell_masks(written(tmp_path, labels), 0, 7, (20.0, 20.0), record(11), 11, 1.0)
    # The patch ends at x = 25, one pixel of half a micrometre before the label.
    assert found.segment.sum() == 0
    assert found.cell[0].any()


def test_edge_pixels_are_repeated_as_in_patches(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE[2:], np.uint32)
    labels[:, 0, 5:9] = 4
    found = cell_masks(written(tmp_path, labels), 0, 4, (0.0, 6.5), record(10), 10, 0)
    start = crop_starts(np.array([[0.0, 6.5]]), 10)[0]
    assert np.array_equal(found.segment, crop(labels[None], start, 10)[0] == 4)
    assert found.segment[0, :5].any(axis=1).all()
