from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.track_corrections import Correction, CorrectionAction, apply_corrections
from cell_assets.imaging.track_files import read_correction_csv
from cell_assets.imaging.track_tables import check_tracks, division_count, lineage_roots
from cell_assets_tests.imaging.array_source import dividing_movie
from cell_assets_tests.imaging.lineages import EXTENT, lineages

MERGE, SPLIT, DELETE, RELINK = (
    CorrectionAction.MERGE,
    CorrectionAction.SPLIT,
    CorrectionAction.DELETE,
    CorrectionAction.RELINK,
)
HEADER = "action,track_id,t,other_track_id\n"


def applied(table: pd.DataFrame, *corrections: Correction) -> pd.DataFrame:
    return apply_corrections(table, corrections, "fixes.csv")


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["track_id", "t"], ignore_index=True)


@st.composite
def any_correction(draw: st.DrawFn, table: pd.DataFrame) -> Correction:
    """Of tracks that exist, fitting or not."""
    known = sorted(table["track_id"].unique().tolist())
    other = draw(st.sampled_from([None, *known, max(known, default=0) + 1]))
    t = draw(st.sampled_from([None, *range(EXTENT.t)]))
    action = draw(st.sampled_from(list(CorrectionAction)))
    if action in (MERGE, RELINK):
        t = None
    if action is DELETE:
        other = None
    return Correction(action, draw(st.sampled_from(known or [0])), t, other)


@settings(max_examples=150)
@given(st.data())
def test_any_sequence_that_is_accepted_leaves_a_sound_forest(data: st.DataObject) -> None:
    table = data.draw(lineages())
    cells = table.set_index("id")[["t", "z", "y", "x"]]
    corrections: list[Correction] = []
    for _ in range(data.draw(st.integers(1, 6))):
        now = applied(table, *corrections)
        correction = data.draw(any_correction(now))
        try:
            one_more = applied(now, correction)
        except BadInputError as refusal:
            assert "fixes.csv, line 2: " in str(refusal)  # never the table's own validation
            continue
        corrections.append(correction)
        check_tracks(one_more, "after", EXTENT)
        pd.testing.assert_frame_equal(applied(table, *corrections), one_more)
        left = one_more.set_index("id")[["t", "z", "y", "x"]]
        pd.testing.assert_frame_equal(left, cells.loc[left.index])
        if correction.action is not DELETE:
            assert len(one_more) == len(now)


@settings(max_examples=50)
@given(st.data())
def test_a_deleted_track_takes_nothing_with_it(data: st.DataObject) -> None:
    table = data.draw(lineages())
    gone = data.draw(st.sampled_from(sorted(table["track_id"].unique().tolist())))
    found = applied(table, Correction(DELETE, gone))
    expected = table[table["track_id"] != gone].copy()
    orphans = expected["parent_track_id"] == gone
    dead = table.loc[table["track_id"] == gone, "id"]
    expected.loc[expected["parent_id"].isin(dead), "parent_id"] = -1
    expected.loc[orphans, "parent_track_id"] = -1
    pd.testing.assert_frame_equal(found, ordered(expected))


@settings(max_examples=50)
@given(st.data())
def test_split_then_merge_is_the_same_table(data: st.DataObject) -> None:
    table = data.draw(lineages().filter(lambda drawn: drawn["track_id"].duplicated().any()))
    later = table[table["track_id"].duplicated()]
    row = later.iloc[data.draw(st.integers(0, len(later) - 1))]
    track, new = int(row["track_id"]), 2_000_000
    split = applied(table, Correction(SPLIT, track, int(row["t"]), new))
    assert set(split["track_id"]) == {*table["track_id"], new}
    assert split.loc[split["track_id"] == new, "t"].min() == row["t"]
    merged = applied(split, Correction(MERGE, track, None, new))
    pd.testing.assert_frame_equal(merged, ordered(table))


def test_each_correction_by_hand() -> None:
    _, _, table = dividing_movie()  # 1 alone; 2 (t 0-2) becomes 3 and 4 (t 3-4)
    table["lineage_root"] = lineage_roots(table)
    cut = applied(table, Correction(RELINK, 4))
    assert (division_count(table), division_count(cut)) == (1, 0)
    assert cut.loc[cut["track_id"] == 4, "lineage_root"].tolist() == [4, 4]
    assert cut.loc[cut["track_id"] == 4, "parent_id"].tolist() == [-1, 11]
    joined = applied(cut, Correction(MERGE, 2, None, 3))
    assert joined.loc[joined["track_id"] == 2, "t"].tolist() == [0, 1, 2, 3, 4]
    assert joined.loc[joined["track_id"] == 2, "parent_id"].tolist() == [-1, 6, 7, 8, 9]
    bridged = applied(joined, Correction(DELETE, 2, 3))
    assert bridged.loc[bridged["track_id"] == 2, "parent_id"].tolist() == [-1, 6, 7, 8]
    back = applied(table, Correction(RELINK, 4), Correction(RELINK, 4, None, 2))
    pd.testing.assert_frame_equal(back, table)
    assert table["track_id"].nunique() == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("merge,9,,1", "line 3: track_id is 9, which is no track of the table"),
        ("merge,1,,", "line 3: other_track_id is blank, but merge needs a track"),
        ("merge,1,2,3", "line 3: t is 2, but merge takes none"),
        ("merge,1,,2", "line 3: other_track_id is 2, which begins at t=0, but track 1 still lives at t=4"),
        ("merge,2,,3", "line 3: track_id is 2, which has the daughter 4 already"),
        ("split,1,0,9", "line 3: t is 0, but a split needs a cell of track 1 after its first"),
        ("split,1,2,3", "line 3: other_track_id is 3, but a split needs an id"),
        ("delete,1,7,", "line 3: t is 7, when track 1 has no cell"),
        ("delete,1,,2", "line 3: other_track_id is 2, but delete takes none"),
        ("relink,2,,1", "line 3: other_track_id is 1, which still lives at t=4, but track 2 begins at t=0"),
        ("relink,2,,2", "line 3: other_track_id is 2, which still lives at t=2"),
        ("rename,2,,2", "line 3: action is 'rename'; use one of merge, split, delete, relink"),
        ("split,1.5,2,9", "line 3: track_id is '1.5'; give a whole number"),
        ("split,1,two,9", "line 3: t is 'two'; give a whole number"),
        ("split,1,2", "line 3: 3 fields, but the header has 4"),
    ],
)
def test_what_does_not_fit_is_refused_with_line_column_and_value(
    tmp_path: Path, row: str, message: str
) -> None:
    _, _, table = dividing_movie()
    path = tmp_path / "fixes.csv"
    path.write_text(f"{HEADER}relink,3,,2\n{row}\n")
    with pytest.raises(BadInputError) as caught:
        apply_corrections(table, read_correction_csv(path), str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_daughter_of_another_is_not_merged_away() -> None:
    _, _, table = dividing_movie()
    cut = applied(table, Correction(DELETE, 1, 3), Correction(DELETE, 1, 4), Correction(DELETE, 1, 2))
    with pytest.raises(BadInputError, match="other_track_id is 3, which is a daughter of track 2"):
        applied(cut, Correction(MERGE, 1, None, 3))


def test_other_columns_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    path.write_text("action,track\nmerge,1\n")
    with pytest.raises(BadInputError, match="corrections need action, track_id, t, other_track_id"):
        read_correction_csv(path)
