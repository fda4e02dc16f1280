"""What is said of sizes beforehand against what was written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cell_assets.assets.sizing import LABELS_COMPRESS
from cell_assets.errors import BadInputError
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.label_store import write_labels
from cell_assets.imaging.ome_zarr_plate import (
    ImageWriter,
    NewImage,
    Spacing,
    create_plate,
    image_bytes_at_most,
)
from cell_assets.ledger.records import WellDraft
from cell_assets.store.room import require_room, said_bytes


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 1, 1, 20, 30), "uint8"),
        ((7, 2, 3, 33, 65), "uint16"),
        ((3, 1, 1, 8, 8), "float32"),
        ((2, 1, 9, 1024, 1024), "uint16"),
    ],
)
def test_an_image_of_noise_weighs_no_more_than_was_said(
    tmp_path: Path, shape: tuple[int, int, int, int, int], dtype: str
) -> None:
    kind = np.dtype(dtype)
    plate = tmp_path / "plate.zarr"
    create_plate(
        plate, [f"c{n}" for n in range(shape[1])], Spacing(1, 1, 1, 1), [NewImage("A/1/000", shape, kind)]
    )
    writer, noise = ImageWriter(plate, "A/1/000"), np.random.default_rng(0)
    for t in range(shape[0]):
        for channel in range(shape[1]):
            volume = np.frombuffer(noise.bytes(int(np.prod(shape[2:])) * kind.itemsize), kind)
            writer.write(t, channel, volume.reshape(shape[2:]))
    writer.close()
    written = sum(one.stat().st_size for one in plate.rglob("*") if one.is_file())
    at_most = image_bytes_at_most(shape, kind)
    assert written <= at_most
    # Half a percent of overhead beside the fixed metadata.
    assert at_most <= 1.005 * int(np.prod(shape)) * kind.itemsize + 2**15


def mosaic(side: int, width: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """`(1, side, side)`: a plane that touching cells fill wholly, each as wide as `width` on average."""
    centres = rng.integers(0, side, ((side // width) ** 2, 2))
    labels = np.zeros((side, side), np.uint32)
    labels[tuple(centres.T)] = 1 + rng.permutation(len(centres))
    nearest = distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return labels[tuple(nearest)][np.newaxis]


@pytest.mark.parametrize("width", [32, 8, 4])
def test_labels_of_a_layer_without_background_weigh_no_more_than_was_said(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(0)
    shape = (2, 1, 1, 512, 512)
    fov = FieldOfView(
        "A/1/000", shape, np.dtype("uint16"), ("phase",), (None, 0.5, 0.5), 5.0, WellDraft("A/1")
    )
    write_labels(tmp_path, fov, (mosaic(512, width, rng) for _ in range(2)))
    written = sum(one.stat().st_size for one in tmp_path.rglob("*") if one.is_file())
    assert written <= 4 * int(np.prod(shape)) // LABELS_COMPRESS


@given(st.integers(0, 10**18))
def test_a_size_is_said_within_a_twentieth(n_bytes: int) -> None:
    number, unit = said_bytes(n_bytes).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    assert abs(float(number) * factor - n_bytes) <= 0.05 * max(n_bytes, 1) or unit == "PB"


def test_what_does_not_fit_is_refused_and_the_reserve_counts(tmp_path: Path) -> None:
    absent = tmp_path / "not" / "yet"
    require_room(absent, 1, 0, "plate P1", "make room")
    with pytest.raises(
        BadInputError, match=r"plate P1 will write up to 1\.0 PB and the disk of .*: make room"
    ):
        require_room(absent, 10**15, 0, "plate P1", "make room")
    with pytest.raises(BadInputError, match=r"up to 1 B .* of which 1\.0 PB stay free: make room"):
        require_room(absent, 1, 10**15, "plate P1", "make room")
    assert not absent.exists()
