from pathlib import Path

import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_history import AnnotationHistory, read_annotation_history
from cell_assets_tests.imaging.annotated_cells import POSITION, family, joined


def handed_in(history: AnnotationHistory, folder: Path, text: str, name: str = "a.csv") -> AnnotationHistory:
    return history.followed_by(joined(folder, text), name, "digest of " + name, "me", "a test")


def states(history: AnnotationHistory, column: str) -> dict[tuple[int, int], str]:
    named = history.cells[history.cells[column].notna()]
    return {(row["track_id"], row["t"]): row[column] for row in named.to_dict("records")}


FIRST = "track_id,t,infection\n3,0,uninfected\n3,1,uninfected\n77,0,infected\n"


def test_a_later_file_adds_and_replaces_and_a_blank_leaves_what_stood(tmp_path: Path) -> None:
    first = handed_in(AnnotationHistory.none_of(POSITION), tmp_path, FIRST)
    second = handed_in(
        first, tmp_path, "track_id,t,infection,cycle\n3,1,infected,\n3,0,,mitosis\n5,0,infected,\n", "b.csv"
    )
    assert states(first, "infection") == {(3, 0): "uninfected", (3, 1): "uninfected"}
    assert states(second, "infection") == {(3, 0): "uninfected", (3, 1): "infected", (5, 0): "infected"}
    assert states(second, "cycle") == {(3, 0): "mitosis"}
    assert second.cells["file"].tolist() == [1, 1, 1]
    assert [file.n_replaced for file in second.record.files] == [0, 1]
    assert [file.n_unjoined for file in second.record.files] == [1, 0]
    assert second.unjoined[["file", "track_id", "reason"]].to_numpy().tolist() == [
        [0, 77, "there is no track 77"]
    ]
    assert second.record.states == ("cycle", "infection")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    history = handed_in(AnnotationHistory.none_of(POSITION), tmp_path, FIRST)
    for name, one in {
        "one": history,
        "two": handed_in(history, tmp_path, "t,y,x,s\n0,30,30,a\n", "b.csv"),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        one.write(folder)
        again = read_annotation_history(folder)
        assert again.record == one.record
        pd.testing.assert_frame_equal(again.cells, one.cells)
        pd.testing.assert_frame_equal(again.unjoined, one.unjoined)
    table = pd.read_parquet(tmp_path / "one" / "annotations.parquet")
    assert list(table.columns[:3]) == ["fov_name", "track_id", "t"]
    assert set(table["fov_name"]) == {POSITION}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"annotations\.json: cannot be read"):
        read_annotation_history(tmp_path)
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"annotations\.json: is no record of annotations"):
        read_annotation_history(tmp_path)


def test_annotations_follow_their_cells_into_new_tracks(tmp_path: Path) -> None:
    text = "track_id,t,infection\n3,0,uninfected\n3,2,infected\n5,0,uninfected\n8,4,infected\n"
    before = handed_in(AnnotationHistory.none_of(POSITION), tmp_path, text)
    anew = family()
    # Track 3 is another one from t=1 on, 5 has moved by 3 px, 8 was not found again, 9 is as it was.
    anew.loc[(anew["track_id"] == 3) & (anew["t"] >= 1), "track_id"] = 40
    anew.loc[anew["track_id"] == 5, "y"] += 3
    anew = anew[anew["track_id"] != 8].reset_index(drop=True)
    after = before.carried_to(anew)
    rows = after.cells[["track_id", "t", "y", "infection", "join"]].to_numpy().tolist()
    assert rows == [
        [3, 0, 10.0, "uninfected", "exact"],
        [5, 0, 33.0, "uninfected", "carried"],
        [40, 2, 10.0, "infected", "carried"],
    ]
    assert after.cells["distance_px"].astype("Float64").fillna(-1).tolist() == [-1, 3, 0]
    assert after.unjoined[["t", "y", "x", "infection", "reason"]].to_numpy().tolist() == [
        [4, 6.0, 10.0, "infected", "its cell, then of track 8, is no longer among the tracks"]
    ]
    # The record of who said what stays; and tracks that did not change change nothing.
    assert after.record == before.record
    pd.testing.assert_frame_equal(before.carried_to(family()).cells, before.cells)


def test_two_states_that_come_to_one_cell_are_refused(tmp_path: Path) -> None:
    before = handed_in(
        AnnotationHistory.none_of(POSITION), tmp_path, "track_id,t,infection\n8,3,infected\n9,3,uninfected\n"
    )
    anew = family()
    anew = anew[anew["track_id"] != 8].reset_index(drop=True)
    anew.loc[(anew["track_id"] == 9) & (anew["t"] == 3), "y"] = 10.0
    message = (
        "A/1/000: .* track 9 at t=3 would now have infection 'infected' and 'uninfected'; hand in which it is"
    )
    with pytest.raises(BadInputError, match=message):
        before.carried_to(anew)
