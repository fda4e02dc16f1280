from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image

from cell_assets.errors import BadInputError
from cell_assets.imaging import label_store
from cell_assets.imaging.label_store import open_labels, write_labels
from cell_assets_tests.imaging.array_source import fov_of


def movie(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 70000, shape).astype(np.uint32)


@pytest.mark.parametrize("shard_bytes", [2**26, 3 * 4 * 2 * 8 * 8], ids=["one shard", "three frames a shard"])
def test_frames_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int) -> None:
    monkeypatch.setattr(label_store, "SHARD_BYTES", shard_bytes)
    labels = movie((7, 2, 8, 8))
    write_labels(tmp_path, fov_of(np.zeros((7, 1, 2, 8, 8))), iter(labels))
    opened = open_labels(tmp_path)
    for t in range(7):
        np.testing.assert_array_equal(opened.frame(t), labels[t])
    array = zarr.open_array(tmp_path / "labels.zarr" / "0", mode="r")
    np.testing.assert_array_equal(array[:, 0], labels)
    assert array.dtype == np.uint32


def test_it_is_a_valid_ome_zarr_image_in_few_files(tmp_path: Path) -> None:
    write_labels(
        tmp_path, fov_of(np.zeros((3, 1, 1, 64, 64)), spacing=(2.0, 0.5, 0.25)), movie((3, 1, 64, 64))
    )
    image = Image.from_zarr(zarr.open_group(tmp_path / "labels.zarr", mode="r"))
    (dataset,) = image.ome_attributes.multiscales[0].datasets
    assert dataset.coordinateTransformations[0].scale == [30.0, 1.0, 2.0, 0.5, 0.25]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


@pytest.mark.parametrize("n", [2, 4])
def test_a_wrong_number_of_frames_is_refused(tmp_path: Path, n: int) -> None:
    with pytest.raises(BadInputError, match="the position has 3"):
        write_labels(tmp_path, fov_of(np.zeros((3, 1, 1, 8, 8))), movie((n, 1, 8, 8)))


def test_a_wrong_frame_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"shape \(1, 8, 7\)"):
        write_labels(tmp_path, fov_of(np.zeros((1, 1, 1, 8, 8))), movie((1, 1, 8, 7)))


def test_a_missing_label_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no label image"):
        open_labels(tmp_path)
