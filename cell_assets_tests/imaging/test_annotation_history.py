import json
from pathlib import Path

import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.annotation_history import AnnotationHistory, read_annotation_history
from cell_assets_tests.imaging.annotated_cells import POSITION, family, joined


def handed_in(
    history: AnnotationHistory, folder: Path, text: str, name: str = "a.csv", by: str = "me"
) -> AnnotationHistory:
    return history.followed_by(joined(folder, text), name, "digest of " + name, by, "a test")


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
        pd.testing.assert_frame_equal(again.replaced, one.replaced)
    table = pd.read_parquet(tmp_path / "one" / "annotations.parquet")
    assert list(table.columns[:3]) == ["fov_name", "track_id", "t"]
    assert set(table["fov_name"]) == {POSITION}


def thrice(folder: Path) -> AnnotationHistory:
    """Anna says what two cells are, Ben the same of one and something else beside of both, and Eve the contrary."""
    first = handed_in(
        AnnotationHistory.none_of(POSITION),
        folder,
        "track_id,t,infection\n3,0,uninfected\n3,1,uninfected\n",
        "anna.csv",
        "Anna",
    )
    second = handed_in(
        first, folder, "track_id,t,infection,cycle\n3,0,,G1\n3,1,uninfected,G1\n", "ben.csv", "Ben"
    )
    third = "track_id,t,infection,cycle\n3,0,infected,G1\n3,1,infected,S\n5,0,infected,S\n"
    return handed_in(second, folder, third, "eve.csv", "Eve")


WHAT_EVE_REPLACED = [
    [2, 3, 0, "infection", "uninfected", "infected", 0],
    [2, 3, 1, "cycle", "G1", "S", 1],
    [2, 3, 1, "infection", "uninfected", "infected", 1],
]
LOG = ["file", "track_id", "t", "column", "before", "after", "before_file"]


def test_every_replaced_state_is_kept_with_the_file_that_said_it_last(tmp_path: Path) -> None:
    history = thrice(tmp_path)
    assert history.replaced[LOG].to_numpy().tolist() == WHAT_EVE_REPLACED
    assert [file.n_replaced for file in history.record.files] == [0, 0, 3]
    behind = [history.file_behind(3, 0, "cycle"), history.file_behind(3, 1, "infection")]
    assert [file and file.by for file in behind] == ["Eve", "Eve"]

    fourth = handed_in(history, tmp_path, "track_id,t,infection\n3,1,uninfected\n", "anna2.csv", "Anna")
    assert fourth.replaced[LOG].to_numpy().tolist() == [
        *WHAT_EVE_REPLACED,
        [3, 3, 1, "infection", "infected", "uninfected", 2],
    ]
    fourth.write(tmp_path)
    table = pd.read_parquet(tmp_path / "replaced.parquet")
    assert table.columns.tolist() == [
        "file",
        "fov_name",
        *("track_id", "t", "z", "y", "x"),
        *("column", "before", "after", "before_file"),
    ]
    assert set(table["fov_name"]) == {POSITION}
    assert table[["z", "y", "x"]].drop_duplicates().to_numpy().tolist() == [[0, 10, 10]]


def test_who_said_what_stands_follows_its_cell_into_new_tracks(tmp_path: Path) -> None:
    text = "track_id,t,infection,cycle\n3,0,uninfected,\n3,1,uninfected,G1\n"
    history = handed_in(AnnotationHistory.none_of(POSITION), tmp_path, text, "anna.csv")
    history = handed_in(history, tmp_path, "track_id,t,infection,cycle\n3,0,,G1\n3,1,infected,\n", "ben.csv")
    anew = family().assign(track_id=lambda tracks: tracks["track_id"] + 100)
    carried = history.carried_to(anew)
    found = joined(tmp_path, "track_id,t,infection,cycle\n103,0,infected,S\n103,1,uninfected,S\n", anew)
    after = carried.followed_by(found, "eve.csv", "d", "Eve", "a test")
    assert after.replaced[LOG].to_numpy().tolist() == [
        [1, 3, 1, "infection", "uninfected", "infected", 0],
        [2, 103, 0, "cycle", "G1", "S", 1],
        [2, 103, 0, "infection", "uninfected", "infected", 0],
        [2, 103, 1, "cycle", "G1", "S", 0],
        [2, 103, 1, "infection", "infected", "uninfected", 1],
    ]


def test_two_cells_that_become_one_keep_who_said_what(tmp_path: Path) -> None:
    history = handed_in(
        AnnotationHistory.none_of(POSITION), tmp_path, "track_id,t,infection\n8,3,infected\n", "anna.csv"
    )
    history = handed_in(history, tmp_path, "track_id,t,cycle\n9,3,G1\n", "ben.csv")
    anew = family()
    anew = anew[anew["track_id"] != 8].reset_index(drop=True)
    anew.loc[(anew["track_id"] == 9) & (anew["t"] == 3), "y"] = 10.0
    one = history.carried_to(anew)
    behind = [one.file_behind(9, 3, state) for state in ("infection", "cycle")]
    assert [file and file.name for file in behind] == ["anna.csv", "ben.csv"]


def version_1(folder: Path) -> Path:
    """As it was published: file 0 spoke of tracks 3 and 5, and file 1 of track 3 once more."""
    counts = {"n_unjoined": 0, "n_repeated": 0, "n_other_fovs": 0}
    said = {"by": "Anna", "why": "a test", "digest": "d"}
    files = [
        {"name": "a.csv", **said, "n_rows": 2, "n_cells": 2, **counts, "n_replaced": 0},
        {"name": "b.csv", **said, "n_rows": 1, "n_cells": 1, **counts, "n_replaced": 1},
    ]
    record = {"format": "cell_assets.annotations", "version": 1, "position": POSITION}
    record |= {"states": ["infection"], "files": files}
    (folder / "annotations.json").write_text(json.dumps(record))
    cells = {"fov_name": POSITION, "track_id": [3, 5], "t": 0, "z": 0.0, "y": [10.0, 30.0], "x": [10.0, 30.0]}
    cells |= {"infection": ["infected", "infected"], "join": "exact", "distance_px": None, "file": [1, 0]}
    pd.DataFrame(cells).to_parquet(folder / "annotations.parquet")
    unjoined = ["file", "track_id", "t", "z", "y", "x", "infection", "reason"]
    pd.DataFrame(columns=unjoined).to_parquet(folder / "unjoined.parquet")
    return folder


def test_version_1_is_read_and_written_as_version_2(tmp_path: Path) -> None:
    history = read_annotation_history(version_1(tmp_path))
    assert states(history, "infection") == {(3, 0): "infected", (5, 0): "infected"}
    assert (len(history.replaced), [file.n_replaced for file in history.record.files]) == (0, [0, 1])
    assert history.file_behind(3, 0, "infection") is None
    after = handed_in(history, tmp_path, "track_id,t,infection\n3,0,dead\n5,0,dead\n")
    # What file 1 said in which column was not kept; nothing came before file 0.
    assert after.replaced[LOG].astype(object).where(
        after.replaced[LOG].notna(), None
    ).to_numpy().tolist() == [
        [2, 3, 0, "infection", "infected", "dead", None],
        [2, 5, 0, "infection", "infected", "dead", 0],
    ]
    out = tmp_path / "again"
    out.mkdir()
    after.write(out)
    pd.testing.assert_frame_equal(read_annotation_history(out).replaced, after.replaced)
    assert json.loads((out / "annotations.json").read_text())["version"] == 2


def test_a_version_2_without_what_was_replaced_is_refused(tmp_path: Path) -> None:
    thrice(tmp_path).write(tmp_path)
    (tmp_path / "replaced.parquet").unlink()
    with pytest.raises(BadInputError, match=r"replaced\.parquet: is missing"):
        read_annotation_history(tmp_path)


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
