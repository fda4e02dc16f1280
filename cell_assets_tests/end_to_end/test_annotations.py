"""Cells annotated by hand: the report alone is made again, states more, and its numbers lead to the file."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from blake3 import blake3
from napari.components import ViewerModel
from napari.layers import Layer

from cell_assets.assets.annotations import (
    AnnotatedPosition,
    AnnotationRequest,
    annotate_cells,
    file_digest,
)
from cell_assets.assets.partitions import fov_key
from cell_assets.audit.recompute import recompute
from cell_assets.automation.annotating import annotate_position
from cell_assets.automation.session import Session
from cell_assets.automation.viewing import fov_view
from cell_assets.imaging.annotation_history import AnnotationHistory, read_annotation_history
from cell_assets.imaging.tracking import read_tracks
from cell_assets.settings import Settings
from cell_assets.store.store import Store
from cell_assets_tests.end_to_end.lab import (
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    opened,
    run,
    small_run,
    successful_runs,
    tiny_plate,
)

pytestmark = pytest.mark.slow

POSITIONS = ("A/1/000", "A/1/001", "A/2/000", "A/2/001")
FIRST, SECOND, THIRD, UNTOUCHED = POSITIONS
MADE_BEFORE = ("segmentation", "tracks", "patch_table", "experiment_manifest", "dynaclr_checkpoint")


def key_of(position: str) -> str:
    return fov_key("P1", position)


def tracks_of(session: Session, position: str) -> pd.DataFrame:
    return read_tracks(session.store.read("tracks", key_of(position)).path)


def annotations_of(session: Session, position: str) -> AnnotationHistory:
    return read_annotation_history(session.store.read("annotations", key_of(position)).path)


def notes_of(session: Session) -> str:
    return (session.store.read("dynaclr_report", "E1").path / "report.html").read_text()


def runs_made(session: Session) -> dict[str, set[int]]:
    return {asset: set(successful_runs(session, asset)) for asset in (*MADE_BEFORE, "dynaclr_embeddings")}


def write_halves(tracks: pd.DataFrame, path: Path, column: str = "cycle") -> pd.DataFrame:
    """Every cell annotated: the left half of the image is `early`, the right half `late`."""
    table = tracks[["track_id", "t"]].copy()
    table[column] = ["early" if x < tracks["x"].median() else "late" for x in tracks["x"]]
    table.to_csv(path, index=False)
    return table


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lab with a whole report."""
    settings = new_lab()
    plate = tiny_plate(tmp_path_factory.mktemp("plates") / "six_frames", fovs_per_well=2, time_points=6)
    assert cell_assets(settings, "ingest", *plate.arguments("E1", "P1")).code == 0
    with opened(settings) as session:
        assert run(session, small_run("E1")).failed == ()
    return settings


def test_a_new_state_becomes_a_task_and_leads_back_to_its_file(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        before, rows = runs_made(session), 0
        assert not [one for one in session.ledger.numbers("E1") if one.draft.report == "dynaclr/cycle"]
        for position in POSITIONS[:3]:
            file = tmp_path / f"cycle_{position.replace('/', '_')}.csv"
            rows += len(write_halves(tracks_of(session, position), file))
            said = cell_assets(
                lab, "annotate", "P1", position, str(file), "--why", "by eye", "--by", "M. Curie", "--json"
            )
            assert said.code == 0, said.err
            result = json.loads(said.out)
            assert result["file_digest"] == blake3(file.read_bytes()).hexdigest()
            assert (result["rows"], result["unjoined"]) == (result["cells"], [])
            assert result["joins"] == {"exact": result["rows"]}
        outcome = run(session, small_run("E1"))
        assert outcome.failed == ()
        assert runs_made(session) == before, "the report alone rests on annotations"

        numbers = [one for one in session.ledger.numbers("E1") if one.draft.report == "dynaclr/cycle"]
        assert {"average_precision"} <= {one.draft.name for one in numbers}
        scored = next(one for one in numbers if one.draft.name == "average_precision")
        assert (
            f"cycle: 0 labels were given at ingest and {rows} come from annotations of 3 FOVs."
            in notes_of(session)
        )
        explained = cell_assets(lab, "explain", str(scored.id), "--json")
        assert explained.code == 0, explained.err
        for words in (result["file_digest"], file.name, "M. Curie", "by eye"):
            assert words in explained.out
        assert recompute(session.store, scored.id).agrees
        report = session.ledger.latest("dynaclr_report", "E1")
        assert report is not None
        assert {one.partition for one in report.inputs if one.asset == "annotations"} == {
            key_of(position) for position in POSITIONS[:3]
        }
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)


def test_an_annotation_holds_over_what_came_with_the_plate(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        raw, _ = session.store.read("raw_acquisition", "P1")
        given = pd.read_parquet(raw / "annotations" / "states.parquet")
        here = given[(given["fov_name"] == SECOND) & given["infection_state"].notna()]
        flipped = here.head(3)[["track_id", "t"]].assign(infection_state=["seen"] * 3)
        flipped.to_csv(tmp_path / "seen.csv", index=False)
        said = cell_assets(lab, "annotate", "P1", SECOND, str(tmp_path / "seen.csv"), "--why", "looked again")
        assert said.code == 0, said.err
        assert f"{key_of(SECOND)}: 3 rows about infection_state are of 3 cells (3 exact)" in said.out
        # What was said of them before in another column stays.
        assert {"cycle", "infection_state"} == set(annotations_of(session, SECOND).record.states)
        assert run(session, small_run("E1")).failed == ()
        assert "3 of these hold in place of another state that was given at ingest: " in notes_of(session)
        for row in here.head(3).to_dict("records"):
            cell = f"P1 {SECOND} track {row['track_id']} t={row['t']} {row['infection_state']} → seen (seen.csv by "
            assert cell in notes_of(session)
        assert_dagster_agrees(session)


def test_annotations_follow_tracks_that_were_corrected(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        found = tracks_of(session, THIRD)
        childless = found[~found["track_id"].isin(found["parent_track_id"])]
        track = int(childless.groupby("track_id").size().idxmax())
        fixes = tmp_path / "fixes.csv"
        fixes.write_text(f"action,track_id,t,other_track_id\nsplit,{track},3,900\ndelete,{track},0,\n")
        assert cell_assets(lab, "correct", "P1", THIRD, str(fixes), "--why", "two cells were one").code == 0
        before = annotations_of(session, THIRD)
        assert run(session, small_run("E1")).failed == ()

        after = annotations_of(session, THIRD)
        assert after.record == before.record
        moved = after.cells[after.cells["track_id"] == 900]
        was = before.cells[(before.cells["track_id"] == track) & (before.cells["t"] >= 3)]
        assert len(moved) > 0
        assert moved["cycle"].tolist() == was["cycle"].tolist()
        assert set(moved["join"]) == {"carried"}
        assert after.unjoined["reason"].tolist() == [
            f"its cell, then of track {track}, is no longer among the tracks"
        ]
        assert f"Annotations of P1 {THIRD}: 1 could not be joined to a cell" in notes_of(session)

        # A cell's own history goes through the tracks of now, and the files are still behind the number.
        scored = [one for one in session.ledger.numbers("E1") if one.draft.report == "dynaclr/cycle"][-1]
        explained = cell_assets(lab, "explain", str(scored.id), "--json")
        assert "cycle_A_2_000.csv" in explained.out
        report = session.store.read_artifact(scored.artifact_id).path
        rows = pd.read_parquet(report / "predictions" / "cycle.parquet")
        at = rows.index[(rows["fov_name"] == THIRD)][0]
        cell = cell_assets(lab, "explain", str(scored.id), "--cell", str(at), "--json")
        assert cell.code == 0, cell.err
        newest = session.store.read("tracks", key_of(THIRD)).receipt
        assert newest.digest in cell.out
        assert_dagster_agrees(session)


def test_a_withdrawn_annotation_falls_away(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        file = tmp_path / "mood.csv"
        write_halves(tracks_of(session, FIRST), file, "mood")
        said = cell_assets(lab, "annotate", "P1", FIRST, str(file), "--why", "a try", "--json")
        artifact = json.loads(said.out)["artifact"]
        assert run(session, small_run("E1")).failed == ()
        assert "mood: 0 labels" in notes_of(session)
        tombstone = cell_assets(lab, "impact", f"artifact:{artifact}", "--tombstone", "--why", "made up")
        assert tombstone.code == 0, tombstone.err
        assert run(session, small_run("E1")).failed == ()
        assert "mood: 0 labels" not in notes_of(session)
        assert "cycle: 0 labels" in notes_of(session)
        assert_dagster_agrees(session)


def test_painted_labels_say_the_state_of_whole_cells(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        tracks = tracks_of(session, UNTOUCHED)
        image = np.zeros((6, 64, 64), np.uint32)
        image[2] = 2
        tifffile.imwrite(tmp_path / "painted.tif", image)
        given = ("--column", "painted", "--state", "1=no", "--state", "2=yes")
        said = cell_assets(
            lab,
            "annotate",
            "P1",
            UNTOUCHED,
            str(tmp_path / "painted.tif"),
            "--why",
            "a look",
            *given,
            "--json",
        )
        assert said.code == 0, said.err
        history = annotations_of(session, UNTOUCHED)
        here = tracks[tracks["t"] == 2]
        assert history.cells["track_id"].tolist() == here["track_id"].tolist()
        assert set(history.cells["t"]) == {2} and set(history.cells["painted"]) == {"yes"}
        expected = ["centroid" if missing else "mask" for missing in here["label"].isna()]
        assert history.cells["join"].tolist() == expected
        assert "mask" in expected
        assert_nothing_left(session)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "track_id,t,s\n{track},0,a\n{track},0,b\n",
            "bad.csv, line 3: s is 'b' for track {track} at t=0, but line 2",
        ),
        (
            "track_id,t,s\n77777,0,a\n",
            "bad.csv, line 2: there is no track 77777; none of the 1 annotations has",
        ),
        ("track_id,t\n{track},0\n", "bad.csv, line 1: there is no column of states beside track_id, t"),
        ("t,y,x,s\n0,1000,1000,a\n", "bad.csv, line 2: no cell lies within 4 px at t=0"),
    ],
    ids=["two states", "no such track", "no states", "far away"],
)
def test_a_bad_file_costs_one_sentence_and_leaves_nothing(
    lab: Settings, tmp_path: Path, text: str, message: str
) -> None:
    with opened(lab) as session:
        tracks = tracks_of(session, UNTOUCHED)
        track = int(tracks.loc[tracks["t"] == 0, "track_id"].iloc[0])
        (tmp_path / "bad.csv").write_text(text.format(track=track))
        before = session.ledger.attempts("annotations", key_of(UNTOUCHED))
        said = cell_assets(lab, "annotate", "P1", UNTOUCHED, str(tmp_path / "bad.csv"), "--why", "a try")
        assert said.code == 1
        (line,) = said.error_lines
        assert message.format(track=track) in line
        assert session.ledger.attempts("annotations", key_of(UNTOUCHED)) == before
        assert_nothing_left(session)


def test_names_that_are_not_there_are_refused(lab: Settings, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("track_id,t,s\n1,0,a\n")
    cases = {
        ("annotate", "P9", FIRST, str(file), "--why", "a try"): "plate P9 is not registered",
        (
            "annotate",
            "P1",
            "H/1/000",
            str(file),
            "--why",
            "a try",
        ): "plate P1 has no position H/1/000; it has",
        ("annotate", "P1", FIRST, "no.csv", "--why", "a try"): "no.csv: there is no such file",
        ("annotate", "P1", FIRST, str(file), "--why", " "): "--why is empty",
        (
            "annotate",
            "P1",
            FIRST,
            str(file),
            "--why",
            "a",
            "--state",
            "2",
        ): "--state '2': give a value and its name",
        ("annotate", "P1", FIRST, str(file), "--why", "a", "--state", "2=a", "--state", "2=b"): "keep one",
    }
    for arguments, message in cases.items():
        said = cell_assets(lab, *arguments)
        assert said.code == 1, arguments
        (line,) = said.error_lines
        assert message in line


def test_a_run_without_a_file_makes_nothing_where_tracks_are_as_they_were(lab: Settings) -> None:
    with opened(lab) as session:
        before = set(successful_runs(session, "annotations"))
        with session.executor() as executor:
            outcome = executor.materialise(
                ["annotations"], partition_range=(key_of(FIRST), key_of(UNTOUCHED))
            )
            assert outcome.error is None
        assert set(successful_runs(session, "annotations")) == before


def test_one_fov_is_shown_with_everything_that_stands_of_it(lab: Settings) -> None:
    with opened(lab) as session:
        view = fov_view(session.store, "E1", "P1", FIRST)
        tracks = tracks_of(session, FIRST)
        embedded = anndata.read_zarr(
            session.store.read("dynaclr_embeddings", "E1|P1").path / "embeddings.zarr"
        )
    viewer = ViewerModel()
    for layer in view.layers:
        viewer.add_layer(Layer.create(*layer))
    layers = {layer.name: layer for layer in viewer.layers}
    assert {"cells", "tracks", "dynaclr_embeddings", "annotations"} < set(layers)
    assert (view.title, view.absent) == (f"E1 {key_of(FIRST)}", ())
    assert len(layers["tracks"].data) == len(tracks)
    points = layers["dynaclr_embeddings"]
    here = embedded[embedded.obs["fov_name"] == FIRST]
    assert len(points.data) == here.n_obs
    first = points.features.iloc[0]
    row = (here.obs["track_id"] == first["track_id"]) & (here.obs["t"] == first["t"])
    assert [abs(first["umap_1"]), first["umap_2"]] == pytest.approx(
        [abs(here.obsm["X_umap"][row.to_numpy()][0, 0]), here.obsm["X_umap"][row.to_numpy()][0, 1]], rel=1e-6
    )
    assert "cycle" in layers["annotations"].features.columns


def test_napari_without_a_window_says_what_is_missing(lab: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    said = cell_assets(lab, "napari", "E1", "P1", FIRST)
    assert said.code == 1
    (line,) = said.error_lines
    assert "pip install '.[lab,napari]'" in line or "there is no display here" in line


def test_a_state_that_a_later_file_replaces_is_named_and_kept(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        two = tracks_of(session, UNTOUCHED).sort_values(["track_id", "t"]).head(2)[["track_id", "t"]]
        two.assign(mitosis="no").to_csv(tmp_path / "anna.csv", index=False)
        two.assign(mitosis=["no", "yes"]).to_csv(tmp_path / "ben.csv", index=False)
        two.assign(mitosis=["yes", "yes"]).to_csv(tmp_path / "eve.csv", index=False)
        for name, *form in (("anna",), ("ben",), ("eve", "--json")):
            file = str(tmp_path / f"{name}.csv")
            said = cell_assets(lab, "annotate", "P1", UNTOUCHED, file, "--why", "a look", "--by", name, *form)
            assert said.code == 0, said.err
            if name == "ben":
                track, t = two.iloc[1]
                assert "1 states of earlier files are replaced" in said.out
                line = f"  {UNTOUCHED} track {track} t={t}: mitosis no → yes (before: anna.csv by anna)"
                assert line in said.out.splitlines()
        result = json.loads(said.out)
        track, t = two.iloc[0].tolist()
        cell = {"fov_name": UNTOUCHED, "track_id": track, "t": t, "column": "mitosis"}
        earlier = {
            "name": "ben.csv",
            "digest": blake3((tmp_path / "ben.csv").read_bytes()).hexdigest(),
            "by": "ben",
        }
        assert result["replaced"] == 1
        assert result["replaced_states"] == [cell | {"before": "no", "after": "yes", "earlier": earlier}]

        folder = session.store.read("annotations", key_of(UNTOUCHED)).path
        kept = pd.read_parquet(folder / "replaced.parquet")
        kept = kept[kept["column"] == "mitosis"]
        assert kept[["track_id", "t", "before", "after"]].to_numpy().tolist() == [
            [*two.iloc[1], "no", "yes"],
            [*two.iloc[0], "no", "yes"],
        ]
        files = annotations_of(session, UNTOUCHED).record.files
        assert [(files[row["file"]].by, files[row["before_file"]].by) for _, row in kept.iterrows()] == [
            ("ben", "anna"),
            ("eve", "ben"),
        ]


def test_what_is_told_is_what_was_published_after_somebody_else_came_first(
    lab: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(lab) as session:
        one = tracks_of(session, UNTOUCHED).head(1)[["track_id", "t"]]

        def request(by: str, state: str) -> AnnotationRequest:
            file = tmp_path / f"{by}.csv"
            one.assign(shape=state).to_csv(file, index=False)
            return AnnotationRequest(
                plate="P1",
                position=UNTOUCHED,
                file=str(file),
                digest=file_digest(file),
                by=by,
                why="a look",
            )

        def foresee(store: Store, asked: AnnotationRequest) -> AnnotatedPosition:
            foreseen = annotate_cells(store, asked)
            monkeypatch.undo()
            assert annotate_position(session, request("anna", "round")).replaced == 0
            return foreseen

        monkeypatch.setattr("cell_assets.automation.annotating.annotate_cells", foresee)
        told = annotate_position(session, request("ben", "long"))
        (change,) = told.replaced_states
        assert (told.replaced, change.before, change.after) == (1, "round", "long")
        assert change.earlier is not None and change.earlier.by == "anna"
