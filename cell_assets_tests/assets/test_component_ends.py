"""Which cells stand at the ends of a component, and that what is shown is their pixels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.assets.component_ends import component_ends
from cell_assets.errors import BadInputError
from cell_assets.evaluation.features.feature_correlation import FeatureCorrelations
from cell_assets.imaging.parquet_tables import read_parquet
from cell_assets.imaging.patches import PatchRequest, resolve_patches, write_patch_table
from cell_assets_tests.imaging.array_source import ArraySource, fov_of, track_table
from cell_assets_tests.imaging.test_patches import write_tracks

FOVS = ("A/1/000", "A/2/000")
SIDE, PLANES, CHANNELS = 32, 3, ("Phase", "GFP")
CENTROIDS = {1: (6, 7), 2: (6, 22), 3: (20, 7), 4: (22, 22)}
"""(y, x) at t=0 by track, of either FOV; at t=1 every cell is one pixel lower."""

LOWEST = [
    ("A/2/000", 2, 1),
    ("A/1/000", 1, 0),
    ("A/1/000", 2, 0),
    ("A/1/000", 3, 0),
    ("A/1/000", 4, 0),
    ("A/2/000", 1, 0),
]
HIGHEST = [
    ("A/1/000", 2, 1),
    ("A/1/000", 3, 1),
    ("A/1/000", 4, 0),
    ("A/2/000", 1, 1),
    ("A/2/000", 2, 0),
    ("A/2/000", 3, 1),
]


def volume(fov: str, t: int) -> np.ndarray:
    """(C, Z, Y, X) in which no value comes twice, nor in another frame or FOV."""
    shape = (len(CHANNELS), PLANES, SIDE, SIDE)
    frame = FOVS.index(fov) * 2 + t
    return (frame * np.prod(shape) + np.arange(np.prod(shape)).reshape(shape)).astype(np.uint16)


def table(folder: Path, fov: str, channels: tuple[str, ...] = CHANNELS) -> Path:
    """A patch table of four tracks over two frames, of 5 x 5 pixels."""
    image = np.stack([volume(fov, t) for t in range(2)])
    rows = [(track, t, -1, float(y + t), float(x)) for track, (y, x) in CENTROIDS.items() for t in range(2)]
    out = folder / fov.replace("/", "_")
    out.mkdir()
    tracks = write_tracks(folder / "tracks", track_table(rows))
    view = fov_of(image, channels)
    write_patch_table(ArraySource(image), view, tracks, resolve_patches(view, PatchRequest(side_px=5)), out)
    return out


def patches(cells: list[tuple[str, int, int]]) -> np.ndarray:
    """The middle plane of the 5 x 5 pixels around each cell."""
    found = []
    for fov, track, t in cells:
        y, x = CENTROIDS[track][0] + t, CENTROIDS[track][1]
        found.append(volume(fov, t)[:, 1, y - 2 : y + 3, x - 2 : x + 3])
    return np.stack(found).astype(float)


@pytest.fixture
def tables(tmp_path: Path) -> dict[tuple[str, str], Path]:
    return {("P1", fov): table(tmp_path, fov) for fov in FOVS}


@pytest.fixture
def cells(tables: dict[tuple[str, str], Path]) -> pd.DataFrame:
    """Sixteen cell images with their first component: of a track 1 to 7, half more at t=1.

    At t=1 track 2 of A/2/000 is the lowest of all, and track 4 of A/1/000 would be, but has no patch. Track 4 of
    A/2/000 is not of the test tracks.
    """
    frames = [
        read_parquet(folder / "cells.parquet")[["track_id", "t", "row"]].assign(plate=plate, fov_name=fov)
        for (plate, fov), folder in tables.items()
    ]
    # In an order that is not that of the patch tables.
    found = pd.concat(frames[::-1]).iloc[::-1].reset_index(drop=True)
    first_fov, late = found["fov_name"] == FOVS[0], found["t"] == 1
    component = found["track_id"] + np.where(first_fov, 0.0, 4.0) + np.where(late, 0.5, 0.0)
    found["component"] = component.mask(~first_fov & (found["track_id"] == 2) & late, 0.0)
    unpatched = first_fov & (found["track_id"] == 4) & late
    found["component"] = found["component"].mask(unpatched, -100.0)
    found["row"] = found["row"].astype(float).mask(unpatched)
    found["test"] = first_fov | (found["track_id"] != 4)
    found.loc[~found["test"], "component"] = [-1000.0, 1000.0]
    return found


def correlations(cells: pd.DataFrame, signs: tuple[float, ...]) -> FeatureCorrelations:
    """Components that are the table's one, or its contrary."""
    return FeatureCorrelations(
        features=(),
        estimates=(),
        explained=np.full(len(signs), 0.1),
        components=cells["component"].to_numpy()[:, None] * np.array(signs),
        test=cells["test"].to_numpy(),
        n_unmeasured=0,
    )


def test_the_ends_are_the_pixels_of_the_extreme_test_cells_each_track_once(
    tables: dict[tuple[str, str], Path], cells: pd.DataFrame, tmp_path: Path
) -> None:
    ends = component_ends(correlations(cells, (1.0, -1.0, 1.0, 1.0)), cells, tables, {"P1": tmp_path})
    assert [one.what for one in ends] == ["PC 1", "PC 2", "PC 3"]
    assert {one.channel_names for one in ends} == {CHANNELS}
    for one in (ends[0], ends[2]):
        assert np.array_equal(one.low, patches(LOWEST))
        assert np.array_equal(one.high, patches(HIGHEST))
    assert np.array_equal(ends[1].low, patches(HIGHEST[::-1]))
    assert np.array_equal(ends[1].high, patches(LOWEST[::-1]))


def test_there_are_as_many_pictures_as_components_and_cells_as_tracks(
    tables: dict[tuple[str, str], Path], cells: pd.DataFrame, tmp_path: Path
) -> None:
    two = cells[(cells["fov_name"] == FOVS[0]) & cells["track_id"].isin([1, 3])].reset_index(drop=True)
    (one,) = component_ends(correlations(two, (1.0,)), two, tables, {"P1": tmp_path})
    assert np.array_equal(one.low, patches([(FOVS[0], 1, 0), (FOVS[0], 3, 0)]))
    assert np.array_equal(one.high, patches([(FOVS[0], 1, 1), (FOVS[0], 3, 1)]))


def test_nothing_is_shown_without_features_or_patches(
    tables: dict[tuple[str, str], Path], cells: pd.DataFrame, tmp_path: Path
) -> None:
    assert component_ends(None, cells, tables, {"P1": tmp_path}) == ()
    bare = cells.assign(row=np.nan)
    assert component_ends(correlations(bare, (1.0,)), bare, tables, {"P1": tmp_path}) == ()


def test_nothing_is_shown_where_channels_differ(
    tables: dict[tuple[str, str], Path], cells: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    mixed = tables | {("P1", FOVS[1]): table(tmp_path / "other", FOVS[1], ("Phase", "mCherry"))}
    assert component_ends(correlations(cells, (1.0,)), cells, mixed, {"P1": tmp_path}) == ()


def test_a_position_without_its_patch_table_is_named(
    tables: dict[tuple[str, str], Path], cells: pd.DataFrame, tmp_path: Path
) -> None:
    found = correlations(cells, (1.0,))
    without = {key: folder for key, folder in tables.items() if key[1] == FOVS[0]}
    with pytest.raises(
        BadInputError, match="plate P1, position A/2/000: has embedded cells and no patch table"
    ):
        component_ends(found, cells, without, {"P1": tmp_path})
    (tables["P1", FOVS[1]] / "patch_table.json").unlink()
    with pytest.raises(BadInputError, match=r"A_2_000/patch_table\.json: cannot be read"):
        component_ends(found, cells, tables, {"P1": tmp_path})
