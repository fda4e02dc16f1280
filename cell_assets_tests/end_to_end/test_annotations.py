"""Cells annotated by hand: the report alone is made again, states more, and its numbers lead to the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from blake3 import blake3

from cell_assets.assets.partitions import fov_key
from cell_assets.audit.recompute import recompute
from cell_assets.automation.session import Session
from cell_assets.imaging.annotation_history import AnnotationHistory, read_annotation_history
from cell_assets.imaging.tracking import read_tracks
from cell_assets.settings import Settings
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
