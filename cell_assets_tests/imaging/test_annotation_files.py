from pathlib import Path

import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import ReadingChoices, read_annotation_csv
from cell_assets.imaging.annotations import GivenAnnotations
from cell_assets_tests.imaging.annotated_cells import PLATE_NAME, POSITION


def read(folder: Path, text: str, choices: ReadingChoices | None = None) -> GivenAnnotations:
    path = folder / "labels.csv"
    path.write_text(text)
    return read_annotation_csv(path, PLATE_NAME, POSITION, choices or ReadingChoices())


def states_of(given: GivenAnnotations, column: str) -> list[tuple[str, str]]:
    return list(zip(given.rows["place"], given.rows[column], strict=True))


def test_columns_that_are_no_keys_are_states(tmp_path: Path) -> None:
    given = read(
        tmp_path,
        "fov_name,track_id,t,id,parent_track_id,area,cycle,pca_1,split,infection\n"
        "A/1/000,3,0,1,-1,30,mitosis,0.25,test,infected\n"
        "A/2/000,3,0,2,-1,30,mitosis,0.25,test,infected\n"
        "A/1/000,3,1,3,-1,30,,0.25,test,nan\n",
    )
    assert given.states == ("cycle", "infection")
    assert states_of(given, "cycle") == [("line 2", "mitosis")]
    assert given.n_other_fovs == 1


def test_rows_of_another_plate_are_left_aside(tmp_path: Path) -> None:
    """One file for a whole experiment: the same position and track are on every plate."""
    given = read(
        tmp_path,
        "plate,fov_name,track_id,t,infection\n"
        f"{PLATE_NAME},A/1/000,1,0,infected\n"
        "P2,A/1/000,5,3,infected\n"
        ",A/1/000,2,0,uninfected\n",
    )
    assert states_of(given, "infection") == [("line 2", "infected"), ("line 4", "uninfected")]
    assert given.n_other_fovs == 1
    with pytest.raises(
        BadInputError, match="holds no row of plate P1, position A/1/000; its 1 rows are of other"
    ):
        read(tmp_path, "plate,track_id,t,infection\nP2,5,3,infected\n")


def test_numbers_are_names_of_states_without_their_point(tmp_path: Path) -> None:
    """As napari writes them where every feature is a number."""
    given = read(
        tmp_path, "index,axis-0,axis-1,axis-2,infection\n0.0,1.0,3.5,4.25,1.0\n1.0,2.0,1.0,1.0,2.0\n"
    )
    assert states_of(given, "infection") == [("line 2", "1"), ("line 3", "2")]
    assert given.rows[["t", "y", "x"]].to_numpy(float).tolist() == [[1, 3.5, 4.25], [2, 1, 1]]
    assert given.rows["z"].isna().all() and given.rows["track_id"].isna().all()
    named = ReadingChoices(names={"1": "uninfected", "2": "infected"})
    given = read(tmp_path, "t,y,x,infection\n1,3,4,1.0\n2,1,1,2\n", named)
    assert states_of(given, "infection") == [("line 2", "uninfected"), ("line 3", "infected")]


@pytest.mark.parametrize(
    ("axes", "values", "place"),
    [
        ("axis-0,axis-1,axis-2", "1,2,3", (1, None, 2, 3)),
        ("axis-0,axis-1,axis-2,axis-3", "1,2,3,4", (1, 2, 3, 4)),
        ("axis-0,axis-1,axis-2,axis-3,axis-4", "1,9,2,3,4", (1, 2, 3, 4)),
    ],
)
def test_axes_of_points_by_their_number(
    tmp_path: Path, axes: str, values: str, place: tuple[int | None, ...]
) -> None:
    given = read(tmp_path, f"index,{axes},infection\n0,{values},infected\n")
    (row,) = given.rows[["t", "z", "y", "x"]].to_dict("records")
    assert tuple(None if pd.isna(value) else value for value in row.values()) == place


def test_a_moved_point_is_where_it_is_and_not_where_its_features_say(tmp_path: Path) -> None:
    given = read(tmp_path, "index,axis-0,axis-1,axis-2,t,y,infection\n0,1,2,3,7,8,infected\n")
    assert given.rows[["t", "y", "x"]].to_numpy(float).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is empty"),
        (
            "track_id,infection\n3,infected\n",
            ", line 1: the columns are track_id, infection; annotations need t",
        ),
        ("t,y,infection\n3,1,infected\n", ", line 1: the columns are t, y, infection; annotations need t"),
        ("track_id,t\n3,1\n", ", line 1: there is no column of states beside track_id, t; add one"),
        ("track_id,t,infection\n", ": holds no row of plate P1, position A/1/000"),
        (
            "fov_name,track_id,t,s\nB/1/000,3,1,a\n",
            ": holds no row of plate P1, position A/1/000; its 1 rows are of other plates or positions",
        ),
        ("track_id,t,infection\n3,1,\n", ": none of its 1 rows names a state in infection"),
        (
            "track_id,t,infection\n3,1.5,infected\n",
            ", line 2: t is '1.5'; a time point is a whole number of frames",
        ),
        ("track_id,t,infection\n3,inf,infected\n", ", line 2: t is 'inf'; give a finite number"),
        ("track_id,t,infection\nx,1,infected\n", ", line 2: track_id is 'x'; give a whole number"),
        ("t,y,x,infection\n1,a,1,infected\n", ", line 2: y is 'a'; give a finite number"),
        (
            "t,y,x,infection\n1,1,,infected\n",
            ", line 2: says t 1, y 1.0; give t, and track_id or both of y and x",
        ),
        ("track_id,t,growth\n3,1,0.25\n", ", line 2: growth is '0.25'; a state is a name or a whole number"),
        (
            "index,axis-0,axis-1,s\n0,1,2,a\n",
            ", line 1: has 2 axes (axis-0, axis-1); points of a movie have three",
        ),
    ],
)
def test_what_cannot_be_read_costs_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.csv'}{message}")
    assert "\n" not in str(caught.value)


def test_the_number_of_the_file_that_said_a_state_is_no_state(tmp_path: Path) -> None:
    """Such columns come with an artifact's table that somebody edits and hands in."""
    text = "track_id,t,infection,file:infection\n3,1,yes,0\n"
    assert read(tmp_path, text).states == ("infection",)
    with pytest.raises(BadInputError, match="a column of states cannot be named 'file:infection'"):
        read(tmp_path, text, ReadingChoices(("file:infection",)))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (ReadingChoices(("cycle",)), "line 1: there is no column 'cycle'; it has track_id, t, infection"),
        (ReadingChoices(("t",)), "line 1: a column of states cannot be named 't'; rename it"),
        (
            ReadingChoices(names={"1": "infected"}),
            "line 2: infection is 'yes', which --state gives no name (it names 1)",
        ),
    ],
)
def test_choices_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, choices: ReadingChoices, message: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, "track_id,t,infection\n3,1,yes\n", choices)
    assert message in str(caught.value)
