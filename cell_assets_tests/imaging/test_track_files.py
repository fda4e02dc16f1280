"""Track tables and annotations on disk: what is written comes back to the last digit; what is malformed does not."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_files import (
    read_ctc_tracks,
    read_state_csv,
    read_track_csv,
    write_track_csv,
)
from cell_assets_tests.imaging.lineages import EXTENT, lineages
from cell_assets_tests.shared_data import shared_data

HEADER = "track_id,t,z,y,x,id,parent_track_id,parent_id"


def read(tmp_path: Path, text: str) -> pd.DataFrame:
    path = tmp_path / "A_1_0.csv"
    path.write_text(text)
    return read_track_csv(path, "A/1/0", EXTENT)


@given(lineages())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_table_comes_back_exactly(tmp_path: Path, table: pd.DataFrame) -> None:
    path = tmp_path / "A_1_0.csv"
    write_track_csv(table, path)
    expected = table.sort_values(["track_id", "t"], ignore_index=True)
    pd.testing.assert_frame_equal(read_track_csv(path, "A/1/0", EXTENT), expected, check_exact=True)


@pytest.mark.parametrize("null", ["", "-1", "nan", "-1.0"])
def test_every_way_to_have_no_parent(tmp_path: Path, null: str) -> None:
    table = read(tmp_path, f"{HEADER}\n4,0,1,2.25,3,7,{null},{null}\n")
    assert table[["parent_track_id", "parent_id"]].to_numpy().tolist() == [[-1, -1]]
    assert table["parent_track_id"].dtype == "int64"


def test_no_z_and_further_columns(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "id,t,track_id,y,x,parent_track_id,parent_id,area\n1,0,1,0.125,2,,,55\n2,1.0,1.0,1,2,,1.0,56\n",
    )
    assert table["z"].tolist() == [0.0, 0.0]
    assert table["t"].tolist() == [0, 1]
    assert table["parent_id"].tolist() == [-1, 1]


def test_a_header_alone_is_a_field_without_cells(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER + "\n")
    assert len(table) == 0
    assert table["t"].dtype == "int64"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": the file is empty"),
        ("track_id,t,y,x,id\n", ": column 'parent_id' is missing (the file has track_id, t, y, x, id)"),
        (HEADER + ",t\n", ", line 1: column 't' is given twice"),
        (HEADER + "\n1,0,0,1,1,1,\n", ", line 2: 7 fields, but the header has 8"),
        (HEADER + "\n1,0.5,0,1,1,1,,\n", ", line 2: t is '0.5'; give a whole number"),
        (HEADER + "\n1,0,0,1,1,1,,\n1,x,0,1,1,2,,\n", ", line 3: t is 'x'; give a whole number"),
        (HEADER + "\n1,,0,1,1,1,,\n", ", line 2: t is ''; give a whole number"),
        (HEADER + "\n1_0,0,0,1,1,1,,\n", ", line 2: track_id is '1_0'; give a whole number"),
        (
            HEADER + "\n99999999999999999999,0,0,1,1,1,,\n",
            ", line 2: track_id is '99999999999999999999', too large",
        ),
        (HEADER + "\n1,0,0,1,inf,1,,\n", ", line 2: x is 'inf'; give a finite number"),
        (HEADER + "\n1,0,0,,1,1,,\n", ", line 2: y is ''; give a number"),
        (HEADER + "\n1,0,0,1,1,1,-2,\n", ", line 2: parent_track_id is -2; no parent is -1 or blank"),
        (
            "fov_name," + HEADER + "\nA/2/0,1,0,0,1,1,1,,\n",
            ", line 2: fov_name is 'A/2/0', but the file's name says",
        ),
    ],
)
def test_malformed_tables(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'A_1_0.csv'}{expected}")


def states(tmp_path: Path, text: str) -> pd.DataFrame:
    tracks = read(tmp_path, f"{HEADER}\n1,0,0,1,1,1,,\n1,1,0,1,1,2,,1\n")
    path = tmp_path / "states.csv"
    path.write_text(text)
    return read_state_csv(path, {"A/1/0": tracks})


def test_states_keep_their_types_and_their_gaps(tmp_path: Path) -> None:
    table = states(tmp_path, "t,fov_name,state,track_id,hours\n1,/A/1/0,infected,1,\n0,A/1/0,,1,2.5\n")
    assert table.columns.tolist() == ["fov_name", "track_id", "t", "state", "hours"]
    assert table["hours"].tolist()[0] == 2.5
    assert table.isna().to_numpy().sum(axis=0).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fov_name,track_id,t\nA/1/0,1,0\n", ": no annotation column"),
        ("fov_name,t,s\nA/1/0,1,0\n", ": column 'track_id' is missing"),
        ("fov_name,track_id,t,s\nA/2/0,1,0,x\n", ", line 2: fov_name 'A/2/0' has no tracks"),
        (
            "fov_name,track_id,t,s\nA/1/0,1,0,x\nA/1/0,1,5,x\n",
            ", line 3: track 1 of A/1/0 has no cell at t=5",
        ),
        (
            "fov_name,track_id,t,s\nA/1/0,1,0,x\nA/1/0,1,0,y\n",
            ", line 3: track 1 of A/1/0 is given twice at t=0",
        ),
    ],
)
def test_malformed_states(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(BadInputError) as caught:
        states(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'states.csv'}{expected}")


@pytest.mark.needs_shared
def test_the_real_track_list() -> None:
    table = read_ctc_tracks(shared_data("ctc_ecoli") / "01_GT" / "TRA" / "man_track.txt")
    assert len(table) == 262
    parents = table.loc[table["parent"] > 0, "parent"].value_counts()
    assert int((parents == 2).sum()) == 130
