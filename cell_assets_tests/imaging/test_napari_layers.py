"""Layers as napari itself takes them, in a viewer without a window; what it saves of them is read back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Points
from napari.layers import Layer as NapariLayer
from napari.plugins import _initialize_plugins

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import ReadingChoices, read_annotation_csv
from cell_assets.imaging.annotation_history import AnnotationHistory
from cell_assets.imaging.annotation_images import read_annotation_image
from cell_assets.imaging.annotation_joining import join_annotations
from cell_assets.imaging.fields_of_view import FieldOfView
from cell_assets.imaging.label_store import LabelImage, open_labels, write_labels
from cell_assets.imaging.napari_layers import (
    Layer,
    annotation_layer,
    embedding_layer,
    image_layers,
    label_layer,
    track_layer,
)
from cell_assets_tests.imaging.annotated_cells import PLATE_NAME, cells_of
from cell_assets_tests.imaging.array_source import POSITION, ArraySource, dividing_movie, fov_of

SPACING = (2.0, 0.5, 0.5)


@pytest.fixture(scope="module", autouse=True)
def _napari_plugins() -> None:
    """napari saves by its own plugins, which only its window finds by itself."""
    _initialize_plugins()


@pytest.fixture
def movie(tmp_path: Path) -> tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame]:
    """The dividing movie with its labels on disk; tracks as the FOV chain leaves them."""
    image, labels, tracks = dividing_movie()
    fov = fov_of(image, channels=("Phase",), spacing=SPACING)
    write_labels(tmp_path, fov, labels)
    chained = tracks.assign(label=tracks["track_id"], lineage_root=[1] * 5 + [2] * 7)
    return ArraySource(image, labels, tracks), fov, open_labels(tmp_path), chained


def shown(*layers: Layer) -> ViewerModel:
    viewer = ViewerModel()
    for layer in layers:
        viewer.add_layer(NapariLayer.create(*layer))
    return viewer


def read_back(path: Path, tracks: pd.DataFrame) -> dict[tuple[int, int], tuple[str, str]]:
    choices = ReadingChoices(columns=("infection",))
    return cells_of(
        join_annotations(read_annotation_csv(path, PLATE_NAME, POSITION, choices), tracks), "infection"
    )


def test_a_viewer_takes_channels_labels_and_tracks_in_the_same_places(
    movie: tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame],
) -> None:
    source, fov, labels, tracks = movie
    viewer = shown(*image_layers(source, fov), label_layer(fov, labels, tracks), track_layer(fov, tracks))
    image, cells, tracked = viewer.layers
    assert (image.name, cells.name, tracked.name) == ("Phase", "cells", "tracks")
    assert image.data.shape == cells.data.shape == (5, 64, 64)
    assert viewer.dims.ndim == 3
    for layer in viewer.layers:
        assert layer.scale.tolist() == [1.0, 0.5, 0.5]
    for t in range(5):
        np.testing.assert_array_equal(np.asarray(image.data[t]), source.image[t, 0, 0])
        assert source.labels is not None
        np.testing.assert_array_equal(np.asarray(cells.data[t]), source.labels[t, 0])
    # Every track's point lies in its own mask.
    for track, t, y, x in tracked.data:
        assert int(np.asarray(cells.data[int(t)])[round(y), round(x)]) == track
    assert tracked.graph == {3: [2], 4: [2]}
    assert tracked.features["lineage_root"].tolist() == [1] * 5 + [2] * 7
    low, high = image.contrast_limits
    assert 100 <= low < high <= 3050


def test_a_volume_keeps_its_z() -> None:
    image, _, tracks = dividing_movie()
    volume = np.repeat(np.repeat(image, 3, axis=2), 2, axis=1)
    fov = fov_of(volume, spacing=SPACING)
    layers = image_layers(ArraySource(volume), fov)
    viewer = shown(*layers, track_layer(fov, tracks.assign(lineage_root=1)))
    assert [layer.name for layer in viewer.layers] == ["GFP0", "GFP1", "tracks"]
    assert viewer.layers[1].data.shape == (5, 3, 64, 64)
    assert viewer.layers[1].scale.tolist() == [1.0, *SPACING]
    assert viewer.layers[2].data.shape == (12, 5)


def test_embeddings_are_points_at_their_cells_with_their_projection_as_features(
    movie: tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame],
) -> None:
    _, fov, _, tracks = movie
    # In another order than the tracks, and without one cell, as thresholds leave some out.
    embedded = tracks[["track_id", "t"]].iloc[::-1].iloc[:-1].reset_index(drop=True)
    embedded = embedded.assign(pca_1=embedded["track_id"] + 0.1, pca_2=embedded["t"] + 0.2, split="test")
    (points,) = shown(embedding_layer(fov, embedded, tracks, "dynaclr_embeddings")).layers
    assert len(points.data) == len(tracks) - 1
    for (t, y, x), row in zip(points.data, points.features.to_dict("records"), strict=True):
        (cell,) = tracks[(tracks["track_id"] == row["track_id"]) & (tracks["t"] == row["t"])].to_dict(
            "records"
        )
        assert (t, y, x) == (cell["t"], cell["y"], cell["x"])
        assert (row["pca_1"], row["pca_2"]) == (row["track_id"] + 0.1, row["t"] + 0.2)
    colours = {tuple(colour) for colour in points.face_color}
    assert len(colours) == 4, "one colour for each of four tracks, whose first components differ"


def test_embeddings_of_other_tracks_are_refused(
    movie: tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame],
) -> None:
    _, fov, _, tracks = movie
    embedded = pd.DataFrame({"track_id": [77], "t": [0], "pca_1": [0.0], "pca_2": [0.0]})
    with pytest.raises(
        BadInputError, match=r"dynaclr_embeddings: none of its 1 cells of A/1/000 is in the tracks"
    ):
        embedding_layer(fov, embedded, tracks, "dynaclr_embeddings")


def test_points_that_napari_saves_come_back_as_annotations(
    movie: tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame], tmp_path: Path
) -> None:
    _, fov, _, tracks = movie
    # Two clicks near cells, in a layer of their own, scaled like the others.
    clicks = Points(
        [[1, 13.0, 15.5], [3, 44.0, 26.0]],
        features={"infection": ["infected", "uninfected"]},
        scale=[1.0, 0.5, 0.5],
    )
    (path,) = clicks.save(str(tmp_path / "clicks.csv"))
    assert Path(path).read_text().splitlines()[0] == "index,axis-0,axis-1,axis-2,infection"
    annotated = {(1, 1): ("infected", "centroid"), (3, 3): ("uninfected", "centroid")}
    assert read_back(Path(path), tracks) == annotated

    # What stands is shown, edited, and saved again; now by track.
    given = read_annotation_csv(Path(path), PLATE_NAME, POSITION, ReadingChoices())
    history = AnnotationHistory.none_of(POSITION).followed_by(
        join_annotations(given, tracks), "clicks.csv", "digest", "me", "a test"
    )
    (points,) = shown(annotation_layer(fov, history)).layers
    assert points.features["infection"].tolist() == ["infected", "uninfected"]
    points.features = points.features.assign(infection=["infected", ""])
    (again,) = points.save(str(tmp_path / "edited.csv"))
    assert read_back(Path(again), tracks) == {(1, 1): ("infected", "exact")}


def test_the_embeddings_layer_comes_back_with_what_was_added_to_its_features(
    movie: tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame], tmp_path: Path
) -> None:
    _, fov, _, tracks = movie
    embedded = tracks[["track_id", "t"]].assign(pca_1=0.5, pca_2=1.5, split="test", condition="A")
    (points,) = shown(embedding_layer(fov, embedded, tracks, "dynaclr_embeddings")).layers
    points.features = points.features.assign(infection=["infected"] * 3 + [""] * 9)
    (path,) = points.save(str(tmp_path / "points.csv"))
    found = join_annotations(
        read_annotation_csv(Path(path), PLATE_NAME, POSITION, ReadingChoices(("infection",))), tracks
    )
    assert cells_of(found, "infection") == {(1, t): ("infected", "exact") for t in range(3)}


def test_a_labels_layer_that_napari_saves_comes_back_as_annotations(
    movie: tuple[ArraySource, FieldOfView, LabelImage, pd.DataFrame], tmp_path: Path
) -> None:
    _, _, labels, tracks = movie
    painted = Labels(np.zeros((5, 64, 64), np.uint8))
    painted.data[2, 10:18, 10:22] = 2
    painted.data[4, 44, 35] = 1
    (path,) = painted.save(str(tmp_path / "painted.tif"))
    choices = ReadingChoices(("infection",), {"1": "uninfected", "2": "infected"})
    given = read_annotation_image(Path(path), choices, tracks, labels)
    assert cells_of(join_annotations(given, tracks), "infection") == {
        (1, 2): ("infected", "mask"),
        (4, 4): ("uninfected", "centroid"),
    }
