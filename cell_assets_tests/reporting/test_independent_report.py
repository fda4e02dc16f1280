import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.studies.embedding_study import EmbeddedCells, EmbeddingStudy, study_embeddings
from cell_assets.evaluation.studies.independent_study import IndependentCells, study_independent
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.independent_report import independent_figures, predicted_of_both
from cell_assets.reporting.moving_cells import dynamics_page
from cell_assets.reporting.style import OTHER, PALETTE
from cell_assets_tests.evaluation.movies import infection_movie, informative_features
from cell_assets_tests.reporting.drawings import (
    drawn_figures,
    labels_of,
    legend_of,
    line,
    n_of_colour,
    points,
)
from cell_assets_tests.reporting.test_dynamics_page import data_of

KEYS = ["plate", "fov_name", "track_id", "t"]


def embedded(cells: pd.DataFrame) -> EmbeddedCells:
    features = informative_features((cells["infection_state"] == "infected").to_numpy(), 4, gap=6.0)
    plain = cells.drop(columns="infection_state").assign(length_um=np.nan)
    return EmbeddedCells(features, plain, features[:, :2], None)


@pytest.fixture(scope="module")
def study() -> EmbeddingStudy:
    return studied()


def studied(is_perturbation_known: bool = True) -> EmbeddingStudy:
    """An experiment filmed every half hour, and P9 every 2 h, of which may be unknown when it was perturbed."""
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
    if not is_perturbation_known:
        other["hours_post_perturbation"] = np.nan
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


def test_both_lie_on_shared_axes_and_their_fractions_are_drawn(study: EmbeddingStudy) -> None:
    found = study.independent
    assert found is not None and found.dynamics[0].calls is not None
    with drawn_figures() as figures:
        independent_figures(study)
    scatter, fraction = figures
    by_plates, annotated, predicted = scatter.axes
    n_own, n_theirs = len(found.own_pca), len(found.pca)
    xy = np.concatenate([found.own_pca, found.pca])
    order = np.random.default_rng(0).permutation(len(xy))
    for axes in scatter.axes:
        assert points(axes.collections[0]).tolist() == xy[order].tolist()
    assert [axes.get_title(loc="left") for axes in scatter.axes] == [
        "PCA by plates", "PCA by infection state", "PCA by infection state, predicted",
    ]  # fmt: skip
    assert legend_of(by_plates) == ["independent plates", "the experiment's own"]
    assert n_of_colour(by_plates, PALETTE[0]) == n_theirs and n_of_colour(by_plates, PALETTE[1]) == n_own
    states = pd.concat([study.annotations["infection_state"], found.annotations["infection_state"]])
    assert legend_of(annotated) == ["infected", "uninfected"]
    assert n_of_colour(annotated, PALETTE[0]) == (states == "infected").sum()
    n_test = (study.embedded.cells["split"] == "test").sum()
    # What probes say is shown of test cells and of independent plates.
    assert legend_of(predicted) == ["infected", "uninfected", "not known"]
    assert n_of_colour(predicted, OTHER) == n_own - n_test > 0
    for axes, one in zip(fraction.axes, found.dynamics[0].fractions, strict=True):
        assert one.called.time.tolist() == [3 + 2 * k for k in range(7)]
        assert line(axes, "called").tolist() == np.column_stack([one.called.time, one.called.values]).tolist()
    assert [line(axes, "called")[-1, 1] > 0.5 for axes in fraction.axes] == [False, True]
    assert labels_of(fraction.axes[0]) == ("mock", "hours post perturbation", "fraction infected")


def moving(study: EmbeddingStudy, joint_umap: Projection | None = None) -> dict:
    """The data of the animated page, and its notes as one text."""
    own = [Projection(name, study.embedded.pca, ("1", "2")) for name in ("PCA", "UMAP")]
    page = dynamics_page(study, own, "Cells over time", joint_umap)
    assert page is not None
    head = re.search(r"<h1>.*?<div class=.controls", page, flags=re.S)
    assert head is not None
    return {**data_of(page), "head": head.group()}


def test_their_cells_move_beside_the_test_cells_on_shared_axes(study: EmbeddingStudy) -> None:
    data = moving(study)
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


def test_both_are_shown_in_their_umap_and_in_none_that_knows_one_of_them_alone(study: EmbeddingStudy) -> None:
    assert study.independent is not None
    own, other = study.embedded.cells, study.independent.cells
    # A place says whose cell it is, and when it was seen.
    x = np.concatenate([own["t"], 100 + other["t"]]).astype(float)
    umap = Projection("UMAP", np.column_stack([x, np.zeros(len(x))]), ("UMAP 1", "UMAP 2"))
    data = moving(study, umap)
    assert [one["axes"] for one in data["projections"]] == [["PC 1", "PC 2"], ["UMAP 1", "UMAP 2"]]
    low, high = 0, 106
    for one, first, interval, n_frames in zip(data["sets"], (0, 100), (0.5, 2.0), (12, 7), strict=True):
        for k in range(n_frames):
            frame = one["frames"][data["times"].index(3 + interval * k)]
            expected = 500 + ((first + k) - (low + high) / 2) * (1000 - 80) / (high - low)
            assert {row[3] for row in frame} == {round(expected)}
    assert [one["name"] for one in moving(study)["projections"]] == ["PCA"]


def test_where_perturbation_is_not_known_of_both_hours_count_from_the_first_frame() -> None:
    found = studied(is_perturbation_known=False)
    assert found.independent is not None and found.independent.dynamics[0].calls is not None
    data = moving(found)
    assert data["time_title"] == "hours since the first frame"
    assert data["time_title"] == found.independent.dynamics[0].calls.time_title
    assert data["times"] == [0.5 * k for k in range(12)] + [6, 8, 10, 12]
    assert [one["totals"][0] for one in data["sets"]] == [len(data["sets"][0]["tracks"]), 24]
    assert data["sets"][1]["totals"] == [24] * 16
    assert "Hours count from the first frame: when cells were perturbed is not known" in data["head"]


def test_plates_of_one_time_point_are_said_not_to_be_shown(study: EmbeddingStudy) -> None:
    assert study.independent is not None
    data = moving(replace(study, independent=replace(study.independent, interval_min=None)))
    assert [one["title"] for one in data["sets"]] == ["Test cells"]
    assert [one["name"] for one in data["projections"]] == ["PCA", "UMAP"]
    assert "Independent plates P9 are not shown: they have a single time point" in data["head"]
    assert "not shown" not in moving(study)["head"] and "Hours count" not in moving(study)["head"]
