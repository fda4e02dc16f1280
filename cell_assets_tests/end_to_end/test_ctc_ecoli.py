"""The real colony of *E. coli*, from Cell Tracking Challenge folders to a number with a history."""

import json
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import tifffile
from iohub import open_ome_zarr
from ome_zarr_models import open_ome_zarr as validate_ome_zarr

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.recipes import AssetName
from cell_assets.audit.cell import explain_cell
from cell_assets.audit.explain import explain
from cell_assets.audit.explanation_json import to_json
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunOutcome, RunRequest, plan_experiment, run_experiment
from cell_assets.automation.session import Session, open_session
from cell_assets.definitions import build_defs
from cell_assets.evaluation.manifest import read_manifest
from cell_assets.evaluation.scores.probe_splits import lineage_folds
from cell_assets.evaluation.scores.task_scores import evaluate_task
from cell_assets.evaluation.scores.tasks import about_to_divide
from cell_assets.evaluation.studies.embedding_study import read_embeddings
from cell_assets.evaluation.studies.evaluate import canonical_order
from cell_assets.imaging.track_tables import division_count
from cell_assets.settings import Settings
from cell_assets_tests.shared_data import shared_data

FOV = "colony|A/1/000"
FEW_STEPS = {
    "training": {
        "dynaclr": {"preset": "quick", "changes": {"tau_min": 5, "max_steps": 4, "patch_side_px": 32}}
    }
}

pytestmark = pytest.mark.needs_shared


def ingest_ecoli(session: Session) -> None:
    """The movie with its given tracks; voxel size and interval are stated by the test, the source has none."""
    ingest_plate(
        session,
        IngestRequest(
            source=str(shared_data("ctc_ecoli")),
            experiment="ecoli",
            plate="colony",
            format="ctc",
            channel_names=("Phase",),
            pixel_size_um=(0.065, 0.065),
            interval_min=5,
        ),
    )


def run_ecoli(session: Session, request: RunRequest) -> RunOutcome:
    """Record the choices and make everything."""
    plan_experiment(session, request)
    return run_experiment(session, request)


@pytest.fixture(scope="module")
def colony(new_lab: Callable[[], Settings]) -> Iterator[Session]:
    """The movie ingested, and everything made of it with a training of a few steps."""
    with open_session(new_lab(), build_defs) as session:
        ingest_ecoli(session)
        outcome = run_ecoli(session, RunRequest(experiment="ecoli", choices=FEW_STEPS))
        assert outcome.failed == ()
        yield session


def test_every_pixel_is_the_sources(colony: Session) -> None:
    plate, _ = colony.store.read(AssetName.RAW_ACQUISITION, "colony")
    with open_ome_zarr(plate / "plate.zarr") as stored:
        image = stored["A/1/000"]["0"]
        for t in range(45):
            source = tifffile.imread(shared_data("ctc_ecoli") / "01" / f"t{t:03d}.tif")
            np.testing.assert_array_equal(image[t, 0, 0], source)


def test_the_plate_is_valid_for_others(colony: Session) -> None:
    plate, _ = colony.store.read(AssetName.RAW_ACQUISITION, "colony")
    model = validate_ome_zarr(str(plate / "plate.zarr"))
    assert [well.path for well in model.attributes.ome.plate.wells] == ["A/1"]


def test_all_tracks_and_divisions_arrive(colony: Session) -> None:
    folder, _ = colony.store.read(AssetName.TRACKS, FOV)
    tracks = pd.read_parquet(folder / "tracks.parquet")
    assert tracks["track_id"].nunique() == 262
    assert division_count(tracks) == 130
    listed = np.loadtxt(shared_data("ctc_ecoli") / "01_GT" / "TRA" / "man_track.txt", dtype=int)
    spans = tracks.groupby("track_id")["t"].agg(["min", "max"])
    np.testing.assert_array_equal(spans.loc[listed[:, 0]].to_numpy(), listed[:, 1:3])


def test_the_report_says_how_well_divisions_are_foreseen_beside_its_rivals(colony: Session) -> None:
    numbers = {
        number.draft.name: number.draft
        for number in colony.ledger.numbers("ecoli", "dynaclr/about_to_divide")
    }
    embedding = numbers["average_precision"]
    assert embedding.ci_low < embedding.value < embedding.ci_high
    assert "test" in embedding.split
    chance = numbers["average_precision_chance"]
    length = numbers["average_precision_length_alone"]
    assert 0.1 < chance.value < 0.35
    assert chance.value < length.value <= 1
    both = numbers["average_precision_both"]
    gain = numbers["average_precision_gain_of_both_over_length_alone"]
    assert gain.value == pytest.approx(both.value - length.value)
    assert gain.ci_low < gain.value < gain.ci_high


def test_length_foresees_divisions_in_the_other_founders_cells(colony: Session) -> None:
    """Both founders' cells, each scored by a probe of the other's; what the embedding says hangs on its training."""
    folder, _ = colony.store.read("dynaclr_embeddings", "ecoli|colony")
    cells = read_embeddings([folder]).cells
    manifest, _ = colony.store.read(AssetName.EXPERIMENT_MANIFEST, "ecoli")
    tracks = read_manifest(manifest)[1].every_track(cells)
    labels = about_to_divide(cells, 5.0, 5.0, tracks)  # the last two frames before a division
    order = canonical_order(cells)
    cells, labels = cells.iloc[order].reset_index(drop=True), labels.reordered(order)
    split = lineage_folds(cells, labels, np.ones(len(cells), dtype=bool), 2)
    length = cells["length_um"].to_numpy(dtype=np.float64)[:, None]
    found = evaluate_task(length, cells, labels, [], split, seed=0, n_resamples=200, source_rows=order)
    precision = found.score("average_precision")
    assert precision.value == pytest.approx(0.744, abs=0.002)
    assert 0.66 < precision.low < 0.72 and 0.79 < precision.high < 0.85
    assert found.prevalence.value == pytest.approx(0.205, abs=0.001)
    assert (found.split, found.n_units_name, precision.n_units) == ("2 folds by lineage", "tracks", 246)


def test_the_number_is_explained_down_to_the_raw_plate(colony: Session) -> None:
    (number,) = [
        one
        for one in colony.ledger.numbers("ecoli", "dynaclr/about_to_divide")
        if one.draft.name == "average_precision"
    ]
    explained = json.loads(to_json(explain(colony.ledger, number.id)))
    digests = {a["asset"]: a["digest"] for a in explained["artifacts"]}
    raw = colony.ledger.latest(AssetName.RAW_ACQUISITION, "colony")
    assert raw is not None
    assert digests["raw_acquisition"] == raw.artifact.digest
    assert {"tracks", "patch_table", "dynaclr_checkpoint", "dynaclr_embeddings"} <= digests.keys()


def test_one_prediction_is_walked_back_to_the_bytes_that_show_its_cell(colony: Session) -> None:
    number = next(iter(colony.ledger.numbers("ecoli", "dynaclr/about_to_divide")))
    for row in (0, 100, 400):
        cell = explain_cell(colony.store, number.id, row)
        assert cell.gives_patch
        assert (cell.plate, cell.lineage[-1].asset) == ("colony", "raw_acquisition")
        # A cell of one channel lies in one frame, and a frame of this size in one chunk.
        (chunk,) = cell.chunks
        assert (chunk.start[0], chunk.stop[0]) == (cell.t, cell.t + 1)
        raw = colony.store.path_of(cell.lineage[-1])
        assert chunk.offset + chunk.n_bytes < (raw / chunk.file).stat().st_size


def test_a_second_run_finds_everything_current(colony: Session) -> None:
    before = {a.id for a in colony.ledger.artifacts()}
    outcome = run_ecoli(colony, RunRequest(experiment="ecoli"))
    assert outcome.failed == ()
    assert {a.id for a in colony.ledger.artifacts()} == before


@pytest.mark.slow
def test_ultrack_from_the_pixels_alone_agrees_with_the_given_tracks(
    new_lab: Callable[[], Settings],
) -> None:
    with open_session(new_lab(), build_defs) as session:
        ingest_ecoli(session)
        request = RunRequest(
            experiment="ecoli", segmentation="threshold", tracking="ultrack", choices=FEW_STEPS
        )
        assert run_ecoli(session, request).failed == ()
        scores = {n.draft.name: n.draft.value for n in session.ledger.numbers(report="tracking/ultrack")}
    assert scores["TRA"] > 0.85
    assert scores["DET"] > 0.9
