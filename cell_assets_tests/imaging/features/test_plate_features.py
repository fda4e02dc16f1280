"""Tables of features of whole positions and plates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.features.frame_features import frame_features
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.features.plate_features import INDEX_COLUMNS, position_features, read_features_record
from cell_assets.imaging.label_store import open_labels, write_labels
from cell_assets.ledger.records import WellDraft
from cell_assets_tests.imaging.array_source import ArraySource, dividing_movie, fov_of


@pytest.fixture
def movie(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Tracks with labels (one row has none), their features, image and labels."""
    image, labels, tracks = dividing_movie()
    well = WellDraft("A/1", "virus", "DENV", 5.0, "MOI", None, False)
    fov = fov_of(image, ("mCherry",), (1.0, 0.5, 0.5), well)
    write_labels(tmp_path, fov, iter(labels))
    tracks = tracks.assign(label=tracks["track_id"].astype("Int64"), area=1, length_um=1.0)
    tracks.loc[(tracks["track_id"] == 1) & (tracks["t"] == 2), "label"] = pd.NA
    table = position_features(
        ArraySource(image), fov, open_labels(tmp_path), tracks, "P1", FeatureParameters()
    )
    return tracks, table, image, labels


def test_one_row_for_each_row_of_the_tracks(
    movie: tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray],
) -> None:
    tracks, table, image, labels = movie
    keys = ["fov_name", "track_id", "t"]
    pd.testing.assert_frame_equal(table[keys], tracks[keys], check_dtype=False)
    assert tuple(table.columns[: len(INDEX_COLUMNS)]) == INDEX_COLUMNS
    assert set(table["Metadata_Perturbation"]) == {"DENV"}
    assert set(table["Metadata_Dose"]) == {5.0}
    assert not table["Metadata_IsControl"].any()
    for row in table.dropna(subset="Metadata_ObjectNumber").itertuples():
        frame = frame_features(
            labels[row.t], image[row.t], ("mCherry",), (1.0, 0.5, 0.5), FeatureParameters()
        )
        own = image[row.t, 0][labels[row.t] == row.Metadata_ObjectNumber]
        assert row.Nuclei_Intensity_MeanIntensity_mCherry == pytest.approx(own.mean())
        assert row.Nuclei_AreaShape_Area == len(own) * 0.25
        features = table.columns.drop(list(INDEX_COLUMNS))
        expected = frame.loc[row.Metadata_ObjectNumber, features].to_numpy(float)
        np.testing.assert_array_equal(table.loc[row.Index, features].to_numpy(float), expected)


def test_a_cell_without_a_label_has_a_row_of_nulls(
    movie: tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray],
) -> None:
    _, table, _, _ = movie
    (row,) = table.index[table["Metadata_ObjectNumber"].isna()]
    assert (table.loc[row, "track_id"], table.loc[row, "t"]) == (1, 2)
    assert table.loc[row, table.columns.drop(list(INDEX_COLUMNS))].isna().all()
    assert pd.isna(table.loc[row, "Metadata_AtFieldEdge"])


def test_a_position_without_tracks_has_the_same_columns_of_the_same_types(
    movie: tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    tracks, table, image, _ = movie
    fov = fov_of(image, ("mCherry",), (1.0, 0.5, 0.5))
    none = position_features(
        ArraySource(image), fov, open_labels(tmp_path), tracks.iloc[:0], "P1", FeatureParameters()
    )
    assert len(none) == 0
    assert list(none.dtypes) == list(table.dtypes)
    assert list(none.columns) == list(table.columns)


def test_a_folder_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"features\.json: cannot be read .* give a single_cell_features"):
        read_features_record(tmp_path)
