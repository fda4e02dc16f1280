import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.independent_study import IndependentCells, study_independent
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.independent_report import independent_figures, predicted_of_both
from cell_assets.reporting.moving_cells import dynamics_page
from cell_assets_tests.evaluation.movies import infection_movie, informative_features
from cell_assets_tests.reporting.test_dynamics_page import data_of

KEYS = ["plate", "fov_name", "track_id", "t"]


def embedded(cells: pd.DataFrame) -> EmbeddedCells:
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), 4, gap=6.0)
    plain = cells.drop(columns="infection_state").assign(length_um=np.nan)
    return EmbeddedCells(features, plain, features[:, :2], None)


@pytest.fixture(scope="module")
def study() -> EmbeddingStudy:
    own = infection_movie(n_lineages=32, n_times=12)
    states = own[[*KEYS, "infection_state"]]
    alone = study_embeddings(
        embedded(own),
        states,
        tracks=own,
        method="dynaclr",
        split_unit=SplitUnit.LINEAGE,
        interval_min=30.0,
        simulated=False,
        parameters=StudyParameters(n_resamples=100),
    )
    assert independent_figures(alone) == ()
    other = infection_movie(n_lineages=24, n_times=7, interval_hours=2.0, seed=3)
    other = other.assign(plate="P9", split="unlisted")
    strangers = IndependentCells(embedded(other), other[[*KEYS, "infection_state"]], 120.0, False)
    return study_independent(alone, states, strangers)


def test_independent_plates_have_figures_under_their_own_heading(study: EmbeddingStudy) -> None:
    scatter, fraction = independent_figures(study)
    assert scatter.title == "Independent plates: where their cells lie"
    assert fraction.title == "Independent plates: fraction infected over time"
    assert [scatter.name, fraction.name] == [
        "independent_projection",
        "infection_state_independent_over_time",
    ]
    assert "P9, which the model was not trained on" in scatter.caption
    assert f"on {24 * 7} annotated cell images" in scatter.caption
    assert "cells of P9, filmed every 120 min" in fraction.caption
    assert "mock: no plateau, because the fraction does not rise" in fraction.caption
    assert (
        "calibrated to hold 90 % on 10 train and val tracks of the experiment's own plates"
        in fraction.caption
    )
    assert "here they hold a share of 1 (95 % interval 1 to 1)" in fraction.caption
    for figure in (scatter, fraction):
        assert min(Image.open(io.BytesIO(figure.png)).size) > 300


def test_their_cells_move_beside_the_test_cells_on_shared_axes(study: EmbeddingStudy) -> None:
    two = [Projection(name, study.embedded.pca, ("1", "2")) for name in ("PCA", "UMAP")]
    page = dynamics_page(study, two, "Cells over time")
    assert page is not None
    data = data_of(page)
    assert [one["name"] for one in data["projections"]] == ["PCA"]
    own, strange = data["sets"]
    assert (own["title"], strange["title"]) == ("Test cells", "Independent plates P9")
    # Filmed every 2 h from hour 3 to 15, beside every 30 min to hour 8.5: all 24 cells at every time.
    assert data["times"] == [3 + 0.5 * k for k in range(12)] + [9, 11, 13, 15]
    assert strange["totals"] == [24] * 16
    n_test = len(own["tracks"])
    assert own["totals"] == [n_test] * 13 + [0] * 3
    # What is shown at 3.5, 4 and 4.5 h is the frame of 3 h.
    assert all(strange["frames"][k] == strange["frames"][0] != strange["frames"][4] for k in (1, 2, 3))
    assert [one["title"] for one in strange["colourings"]] == [
        "infection state, annotated",
        "infection state, predicted",
    ]


def test_what_is_predicted_is_of_own_test_cells_and_of_independent_ones(study: EmbeddingStudy) -> None:
    found = study.independent
    assert found is not None
    (colouring,) = predicted_of_both(study, found)
    assert colouring.title == "infection state, predicted"
    own, theirs = colouring.values[: 32 * 12], colouring.values[32 * 12 :]
    cells = study.embedded.cells
    is_test = (cells["split"] == "test").to_numpy()
    assert own[~is_test].isna().all() and is_test.any()
    truth = study.annotations["infection_state"]
    assert (own[is_test] == truth[is_test]).mean() > 0.95
    assert theirs.notna().all() and len(theirs) == 24 * 7
    assert (theirs.to_numpy() == found.annotations["infection_state"].to_numpy()).mean() > 0.95
    (scatter, _) = independent_figures(study)
    assert "of the experiment's test cells" in scatter.caption
