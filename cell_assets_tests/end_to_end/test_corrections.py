"""Tracks of one FOV corrected by hand: by a list, by an edited GEFF, withdrawn again; its neighbour is unharmed."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import zarr

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.planning import plan_plate
from cell_assets.automation.session import Session
from cell_assets.imaging.fov_chain import Stage
from cell_assets.imaging.tracking import (
    read_found_tracks,
    read_track_quality,
    read_tracking_record,
    read_tracks,
)
from cell_assets.ledger.records import ArtifactState
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    instance_of,
    opened,
    run,
    small_choices,
    small_run,
    successful_runs,
    tiny_plate,
)

FIRST, SECOND, THIRD, UNTOUCHED = "A/1/000", "A/1/001", "A/2/000", "A/2/001"
"""Each test that corrects takes a position of its own; no test corrects the last."""


def key_of(position: str) -> str:
    return fov_key("P1", position)


def tracks_of(session: Session, position: str) -> pd.DataFrame:
    return read_tracks(session.store.read("tracks", key_of(position)).path)


def a_track(tracks: pd.DataFrame) -> int:
    """One of all frames, without daughters."""
    childless = tracks[~tracks["track_id"].isin(tracks["parent_track_id"])]
    sizes = childless.groupby("track_id").size()
    return int(sizes.index[sizes == sizes.max()][0])


def make_fovs(session: Session) -> None:
    with session.executor() as executor:
        outcome = executor.materialise(
            [stage.value for stage in Stage], partition_range=(key_of(FIRST), key_of(UNTOUCHED))
        )
    assert outcome.error is None


def partitions_made(session: Session, before: dict[Stage, set[int]]) -> dict[str, list[str]]:
    """By stage, what was made since `before`."""
    return {
        stage.value: [r.partition for i, r in successful_runs(session, stage.value).items() if i not in ids]
        for stage, ids in before.items()
    }


def stand(session: Session) -> dict[Stage, set[int]]:
    return {stage: set(successful_runs(session, stage.value)) for stage in Stage}


def plan(session: Session) -> dict[str, tuple[tuple[str, ...], str]]:
    """By position that is not current, what would be made and why."""
    plans = plan_plate(
        session.store,
        "P1",
        (FIRST, SECOND, THIRD, UNTOUCHED),
        ExperimentChoices.of(session.ledger, "E1").fovs,
    )
    return {one.position: (tuple(stage.value for stage in one.make), one.why) for one in plans if one.make}


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lab with every FOV of a plate made."""
    settings = new_lab()
    plate = tiny_plate(tmp_path_factory.mktemp("plates") / "six_frames", fovs_per_well=2, time_points=6)
    assert cell_assets(settings, "ingest", *plate.arguments("E1", "P1")).code == 0
    with opened(settings) as session:
        ExperimentChoices.checked(small_choices(), "test").record(session.ledger, "E1")
        make_fovs(session)
    return settings


def test_one_corrected_fov_is_made_again_and_nothing_else(lab: Settings, tmp_path: Path) -> None:
    fixes = tmp_path / "fixes.csv"
    with opened(lab) as session:
        found = tracks_of(session, FIRST)
        track = a_track(found)
        fixes.write_text(f"action,track_id,t,other_track_id\nsplit,{track},3,900\ndelete,900,5,\n")
        said = cell_assets(
            lab,
            "correct",
            "P1",
            FIRST,
            str(fixes),
            "--why",
            "two cells were one",
            "--by",
            "M. Curie",
            "--json",
        )
        assert said.code == 0, said.err
        result = json.loads(said.out)
        n_tracks = found["track_id"].nunique()
        assert (result["tracks_before"], result["tracks_after"]) == (n_tracks, n_tracks + 1)

        assert plan(session) == {
            FIRST: (("tracks", "patch_table"), f"input track_corrections {key_of(FIRST)} is new"),
        }
        before = stand(session)
        make_fovs(session)
        assert partitions_made(session, before) == {
            "segmentation": [],
            "tracks": [key_of(FIRST)],
            "patch_table": [key_of(FIRST)],
        }
        folder, _ = session.store.read("tracks", key_of(FIRST))
        record = read_tracking_record(folder)
        assert (record.n_corrections, record.handed_back, record.n_tracks) == (2, False, n_tracks + 1)
        assert read_track_quality(folder).n_tracks == n_tracks + 1
        corrected = read_tracks(folder)
        assert corrected.loc[corrected["track_id"] == 900, "t"].tolist() == [3, 4]
        assert len(corrected) == len(found) - 1
        pd.testing.assert_frame_equal(
            read_found_tracks(folder), found[list(read_found_tracks(folder).columns)], check_dtype=False
        )
        with instance_of(session) as instance:
            newest = instance.get_latest_materialization_event(dg.AssetKey("tracks"))
        assert newest is not None and newest.asset_materialization is not None
        shown = newest.asset_materialization.metadata["track_quality"].value
        assert f"| tracks | {n_tracks + 1} |" in str(shown)
        cells = pd.read_parquet(session.store.read("patch_table", key_of(FIRST)).path / "cells.parquet")
        assert cells.loc[cells["track_id"] == 900, "t"].tolist() == [3, 4]

        # A second file applies after the first, which named track 900.
        fixes.write_text(f"action,track_id,t,other_track_id\nmerge,{track},,900\n")
        second = cell_assets(lab, "correct", "P1", FIRST, str(fixes), "--why", "it was one")
        assert second.code == 0, second.err
        outcome = run(session, small_run("E1"))
        assert outcome.failed == ()
        again = tracks_of(session, FIRST)
        assert len(again) == len(found) - 1
        assert again["track_id"].nunique() == n_tracks

        # As JSON: the text shows of many FOVs only the first with what is behind it.
        explained = cell_assets(lab, "explain", str(outcome.numbers[0]["id"]), "--json")
        assert explained.code == 0, explained.err
        for words in ("two cells were one", "M. Curie", "it was one", "fixes.csv"):
            assert words in explained.out
        # Old versions stay.
        for asset, versions in (("tracks", 3), ("track_corrections", 2)):
            kept = [one for one in session.ledger.artifacts(asset) if one.partition == key_of(FIRST)]
            assert [one.state for one in kept] == [ArtifactState.PRESENT] * versions
        assert plan(session) == {}
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)


def test_withdrawn_corrections_fall_away(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        found = session.store.read("tracks", key_of(SECOND)).receipt
        track = a_track(tracks_of(session, SECOND))
        fixes = tmp_path / "fixes.csv"
        fixes.write_text(f"action,track_id,t,other_track_id\ndelete,{track},,\n")
        said = cell_assets(lab, "correct", "P1", SECOND, str(fixes), "--why", "debris", "--json")
        artifact = json.loads(said.out)["artifact"]
        make_fovs(session)
        assert track not in set(tracks_of(session, SECOND)["track_id"])
        tombstone = cell_assets(
            lab, "impact", f"artifact:{artifact}", "--tombstone", "--why", "it was a cell"
        )
        assert tombstone.code == 0, tombstone.err
        before = stand(session)
        make_fovs(session)
        assert partitions_made(session, before)["tracks"] == [key_of(SECOND)]
        assert session.store.read("tracks", key_of(SECOND)).receipt == found
        assert plan(session) == {}
        assert_nothing_left(session)
        assert_dagster_agrees(session)


def test_an_edited_geff_comes_back_as_a_new_version(lab: Settings, tmp_path: Path) -> None:
    out = tmp_path / "tracks.geff"
    with opened(lab) as session:
        assert cell_assets(lab, "tracks", "P1", THIRD, "-o", str(out)).code == 0
        found = tracks_of(session, THIRD)
        track = a_track(found)
        cells = found[found["track_id"] == track]
        # What a person does who removes one edge: the properties are left as they are.
        edges = zarr.open_group(out)["edges/ids"]
        kept = edges[:][edges[:, 1] != cells["id"].iloc[3]]
        edges.resize(kept.shape)
        edges[:] = kept
        assert cell_assets(lab, "correct", "P1", THIRD, str(out), "--why", "checked in napari").code == 0
        make_fovs(session)
        folder, _ = session.store.read("tracks", key_of(THIRD))
        record = read_tracking_record(folder)
        assert (record.n_corrections, record.handed_back) == (0, True)
        corrected = read_tracks(folder)
        new = set(corrected["track_id"]) - set(found["track_id"])
        assert len(new) == 1
        assert corrected.loc[corrected["track_id"].isin(new), "id"].tolist() == cells["id"].iloc[3:].tolist()
        # A cell that stayed keeps its label, whichever track it is in now.
        columns = ["id", "t", "z", "y", "x", "label", "area", "length_um"]
        pd.testing.assert_frame_equal(
            corrected[columns].sort_values("id", ignore_index=True),
            found[columns].sort_values("id", ignore_index=True),
            check_dtype=False,
        )
        # Corrections of a table that was handed back apply to it.
        fixes = tmp_path / "fixes.csv"
        fixes.write_text(f"action,track_id,t,other_track_id\nmerge,{track},,{new.pop()}\n")
        assert cell_assets(lab, "correct", "P1", THIRD, str(fixes), "--why", "it was whole").code == 0
        make_fovs(session)
        columns = [name for name in found.columns if name != "parent_id"]
        pd.testing.assert_frame_equal(tracks_of(session, THIRD)[columns], found[columns], check_dtype=False)
        assert_dagster_agrees(session)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("action,track_id,t,other_track_id\nmerge,1,,77777\n", "fixes.csv, line 2: other_track_id is 77777"),
        ("action,track_id,t,other_track_id\nfuse,1,,2\n", "fixes.csv, line 2: action is 'fuse'"),
        ("action,track_id,t,other_track_id\n", "fixes.csv: holds no row"),
        ("track_id,t,y,x,id,parent_id\n1,0,1,1,1,\n1,99,1,1,2,1\n", "line 3: track 1 has t=99"),
    ],
    ids=["no such track", "no such action", "nothing", "a table of another movie"],
)
def test_a_bad_file_costs_one_sentence_and_leaves_nothing(
    lab: Settings, tmp_path: Path, text: str, message: str
) -> None:
    fixes = tmp_path / "fixes.csv"
    fixes.write_text(text)
    with opened(lab) as session:
        said = cell_assets(lab, "correct", "P1", UNTOUCHED, str(fixes), "--why", "a try")
        assert said.code == 1
        (line,) = said.error_lines
        assert message in line
        assert session.ledger.attempts("track_corrections", key_of(UNTOUCHED)) == ()
        assert_nothing_left(session)
        assert_dagster_agrees(session)


def test_names_that_are_not_there_are_refused(lab: Settings, tmp_path: Path) -> None:
    taken = tmp_path / "taken.csv"
    taken.write_text("")
    cases = {
        ("correct", "P9", UNTOUCHED, "x.csv", "--why", "a try"): "plate P9 is not registered",
        ("correct", "P1", "H/1/000", "x.csv", "--why", "a try"): "plate P1 has no position H/1/000; it has",
        ("correct", "P1", UNTOUCHED, "x.csv", "--why", "a try"): "x.csv: there is no such file",
        ("correct", "P1", UNTOUCHED, "x.csv", "--why", " "): "--why is empty",
        ("tracks", "P1", "H/1/000", "-o", str(tmp_path / "a.csv")): "plate P1 has no position H/1/000",
        ("tracks", "P1", UNTOUCHED, "-o", str(tmp_path / "a.txt")): "give a file that ends in .geff or .csv",
        ("tracks", "P1", UNTOUCHED, "-o", str(taken)): "exists already",
        ("tracks", "P1", UNTOUCHED, "-o", str(tmp_path / "no" / "a.csv")): "there is no folder",
    }
    for arguments, message in cases.items():
        said = cell_assets(lab, *arguments)
        assert said.code == 1, arguments
        (line,) = said.error_lines
        assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["taken.csv"]


def test_a_run_without_a_file_corrects_nothing(lab: Settings) -> None:
    """As when somebody materialises every asset of a UNTOUCHED in the UI."""
    with opened(lab) as session:
        with session.executor() as executor:
            outcome = executor.materialise(
                ["track_corrections"], partition_range=(key_of(FIRST), key_of(UNTOUCHED))
            )
            assert outcome.error is None
            shown = executor.instance.get_materialized_partitions(dg.AssetKey("track_corrections"))
        assert key_of(UNTOUCHED) not in shown
        assert session.ledger.attempts("track_corrections", key_of(UNTOUCHED)) == ()
