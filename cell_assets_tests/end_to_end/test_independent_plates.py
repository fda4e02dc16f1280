"""The model of one experiment on a plate of another, filmed every 2 h instead of every 30 min."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.state_segmentation_output import state_segmentation_output
from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunOutcome, RunRequest, choose, plan_experiment
from cell_assets.automation.stages import FOV_ASSETS, runs_after_fovs
from cell_assets.errors import CellAssetsError
from cell_assets.evaluation.scores.predicted_states import STATE_SEGMENTATION, read_predicted_states
from cell_assets.imaging.acquisition import STATES
from cell_assets.ledger.records import Number
from cell_assets.methods.state_segmentation.making import make_state_segmentation
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    cell_assets,
    opened,
    run,
    small_choices,
)

pytestmark = pytest.mark.slow

SPLIT = "independent plates (simulated)"
TASK = "infection_state_independent"


@dataclass(frozen=True)
class Lab:
    settings: Settings
    refused: dict[str, str]
    """What was said of plates that are not independent, by plate."""
    outcome: RunOutcome


FOVS = {
    "segmentation": {"backend": "threshold", "channel": "mCherry", "width_um": 14},
    "patches": {"side_px": 32},
}
SEGMENTATION = {"tile_px": 32, "base_width": 8, "depth": 2, "max_steps": 3}
"""Changes to a supervised baseline of seconds."""


def asking(*plates: str) -> RunRequest:
    """A run of E1 with a supervised baseline, whose report is also about these plates."""
    baseline = {"column": "infection_state", "preset": "quick", "changes": SEGMENTATION}
    chosen = {**small_choices(), "fovs": FOVS, "baseline": baseline}
    assert isinstance(chosen["report"], dict)
    chosen["report"]["independent_plates"] = list(plates)
    return RunRequest(experiment="E1", choices=chosen)


def bright_plate(folder: Path, **parameters: float) -> PlateFolder:
    """Two wells of few slow and bright cells, of which nearly all get a label and so a ratio."""
    few = {"shape_zyx": (1, 80, 80), "voxel_um_zyx": (3.0, 1.0, 1.0), "cells_per_fov": 4}
    clear = {
        "sensor_photons": 400.0,
        "speed_um_per_hour": 1.0,
        "cycle_hours": 60.0,
        "write_true_labels": False,
    }
    simulate(folder, SimulationParameters.model_validate({**few, **clear, **parameters}))
    return PlateFolder(folder)


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """E1 with plate P1 every 30 min; E2 with P2 every 120 min; E3 with P3, which is P1 again."""
    settings, folder = new_lab(), tmp_path_factory.mktemp("plates")
    trained = bright_plate(
        folder / "trained",
        seed=1,
        fovs_per_well=2,
        time_points=6,
        interval_min=30.0,
        start_hours_post_perturbation=7.0,
    )
    other = bright_plate(folder / "other", seed=2, fovs_per_well=1, time_points=4, interval_min=120.0)
    refused = {}
    with opened(settings) as session:
        ingest_plate(session, trained.request("E1", "P1"))
        ingest_plate(session, other.request("E2", "P2"))
        ingest_plate(session, trained.request("E3", "P3"))
        for name in ("P0", "P1", "P2", "P3"):
            with pytest.raises(CellAssetsError) as raised:
                choose(session, asking(name))
            refused[name] = str(raised.value)
        assert session.ledger.choices("E1") == {}
        choose(session, RunRequest(experiment="E2", choices={**small_choices(), "fovs": FOVS}))
        positions = session.ledger.plate("P2").living_positions
        with session.executor() as executor:
            for position in positions:
                made = executor.materialise(FOV_ASSETS, partition=fov_key("P2", position))
                assert made.error is None
        outcome = run(session, asking("P2"))
    return Lab(settings, refused, outcome)


def independent(numbers: tuple[Number, ...]) -> dict[tuple[str, str], Number]:
    return {
        (one.draft.report.partition("/")[2], one.draft.name): one
        for one in numbers
        if one.draft.split == SPLIT
    }


def test_plates_that_are_not_independent_are_refused_by_name(lab: Lab) -> None:
    assert "plate P0 is not registered" in lab.refused["P0"]
    assert "plate P1 is of experiment E1 itself" in lab.refused["P1"]
    assert "has no patch table; run `cell-assets run --experiment E2` first" in lab.refused["P2"]
    assert "P3|A/1/000 shows the same pixels as P1|A/1/000 of experiment E1" in lab.refused["P3"]


def test_the_model_is_applied_and_scored_on_the_other_plate(lab: Lab) -> None:
    assert lab.outcome.failed == ()
    with opened(lab.settings) as session:
        embedded = session.ledger.latest("dynaclr_embeddings", "E1|P2")
        model = session.ledger.latest("dynaclr_checkpoint", "E1")
        report = session.ledger.latest("dynaclr_report", "E1")
        assert embedded is not None and model is not None and report is not None
        assert model.artifact.id in {one.id for one in embedded.inputs}
        read = {(one.asset, one.partition) for one in report.inputs}
        assert {("dynaclr_embeddings", "E1|P2"), ("raw_acquisition", "P2")} <= read
        assert {one.partition for one in report.inputs if one.asset == "patch_table"} == {
            fov_key(plate, position)
            for plate in ("P1", "P2")
            for position in session.ledger.plate(plate).living_positions
        }
        assert session.ledger.latest("dynaclr_embeddings", "E2|P2") is None
        numbers = independent(session.ledger.numbers("E1"))
        folder = session.store.path_of(report.artifact)
        predictions = pd.read_parquet(folder / "predictions" / "infection_state_independent.parquet")
        assert runs_after_fovs(session.store, "E1", "dynaclr") == ()
        assert_dagster_agrees(session)
    assert set(predictions["plate"]) == {"P2"}
    known = predictions.dropna(subset="label")
    accuracy = ((known["probability"] >= 0.5) == known["label"].astype(bool)).mean()
    assert numbers["infection_state_independent", "accuracy"].draft.value == pytest.approx(accuracy)
    times = {
        float(name.rpartition("_at_")[2].removesuffix("_h"))
        for report_name, name in numbers
        if report_name == "infection_state_independent_fraction"
    }
    assert sorted(b - a for a, b in zip(sorted(times), sorted(times)[1:], strict=False)) == [2.0] * 3
    assert ("infection_state_independent_onset", "interval_coverage") in numbers
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Independent plates: where their cells lie" in page
    assert "Independent plates: fraction" in page
    assert "filmed every 120 min" in page
    assert "2 plates" not in page


def test_rivals_of_the_embedding_are_scored_on_the_other_plate(lab: Lab) -> None:
    with opened(lab.settings) as session:
        numbers = independent(session.ledger.numbers("E1"))
        report = session.ledger.latest("dynaclr_report", "E1")
        segmented = session.ledger.latest(STATE_SEGMENTATION, "E1")
        features = session.ledger.latest("single_cell_features", "P2")
        assert report is not None and segmented is not None and features is not None
        assert {features.artifact.id, segmented.artifact.id} <= {one.id for one in report.inputs}
        read = {(one.asset, one.partition) for one in segmented.inputs}
        keys = [fov_key("P2", position) for position in session.ledger.plate("P2").living_positions]
        assert {("raw_acquisition", "P2"), *(("tracks", key) for key in keys)} <= read
        states = read_predicted_states(session.store.path_of(segmented.artifact)).table
        assert set(states.loc[states["plate"] == "P2", "split"]) == {"independent"}
        assert set(states.loc[states["plate"] == "P1", "split"]) == {"train", "val", "test"}
        own = numbers[TASK, "balanced_accuracy"].draft.value
        for rival, folder in (("ratio_mCherry", features.artifact), (STATE_SEGMENTATION, segmented.artifact)):
            score = numbers[TASK, f"balanced_accuracy_{rival}"]
            gain = numbers[TASK, f"balanced_accuracy_gain_over_{rival}"]
            assert score.draft.value is not None, score.draft.why_missing
            assert gain.draft.value == pytest.approx(own - score.draft.value)
            again = recompute(session.store, gain.id)
            assert again.agrees and [way.why_missing for way in again.ways] == [None, None]
            explained = cell_assets(lab.settings, "explain", str(score.id), "--json")
            assert explained.code == 0 and folder.digest in explained.out


def test_the_supervised_baseline_learns_nothing_from_the_other_plate(lab: Lab, tmp_path: Path) -> None:
    with opened(lab.settings) as session:
        output = state_segmentation_output(session.store, "E1")
    inputs, own, theirs = output.inputs, output.inputs.folders(), output.inputs.independent_folders()
    assert {one.plate for one in own} == {"P1"} and {one.plate for one in theirs} == {"P2"}
    altered = tmp_path / "P2"
    shutil.copytree(inputs.raw["P2"].folder, altered)
    for image in sorted(altered.glob("plate.zarr/*/*/*/0")):
        grey = zarr.open_array(image)
        grey[...] = np.asarray(grey)[..., ::-1]
    said = pd.read_parquet(altered / STATES)
    said["infection_state"] = said["infection_state"].map(
        {"infected": "uninfected", "uninfected": "infected"}
    )
    said.to_parquet(altered / STATES)
    made = {}
    for name, strangers in (
        ("alone", []),
        ("with", theirs),
        ("altered", [replace(one, acquisition=altered) for one in theirs]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        make_state_segmentation(
            own, inputs.manifest.folder, {}, output.training, folder, independent=strangers
        )
        made[name] = (
            [(folder / file).read_bytes() for file in ("model.safetensors", "config.json")],
            read_predicted_states(folder).table,
        )
    assert made["alone"][0] == made["with"][0] == made["altered"][0]
    of_p2 = {
        name: table[table["plate"] == "P2"]["probability"].to_numpy() for name, (_, table) in made.items()
    }
    assert len(of_p2["alone"]) == 0 and len(of_p2["with"]) == len(of_p2["altered"]) > 0
    assert not np.array_equal(of_p2["with"], of_p2["altered"])


def test_its_numbers_come_out_again(lab: Lab) -> None:
    with opened(lab.settings) as session:
        numbers = independent(session.ledger.numbers("E1"))
        score = numbers["infection_state_independent", "auroc"]
        rise = next(
            one for (report, name), one in numbers.items() if report.endswith("_fraction") and "_at_" in name
        )
        found = [recompute(session.store, one.id) for one in (score, rise)]
    for one in found:
        assert one.agrees, one.to_text()
    assert [way.value for way in found[0].ways] == [score.draft.value] * 2


def test_without_the_plate_the_report_is_made_anew_without_it(lab: Lab) -> None:
    with opened(lab.settings) as session:
        plan = plan_experiment(session, asking())
        assert ExperimentChoices.of(session.ledger, "E1").report.independent_plates == ()
        (needed,) = runs_after_fovs(session.store, "E1", "dynaclr")
        assert needed.assets == (STATE_SEGMENTATION,)
        assert plan.experiment == "E1"
        assert run(session, asking()).failed == ()
        newest = session.ledger.latest("dynaclr_report", "E1")
        assert newest is not None
        for asset in ("raw_acquisition", "single_cell_features"):
            assert {one.partition for one in newest.inputs if one.asset == asset} == {"P1"}
        assert independent(session.ledger.numbers_of_runs([newest.run.id])) == {}
