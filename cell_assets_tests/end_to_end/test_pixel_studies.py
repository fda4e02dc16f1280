"""From probes back to pixels: attribution and tolerance to bleaching, asked for by choices and from the UI."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest
from cell_assets.evaluation.attribution_scores import SCORE_COLUMNS
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    opened,
    run,
    small_choices,
)

pytestmark = pytest.mark.slow

ASKED = {"example_tracks": 1, "example_times": 4, "cells_per_state": 6, "n_resamples": 100}
REPORT = "dynaclr/attribution_infection_state"
STUDIES = ("dynaclr_attribution", "dynaclr_bleaching")
DIMMED = {"remaining": [1, 0.5], "most_cells": 40, "n_resamples": 100}


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """E1 with a plate of two FOVs a well, run once without and once with both studies."""
    folder = tmp_path_factory.mktemp("plates") / "infected"
    simulate(
        folder,
        SimulationParameters(
            seed=3,
            fovs_per_well=2,
            time_points=12,
            interval_min=30,
            start_hours_post_perturbation=4.0,
            shape_zyx=(2, 96, 96),
            voxel_um_zyx=(3.0, 0.75, 0.75),
            cells_per_fov=10,
        ),
    )
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, PlateFolder(folder).request("E1", "P1"))
        outcome = run(session, RunRequest(experiment="E1", choices=small_choices()))
        assert outcome.failed == (), outcome.failed
        for study in STUDIES:
            assert session.ledger.latest(study, "E1") is None
        asked = run(session, RunRequest(experiment="E1", choices={"attribution": ASKED, "bleaching": DIMMED}))
        assert asked.failed == (), asked.failed
        assert len(asked.dagster_runs) == 2
        assert run(session, RunRequest(experiment="E1")).dagster_runs == ()
    return settings


def published(settings: Settings, study: str = "dynaclr_attribution") -> Path:
    with opened(settings) as session:
        return session.store.read(study, "E1")[0]


def test_maps_and_scores_are_of_test_cells_and_say_what_the_report_says(lab: Settings) -> None:
    folder = published(lab)
    cells = pd.read_parquet(folder / "cells.parquet")
    maps = zarr.open_group(folder / "attributions.zarr", mode="r")
    assert maps.attrs["channels"] == ["Phase", "mCherry"]
    integrated, occlusion = (np.asarray(maps[kind]) for kind in ("integrated_gradients", "occlusion"))
    assert integrated.shape == occlusion.shape == (cells["attribution"].nunique(), 2, 2, 2, 32, 32)
    for cell in cells.itertuples():
        total = integrated[cell.attribution, cell.head].sum(dtype=np.float64)
        assert abs(total - (cell.logit - cell.baseline_logit)) <= 1e-3 + 0.05 * abs(total)
    # One occlusion window covers both planes, so that they cannot differ.
    assert np.array_equal(occlusion[..., 0, :, :], occlusion[..., 1, :, :])
    with opened(lab) as session:
        report = session.store.read("dynaclr_report", "E1")[0]
    said = pd.read_parquet(report / "predictions" / "infection_state.parquet")
    ours = cells[cells["column"] == "infection_state"]
    both = ours.merge(said, on=["plate", "fov_name", "track_id", "t"], suffixes=("", "_report"))
    assert len(both) == len(ours)
    np.testing.assert_allclose(both["probability"], both["probability_report"], atol=1e-4)
    scored = cells[cells["is_scored"]]
    assert not scored[list(SCORE_COLUMNS)].isna().any().any()
    assert cells.loc[~cells["is_scored"], list(SCORE_COLUMNS)].isna().all().all()
    assert (scored["area_share_of_cell"] > scored["area_share_of_segment"]).all()
    assert scored.groupby("column")["true_state"].nunique().eq(2).all()


def test_numbers_are_in_the_ledger_with_intervals_and_rest_on_what_was_read(lab: Settings) -> None:
    document = json.loads((published(lab) / "numbers.json").read_text())
    with opened(lab) as session:
        recorded = {(n.draft.report, n.draft.name): n for n in session.ledger.numbers("E1")}
        number = recorded[REPORT, "occlusion_share_in_segment"]
        made = session.ledger.provenance(number.run_id)
        assert {artifact.asset for artifact in made.inputs} == {
            "raw_acquisition", "segmentation", "tracks", "patch_table", "experiment_manifest", "dynaclr_checkpoint",
            "dynaclr_embeddings",
        }  # fmt: skip
        for one in (number, recorded[REPORT, "integrated_gradients_logit_drop_over_random"]):
            found = recompute(session.store, one.id)
            assert found.agrees, found.to_text()
            assert found.difference(found.ways[0]) == 0.0
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
    assert number.draft.split == "test lineages (simulated)"
    assert number.draft.ci_low is not None
    for one in document["numbers"]:
        assert recorded[one["report"], one["name"]].draft.value == one["value"]


def test_the_page_shows_every_number_and_figure(lab: Settings) -> None:
    folder = published(lab)
    page = (folder / "report.html").read_text()
    assert "Simulated data." in page
    assert "the FOV&#39;s mean in a phase channel" in page
    figures = sorted(path.stem for path in (folder / "figures").glob("*.png"))
    assert "sanity_checks" in figures and "example_1" in figures
    for name in figures:
        assert f'<figure id="{name}"' in page
    for one in json.loads((folder / "numbers.json").read_text())["numbers"]:
        assert f"<code>{one['name']}</code>" in page


def test_dimmed_cells_are_scored_and_their_numbers_come_out_again(lab: Settings) -> None:
    folder = published(lab, "dynaclr_bleaching")
    cells, tracks = (pd.read_parquet(folder / name) for name in ("cells.parquet", "tracks.parquet"))
    assert cells["remaining"].value_counts().to_dict() == {1.0: 40, 0.5: 40}
    assert cells.loc[cells["remaining"] == 1, "displacement"].eq(0).all()
    assert cells.loc[cells["remaining"] == 0.5, "displacement"].gt(0).all()
    page = (folder / "report.html").read_text()
    assert "Simulated data." in page and '<figure id="remaining_light"' in page
    assert "drawn at random with seed 0" in page
    with opened(lab) as session:
        recorded = {
            n.draft.name: n for n in session.ledger.numbers("E1") if n.draft.report == "dynaclr/bleaching"
        }
        report = session.store.read("dynaclr_report", "E1")[0]
        made = session.ledger.provenance(recorded["displacement_at_50_percent"].run_id)
        assert {artifact.asset for artifact in made.inputs} == {
            "raw_acquisition", "patch_table", "experiment_manifest", "dynaclr_checkpoint", "dynaclr_embeddings",
        }  # fmt: skip
        for one in recorded.values():
            assert f"<code>{one.draft.name}</code>" in page
            if one.draft.value is not None:
                found = recompute(session.store, one.id)
                assert found.agrees, found.to_text()
                assert found.difference(found.ways[0]) == 0.0
    said = pd.read_parquet(report / "predictions" / "infection_state.parquet")
    bright = cells[cells["remaining"] == 1]
    both = bright.merge(said, on=["plate", "fov_name", "track_id", "t"])
    assert len(both) == len(bright)
    np.testing.assert_allclose(both["probability_infection_state"], both["probability"], atol=1e-4)
    moved = recorded["displacement_at_50_percent"].draft
    step = np.average(tracks["mean_step"].fillna(0), weights=tracks["n_steps"])
    ratio = recorded["displacement_per_interval_at_50_percent"].draft
    assert moved.value is not None and ratio.value == pytest.approx(moved.value / step)
    assert moved.split == "test lineages (simulated)"


def test_without_choices_the_ui_makes_both_by_the_defaults(lab: Settings) -> None:
    with opened(lab) as session:
        nothing = {"attribution": None, "bleaching": None}
        session.ledger.record_choices("E1", dict(session.ledger.choices("E1")) | nothing)
        with session.executor() as executor:
            for study in STUDIES:
                assert executor.materialise([study], partition="E1").error is None
        runs = [session.ledger.latest(study, "E1") for study in STUDIES]
        attribution, bleaching = (made.run.parameters for made in runs if made is not None)
        assert attribution["cells_per_state"] == 8
        assert bleaching["remaining"] == [1.0, 0.75, 0.5, 0.25]
