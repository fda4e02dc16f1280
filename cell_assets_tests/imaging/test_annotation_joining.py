from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_files import ReadingChoices, read_annotation_csv
from cell_assets.imaging.annotation_history import AnnotationHistory
from cell_assets.imaging.annotation_joining import join_annotations
from cell_assets_tests.imaging.annotated_cells import PLATE_NAME, POSITION, cells_of, family, joined
from cell_assets_tests.imaging.lineages import lineages


def test_a_row_by_track_and_time_is_that_cell(tmp_path: Path) -> None:
    found = joined(tmp_path, "fov_name,track_id,t,infection\nA/1/000,3,1,uninfected\n/A/1/000,5,5,infected\n")
    assert cells_of(found, "infection") == {(3, 1): ("uninfected", "exact"), (5, 5): ("infected", "exact")}
    assert found.cells[["z", "y", "x"]].to_numpy().tolist() == [[0, 10, 10], [0, 30, 30]]
    assert found.cells["distance_px"].isna().all()
    assert found.unjoined.empty


def test_a_track_that_divided_stands_for_its_descendants(tmp_path: Path) -> None:
    found = joined(tmp_path, "track_id,t,infection\n3,4,infected\n")
    assert cells_of(found, "infection") == {
        (8, 4): ("infected", "division"),
        (9, 4): ("infected", "division"),
    }
    # Track 8 has ended by t=5, so what descends from 3 are the daughters of 9.
    found = joined(tmp_path, "track_id,t,infection\n3,5,infected\n")
    assert set(cells_of(found, "infection")) == {(20, 5), (21, 5)}


def test_a_place_tells_which_daughter_is_meant(tmp_path: Path) -> None:
    found = joined(tmp_path, "track_id,t,y,x,infection\n3,4,13,10,infected\n")
    assert cells_of(found, "infection") == {(9, 4): ("infected", "division")}
    assert found.cells["distance_px"].tolist() == [1.0]


def test_a_track_named_before_its_birth_is_its_mother(tmp_path: Path) -> None:
    found = joined(tmp_path, "track_id,t,infection\n21,4,infected\n21,0,uninfected\n")
    assert cells_of(found, "infection") == {
        (9, 4): ("infected", "division"),
        (3, 0): ("uninfected", "division"),
    }


def test_a_place_alone_is_the_nearest_cell_of_that_time(tmp_path: Path) -> None:
    # 4 px away exactly, in a 3-4-5 triangle 5 px away, and of another time only.
    text = "t,y,x,infection\n0,10,14,infected\n0,33,34,infected\n3,10.5,10,infected\n9,30,30,infected\n"
    found = joined(tmp_path, text)
    assert cells_of(found, "infection") == {
        (3, 0): ("infected", "centroid"),
        (9, 3): ("infected", "centroid"),
    }
    assert found.cells["distance_px"].tolist() == [4.0, 3.5]
    assert list(zip(found.unjoined["place"], found.unjoined["reason"], strict=True)) == [
        ("line 3", "no cell lies within 4 px at t=0; the nearest, track 5, is 5.0 px away"),
        ("line 5", "there is no cell at t=9"),
    ]
    assert found.n_rows == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("77,1,,", "there is no track 77"),
        ("8,5,,", "track 8 lives from t=3 to t=4, and no cell of its family is it at t=5"),
        ("5,9,,", "track 5 lives from t=0 to t=5, and no cell of its family is it at t=9"),
        ("3,1,20,10", "its place is 10.0 px from track 3 at t=1, more than 4 px"),
        ("3,4,20,10", "no cell lies within 4 px at t=4; the nearest, track 9, is 6.0 px away"),
        (",3,10,10", "tracks 8 and 9 are equally near at t=3"),
        ("3,3,10,10", "tracks 8 and 9 are equally near at t=3"),
    ],
)
def test_a_row_without_a_cell_is_listed_with_its_reason(tmp_path: Path, row: str, reason: str) -> None:
    found = joined(tmp_path, f"track_id,t,y,x,infection\n5,0,,,uninfected\n{row},infected\n")
    assert set(cells_of(found, "infection")) == {(5, 0)}
    assert found.unjoined[["place", "infection", "reason"]].to_numpy().tolist() == [
        ["line 3", "infected", reason]
    ]


def test_z_counts_where_it_is_given(tmp_path: Path) -> None:
    text = "t,z,y,x,infection\n0,3,10,10,infected\n1,5,10,10,infected\n2,,10,10,infected\n"
    found = joined(tmp_path, text)
    assert set(cells_of(found, "infection")) == {(3, 0), (3, 2)}
    assert "5.0 px away" in found.unjoined["reason"].iloc[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "5,0,,,uninfected\n5,0,,,infected\n",
            "line 3: infection is 'infected' for track 5 at t=0, but line 2 says 'uninfected'; keep one",
        ),
        (
            ",4,14,10,uninfected\n3,4,,,infected\n",
            "line 2: infection is 'uninfected' for track 9 at t=4, but line 3 says 'infected'; keep one",
        ),
        (
            ",0,10,11,infected\n,0,10,12,uninfected\n",
            "line 3: infection is 'uninfected' for track 3 at t=0, but line 2 says 'infected'; keep one",
        ),
    ],
    ids=["twice by track", "a daughter and her mother", "two points on one cell"],
)
def test_two_states_for_one_cell_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        joined(tmp_path, f"track_id,t,y,x,infection\n{rows}")
    assert str(caught.value) == f"{tmp_path / 'labels.csv'}, {message}"


def test_the_same_state_twice_is_kept_once_by_the_surer_join_and_counted(tmp_path: Path) -> None:
    found = joined(tmp_path, "track_id,t,y,x,infection\n,0,10,12,infected\n3,0,,,infected\n")
    assert cells_of(found, "infection") == {(3, 0): ("infected", "exact")}
    assert (found.n_rows, found.n_repeated) == (2, 1)


def test_columns_of_two_rows_of_one_cell_come_together(tmp_path: Path) -> None:
    found = joined(tmp_path, "track_id,t,infection,cycle\n3,0,infected,\n3,0,,mitosis\n")
    (row,) = found.cells.to_dict("records")
    assert (row["infection"], row["cycle"]) == ("infected", "mitosis")


def test_a_file_about_no_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"labels.csv, line 2: there is no track 77; none of the 2 annotations"
    ):
        joined(tmp_path, "track_id,t,infection\n77,1,infected\n78,1,infected\n")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_order_of_rows_decides_no_byte(tmp_path: Path, data: st.DataObject) -> None:
    tracks = data.draw(lineages())
    names = [*sorted(set(tracks["track_id"].tolist())), 10**7]
    row = st.tuples(
        st.sampled_from(["", *map(str, names)]),
        st.integers(0, 12),
        st.integers(0, 50),
        st.integers(0, 60),
        st.sampled_from([*["infected"] * 8, "uninfected", ""]),
        st.sampled_from(["mitosis", ""]),
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=12))
    # Every cell by track as well, so that most files have a row that is joined.
    first = tracks.iloc[0]
    rows.append((str(first["track_id"]), int(first["t"]), "", "", "infected", ""))  # type: ignore[arg-type]
    shuffled = data.draw(st.permutations(rows))
    folders, refusals = [], []
    for number, order in enumerate((rows, shuffled)):
        path = tmp_path / "labels.csv"
        lines = [",".join(map(str, one)) for one in order]
        path.write_text("\n".join(["track_id,t,y,x,infection,cycle", *lines, ""]))
        folder = tmp_path / f"order {number}"
        folder.mkdir(exist_ok=True)
        try:
            found = join_annotations(read_annotation_csv(path, PLATE_NAME, "A/1/0", ReadingChoices()), tracks)
        except BadInputError as refusal:
            refusals.append(str(refusal))
            continue
        # The digest of the file itself differs, of course; here both have the same.
        AnnotationHistory.none_of("A/1/0").followed_by(found, "labels.csv", "d", "me", "a test").write(folder)
        folders.append({file.name: file.read_bytes() for file in sorted(folder.iterdir())})
    assert len(refusals) in (0, 2)
    if folders:
        assert set(folders[0]) == {
            "annotations.json",
            "annotations.parquet",
            "replaced.parquet",
            "unjoined.parquet",
        }
        assert folders[0] == folders[1]


def test_the_family_is_what_the_cases_take_it_for() -> None:
    table = family()
    assert table.groupby("track_id")["t"].agg(["min", "max"]).to_numpy().tolist() == [
        [0, 2],
        [0, 5],
        [3, 4],
        [3, 4],
        [5, 5],
        [5, 5],
    ]
    assert set(table["fov_name"]) == {POSITION}
