import json
import tempfile
import zipfile
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import zarr
from geff import read, validate_structure
from hypothesis import given, settings

from cell_assets.errors import BadInputError
from cell_assets.imaging.geff_files import read_edited_geff, read_geff, write_geff
from cell_assets.imaging.track_files import read_ctc_tracks, read_track_csv
from cell_assets.imaging.track_tables import TRACK_COLUMNS, division_count
from cell_assets_tests.imaging.array_source import dividing_movie, track_table
from cell_assets_tests.imaging.lineages import EXTENT, lineages
from cell_assets_tests.shared_data import shared_data

SPACING = (2.0, 0.5, 0.25)


def round_trip(table: pd.DataFrame) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.geff"
        write_geff(table, path, SPACING, 5.0)
        return read_geff(path, str(table["fov_name"].iloc[0]))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["track_id", "t"], ignore_index=True)[list(TRACK_COLUMNS)]


@settings(max_examples=25)
@given(lineages())
def test_any_lineage_comes_back_to_the_last_digit(table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(round_trip(table), ordered(table), check_exact=True)


@settings(max_examples=25)
@given(lineages())
def test_an_unedited_graph_is_the_same_by_its_edges(table: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.geff"
        write_geff(table, path, SPACING, 5.0)
        pd.testing.assert_frame_equal(read_edited_geff(path, "A/1/0"), ordered(table), check_exact=True)


@pytest.mark.parametrize(
    ("remove", "add", "expected"),
    [
        # Track 1 has ids 1 to 5, 2 has 6 to 8, its daughters 9 and 10, 11 and 12.
        ((2, 3), None, {1: [1, 2], 5: [3, 4, 5], 2: [6, 7, 8], 3: [9, 10], 4: [11, 12]}),
        ((8, 9), None, {1: [1, 2, 3, 4, 5], 2: [6, 7, 8], 3: [9, 10], 4: [11, 12]}),
        (None, (3, 12), {1: [1, 2, 3], 2: [6, 7, 8], 3: [9, 10], 4: [11], 5: [4, 5], 6: [12]}),
    ],
    ids=["a track cut in two", "a daughter let go", "a daughter of another"],
)
def test_edges_decide_over_properties_that_a_tool_left(
    tmp_path: Path,
    remove: tuple[int, int] | None,
    add: tuple[int, int] | None,
    expected: dict[int, list[int]],
) -> None:
    _, _, table = dividing_movie()
    path = tmp_path / "a.geff"
    write_geff(table, path, SPACING, 5.0)
    stored = zarr.open_group(path)["edges/ids"]
    edges = [edge for edge in map(tuple, stored[:].tolist()) if edge != remove]
    if add is not None:
        edges = [edge for edge in edges if edge[1] != add[1]] + [add]
    stored.resize((len(edges), 2))
    stored[:] = np.array(edges, stored.dtype)
    found = read_edited_geff(path, "A/1/000")
    by_track = {int(track): rows["id"].tolist() for track, rows in found.groupby("track_id")}
    assert by_track == expected
    links = {child: parent for parent, child in edges}
    assert {row.id: row.parent_id for row in found.itertuples() if row.parent_id >= 0} == links


def test_other_tools_find_graph_axes_and_tracklets(tmp_path: Path) -> None:
    _, _, table = dividing_movie()
    write_geff(table, tmp_path / "a.geff", SPACING, 5.0)
    validate_structure(tmp_path / "a.geff")
    graph, metadata = read(tmp_path / "a.geff", backend="networkx")
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (12, 10)
    assert nx.number_weakly_connected_components(graph) == 2
    assert [(a.name, a.unit, a.scale, a.scaled_unit) for a in metadata.axes] == [
        ("t", "frame", 5.0, "minute"),
        ("z", "pixel", 2.0, "micrometer"),
        ("y", "pixel", 0.5, "micrometer"),
        ("x", "pixel", 0.25, "micrometer"),
    ]
    assert metadata.track_node_props == {"tracklet": "track_id"}


def test_a_graph_without_track_ids_gets_them_from_its_paths(tmp_path: Path) -> None:
    _, _, table = dividing_movie()
    write_geff(table, tmp_path / "a.geff", SPACING, None)
    group = zarr.open_group(tmp_path / "a.geff")
    attributes = dict(group.attrs)["geff"]
    attributes["track_node_props"] = None
    for name in ("track_id", "parent_track_id"):
        del attributes["node_props_metadata"][name]
        del group[f"nodes/props/{name}"]
    group.attrs["geff"] = attributes
    # The rows of the movie's table are in order of track; those of a graph in order of time.
    pd.testing.assert_frame_equal(read_geff(tmp_path / "a.geff", "A/1/000"), ordered(table))


def broken(tmp_path: Path, change: str) -> Path:
    _, _, table = dividing_movie()
    path = tmp_path / "a.geff"
    if change == "nan":
        table.loc[3, "y"] = np.nan
    write_geff(table, path, SPACING, 5.0)
    group = zarr.open_group(path)
    if change == "merge":
        group["edges/ids"][0] = [12, int(group["edges/ids"][5][1])]
    elif change == "stranger":
        group["edges/ids"][0] = [77, 2]
    elif change == "unit":
        attributes = dict(group.attrs)["geff"]
        attributes["axes"][2]["unit"] = "micrometer"
        group.attrs["geff"] = attributes
    elif change == "twice":
        group["nodes/ids"][0] = 5
    elif change == "late":
        group["nodes/props/t/values"][0] = 99
    elif change == "huge":
        for name in ("nodes/ids", *(f"nodes/props/{p}/values" for p in group["nodes/props"].group_keys())):
            header = path / name / "zarr.json"
            text = json.loads(header.read_text())
            text["shape"] = [10**12]
            header.write_text(json.dumps(text))
    elif change == "no metadata":
        (path / "zarr.json").write_text("{}")
    elif change in (".zarray", ".zmetadata"):
        (path / "nodes" / change).write_text(r'{"filters": [{"id": "pick\u006ce"}]}')
    elif change == "cut off":
        chunk = next(p for p in (path / "nodes/props/y/values").rglob("*") if p.is_file() and p.suffix == "")
        chunk.write_bytes(chunk.read_bytes()[:7])
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("merge", "two parents"),
        ("stranger", r"edge \[77, 2\] names a node that does not exist"),
        ("unit", "axis 'y' is in micrometer; give it in pixels"),
        ("twice", "node id 5 is given twice"),
        ("late", "t=99"),
        ("nan", "y=nan"),
        ("huge", "claims 1000000000000 nodes"),
        ("no metadata", "is no GEFF"),
        ("cut off", "cannot be read"),
        (".zarray", "asks for pickled objects"),
        (".zmetadata", "asks for pickled objects"),
    ],
)
def test_what_is_unsound_is_refused_in_one_sentence(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        read_geff(broken(tmp_path, change), "A/1/000", EXTENT if change == "late" else None)
    assert "a.geff" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_existing_file_and_a_negative_id_are_refused(tmp_path: Path) -> None:
    _, _, table = dividing_movie()
    write_geff(table, tmp_path / "a.geff", SPACING, 5.0)
    with pytest.raises(BadInputError, match="exists already"):
        write_geff(table, tmp_path / "a.geff", SPACING, 5.0)
    with pytest.raises(BadInputError, match="id -4 is negative"):
        write_geff(table.assign(id=-4), tmp_path / "b.geff", SPACING, 5.0)


@pytest.mark.needs_shared
def test_a_published_hela_movie_goes_through_geff() -> None:
    # As motile tracker exports it: without the column parent_track_id.
    path = shared_data("track_fixtures/hela_tracks_motile") / "hela_example_tracks.csv"
    table = read_track_csv(path, "A/1/0")
    assert (len(table), division_count(table)) == (8601, 61)
    pd.testing.assert_frame_equal(round_trip(table), table, check_exact=True)


@pytest.mark.needs_shared
def test_the_tracks_of_other_tools_go_through_geff(tmp_path: Path) -> None:
    fixtures = shared_data("track_fixtures")
    truth = json.loads((fixtures / "btrack_tests/test_ground_truth.json").read_text())
    points = pd.read_csv(fixtures / "btrack_tests/test_data.csv")
    rows = [
        (int(track), int(points["t"][row]), -1, points["y"][row], points["x"][row])
        for track, members in truth.items()
        for row in members
    ]
    btrack = track_table(sorted(rows))
    assert (len(btrack), btrack["track_id"].nunique()) == (1399, 7)
    pd.testing.assert_frame_equal(round_trip(btrack), ordered(btrack), check_exact=True)

    with zipfile.ZipFile(fixtures / "ctcmetrics_test/test_data.zip") as archive:
        archive.extractall(tmp_path)
    for name in ("GT/TRA/man_track.txt", "res/res_track.txt"):
        lives = read_ctc_tracks(tmp_path / name)
        rows = [
            (label, t, parent or -1, 0.0, 0.0)
            for label, begin, end, parent in lives.itertuples(index=False)
            for t in range(begin, end + 1)
        ]
        table = track_table(sorted(rows))
        pd.testing.assert_frame_equal(round_trip(table), ordered(table), check_exact=True)
