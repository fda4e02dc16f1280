from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import ReadingChoices
from cell_assets.imaging.annotation_images import read_annotation_image
from cell_assets.imaging.annotation_joining import join_annotations
from cell_assets.imaging.label_store import LabelImage, open_labels, write_labels
from cell_assets_tests.imaging.annotated_cells import cells_of
from cell_assets_tests.imaging.array_source import dividing_movie, fov_of, square

INFECTION = ReadingChoices(("infection",), {"1": "uninfected", "2": "infected"})


@pytest.fixture
def cells(tmp_path: Path) -> tuple[LabelImage, pd.DataFrame]:
    """Squares of side 7 and 9 of the dividing movie."""
    image, labels, tracks = dividing_movie()
    write_labels(tmp_path, fov_of(image), labels)
    return open_labels(tmp_path), tracks.assign(label=tracks["track_id"])


def painted(folder: Path, image: NDArray[np.generic]) -> Path:
    path = folder / "painted.tif"
    tifffile.imwrite(path, image)
    return path


def test_most_of_a_mask_decides_and_a_stroke_that_touches_does_not(
    tmp_path: Path, cells: tuple[LabelImage, pd.DataFrame]
) -> None:
    labels, tracks = cells
    image = np.zeros((5, 1, 64, 64), np.uint8)
    # Track 1 at t=0 has its centre at (14, 12) and 49 pixels: 28 of them are painted.
    image[0, 0, 11:15, 5:40] = 2
    # Tracks 3 and 4 at t=3, centres (44, 25) and (44, 35): 3 is covered, 4 is touched by one column.
    image[3, 0, 40:49, 20:33] = 1
    given = read_annotation_image(painted(tmp_path, image), INFECTION, tracks, labels)
    found = join_annotations(given, tracks)
    assert cells_of(found, "infection") == {(1, 0): ("infected", "mask"), (3, 3): ("uninfected", "mask")}
    assert found.unjoined.empty


def test_a_dot_on_the_centroid_is_enough_and_one_beside_it_is_listed(
    tmp_path: Path, cells: tuple[LabelImage, pd.DataFrame]
) -> None:
    labels, tracks = cells
    image = np.zeros((5, 64, 64), np.uint16)
    image[1, 44, 30] = 2
    image[1, 1:3, 60:62] = 2
    image[1, 41, 27] = 1
    given = read_annotation_image(painted(tmp_path, image), INFECTION, tracks, labels)
    found = join_annotations(given, tracks)
    assert cells_of(found, "infection") == {(2, 1): ("infected", "centroid")}
    assert found.unjoined[["t", "y", "x", "infection", "reason"]].to_numpy().tolist() == [
        [1, 1.5, 60.5, "infected", "its 4 pixels cover neither half of a cell nor a cell's centroid"],
        [1, 41.0, 27.0, "uninfected", "its 1 pixels cover neither half of a cell nor a cell's centroid"],
    ]
    assert found.n_rows == 3


def test_no_half_of_a_mask_leaves_it_to_the_centroid(
    tmp_path: Path, cells: tuple[LabelImage, pd.DataFrame]
) -> None:
    labels, tracks = cells
    image = np.zeros((5, 64, 64), np.uint8)
    # Of the 49 pixels of track 1 at t=0 (rows 11 to 17, columns 9 to 15), 24 say 2 and 18 with the centroid say 1.
    image[0, 11:14, 9:16] = 2
    image[0, 14, 9:12] = 2
    image[0, 14, 12:16] = 1
    image[0, 15:17, 9:16] = 1
    found = join_annotations(
        read_annotation_image(painted(tmp_path, image), INFECTION, tracks, labels), tracks
    )
    assert cells_of(found, "infection") == {(1, 0): ("uninfected", "centroid")}
    assert found.unjoined["infection"].tolist() == ["infected"]


def test_a_cell_without_a_mask_is_what_lies_at_its_centroid(
    tmp_path: Path, cells: tuple[LabelImage, pd.DataFrame]
) -> None:
    labels, tracks = cells
    image = np.zeros((5, 64, 64), np.uint8)
    square(image[2:3], 2, 44, 30)
    unlabelled = tracks.assign(label=pd.array([None] * len(tracks), dtype="Int64"))
    given = read_annotation_image(painted(tmp_path, image), INFECTION, unlabelled, labels)
    assert cells_of(join_annotations(given, unlabelled), "infection") == {(2, 2): ("infected", "centroid")}


def test_a_flat_image_says_the_same_in_every_plane(tmp_path: Path) -> None:
    movie, labels, tracks = dividing_movie()
    write_labels(tmp_path, fov_of(np.repeat(movie, 3, axis=2)), np.repeat(labels, 3, axis=1))
    deep = open_labels(tmp_path)
    flat = np.zeros((5, 64, 64), np.uint8)
    flat[0, 11:15, 5:40] = 2
    flat[1, 44, 30] = 2
    flat[1, 1:3, 60:62] = 2
    tracks = tracks.assign(label=tracks["track_id"], z=1.0)
    given = read_annotation_image(painted(tmp_path, flat), INFECTION, tracks, deep)
    found = join_annotations(given, tracks)
    assert cells_of(found, "infection") == {(1, 0): ("infected", "mask"), (2, 1): ("infected", "centroid")}
    (reason,) = found.unjoined["reason"]
    assert reason == "its 4 pixels cover neither half of a cell nor a cell's centroid"
    whole = painted(tmp_path, np.repeat(flat[:, None], 3, axis=1))
    again = join_annotations(read_annotation_image(whole, INFECTION, tracks, deep), tracks)
    assert cells_of(again, "infection") == cells_of(found, "infection")


def test_what_is_no_annotation_of_this_movie_is_refused(
    tmp_path: Path, cells: tuple[LabelImage, pd.DataFrame]
) -> None:
    labels, tracks = cells
    image = np.zeros((5, 64, 64), np.uint8)
    odd = image.copy()
    odd[3, 7, 9] = 4
    named = "which --state gives no name (it names 1, 2)"
    cases: dict[str, tuple[NDArray[np.generic], ReadingChoices, str]] = {
        "value": (odd, INFECTION, f"painted.tif, t=3, z=0, y=7, x=9: the value is '4', {named}"),
        "frames": (
            image[:4],
            INFECTION,
            "painted.tif: is 4 x 64 x 64; the position is t, z, y, x = 5 x 1 x 64 x 64",
        ),
        "float": (
            image.astype(np.float32),
            INFECTION,
            "painted.tif: holds float32; a label image holds whole",
        ),
        "nothing": (image, INFECTION, "painted.tif: every value is 0, so it says nothing of any cell"),
        "names": (
            odd,
            ReadingChoices(("infection",)),
            "painted.tif: a label image holds numbers only; say what",
        ),
        "column": (
            odd,
            ReadingChoices((), {"4": "a"}),
            "painted.tif: a label image holds numbers only; say what",
        ),
        "key": (
            odd,
            ReadingChoices(("t",), {"4": "a"}),
            "painted.tif: a column of states cannot be named 't'",
        ),
    }
    for case, (pixels, choices, message) in cases.items():
        with pytest.raises(BadInputError) as caught:
            read_annotation_image(painted(tmp_path, pixels), choices, tracks, labels)
        assert message in str(caught.value), case
    (tmp_path / "painted.tif").write_bytes(b"no picture")
    with pytest.raises(BadInputError, match=r"painted\.tif: cannot be read as a TIFF"):
        read_annotation_image(tmp_path / "painted.tif", INFECTION, tracks, labels)
