"""From simulated pixels to dimmed cells: the bleaching asset, asked for by a choice and from the UI."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.audit.recompute import recompute
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    infected_plate,
    opened,
    run_without_and_with,
)

pytestmark = pytest.mark.slow

ASKED = {"remaining": [1, 0.5], "most_cells": 40, "n_resamples": 100}


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """E1 run once without and once with the study of bleaching."""
    settings = new_lab()
    run_without_and_with(
        settings, infected_plate(tmp_path_factory.mktemp("plates") / "infected"), "bleaching", ASKED
    )
    return settings


def published(settings: Settings) -> Path:
    with opened(settings) as session:
        return session.store.read("dynaclr_bleaching", "E1")[0]


def test_dimmed_cells_are_scored_and_their_numbers_come_out_again(lab: Settings) -> None:
    folder = published(lab)
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
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)
    said = pd.read_parquet(report / "predictions" / "infection_state.parquet")
    bright = cells[cells["remaining"] == 1]
    both = bright.merge(said, on=["plate", "fov_name", "track_id", "t"])
    assert len(both) == len(bright)
    np.testing.assert_allclose(both["probability_infection_state"], both["probability"], atol=1e-4)
    moved = recorded["displacement_at_50_percent"].draft
    step = np.average(tracks["mean_step"].fillna(0), weights=tracks["n_steps"])
    ratio = recorded["displacement_per_interval_at_50_percent"].draft
    assert moved.value is not None and ratio.value == pytest.approx(moved.value / step)
    assert moved.split == "test tracks (simulated)"


def test_without_a_choice_the_ui_makes_it_by_the_defaults(lab: Settings) -> None:
    with opened(lab) as session:
        session.ledger.record_choices("E1", dict(session.ledger.choices("E1")) | {"bleaching": None})
        with session.executor() as executor:
            assert executor.materialise(["dynaclr_bleaching"], partition="E1").error is None
        latest = session.ledger.latest("dynaclr_bleaching", "E1")
        assert latest is not None
        assert latest.run.parameters["remaining"] == [1.0, 0.75, 0.5, 0.25]
