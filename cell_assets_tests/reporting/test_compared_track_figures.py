"""One cell, and all test cells, in several embeddings: what is drawn is what the reports hold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cell_assets.evaluation.studies.training_comparison import ReportedTraining
from cell_assets.reporting.compared_track_figures import compared_track_figures, without_held_out_cells
from cell_assets.reporting.style import OTHER, PALETTE
from cell_assets_tests.evaluation.studies.test_training_comparison import training
from cell_assets_tests.reporting.drawings import (
    drawn_figures,
    legend_of,
    line,
    n_of_colour,
    points,
    upright_lines,
)

STATES = ["clean", "clean", "infected", None]


def with_cells(label: str, speed: float, *, umap: bool = True, onsets: bool = True) -> ReportedTraining:
    """Two tracks of four frames, of which track 7 turns at t 2; it moves by `speed` a frame."""
    t = np.tile(np.arange(4), 2)
    cells = pd.DataFrame(
        {
            "plate": "P1",
            "fov_name": "A/1/0",
            "track_id": np.repeat([3, 7], 4),
            "t": t,
            "hours": 1.0 + t / 2,
            "pc_1": t * speed,
            "pc_2": -t * speed,
            "from_first_features": t * speed,
            "annotated_infection_state": STATES * 2,
        }
    )
    if umap:
        cells = cells.assign(umap_1=10 + cells["pc_1"], umap_2=cells["pc_2"], from_first_umap=t * speed / 2)
    turning = pd.DataFrame(
        {
            "plate": ["P1"], "fov_name": ["A/1/0"], "track_id": [7], "split": ["test"],
            "annotated_course": ["turns"], "annotated_start_time": [1.0], "annotated_end_time": [2.5],
            "annotated_onset_t": [2],
        }
    )  # fmt: skip
    report = training(label, set()).report
    held = {"infection_state": turning} if onsets else {}
    return ReportedTraining(label, replace(report, held_out_cells=cells, onsets=held))


def test_the_distances_of_one_cell_and_its_onset_are_drawn_in_both_spaces() -> None:
    with drawn_figures() as drawn:
        course, places = compared_track_figures([with_cells("A", 0.1), with_cells("B", 0.2)])
    assert (course.name, places.name) == ("single_track", "held_out_cells")
    assert "track 7 of P1 A/1/0" in course.caption and "infection state" in course.caption
    features, umap = drawn[0].axes
    assert line(features, "B")[:, 0].tolist() == [0, 0.5, 1, 1.5]
    assert line(features, "B")[:, 1] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert line(umap, "A")[:, 1] == pytest.approx([0, 0.05, 0.1, 0.15])
    assert upright_lines(features) == upright_lines(umap) == [1.0]
    assert legend_of(drawn[0]) == ["A", "B"]


def test_the_same_cells_are_drawn_in_every_embedding_by_their_annotation() -> None:
    with drawn_figures() as drawn:
        _, places = compared_track_figures([with_cells("A", 0.1), with_cells("B", 0.2)])
    panels = [axes for axes in drawn[1].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") or axes.get_title() for axes in panels] == ["A", "B"]
    for axes, speed in zip(panels, (0.1, 0.2), strict=True):
        assert sorted(points(axes.collections[0])[:, 0]) == pytest.approx(
            sorted(10 + np.repeat(np.arange(4), 2) * speed)
        )
        assert [n_of_colour(axes, colour) for colour in (PALETTE[0], PALETTE[1], OTHER)] == [4, 2, 2]
        (way,) = [points(one) for one in axes.lines if one.get_marker() == "."]
        assert way[:, 1] == pytest.approx(-np.arange(4) * speed)
    assert legend_of(drawn[1]) == ["clean", "infected", "not known", "track 7"]
    assert "UMAP of the test cells" in places.caption and "annotated infection state" in places.caption


def test_without_a_track_that_turns_and_without_umap_principal_components_remain() -> None:
    figures = compared_track_figures(
        [with_cells("A", 0.1, onsets=False), with_cells("B", 0.2, umap=False, onsets=False)]
    )
    assert [one.name for one in figures] == ["held_out_cells"]
    assert figures[0].caption.startswith("Principal components of the test cells")
    assert "The line is the way" not in figures[0].caption


def test_unannotated_cells_are_coloured_by_time() -> None:
    one = with_cells("A", 0.1, onsets=False)
    cells = one.report.held_out_cells
    assert cells is not None
    bare = replace(
        one, report=replace(one.report, held_out_cells=cells.drop(columns="annotated_infection_state"))
    )
    with drawn_figures() as drawn:
        (places,) = compared_track_figures([bare, bare])
    assert "coloured by time point" in places.caption
    colours = drawn[0].axes[0].collections[0].get_array()
    assert sorted(np.asarray(colours).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_reports_of_an_earlier_version_are_left_out_by_name() -> None:
    old = training("old", set())
    assert compared_track_figures([old]) == ()
    figures = compared_track_figures([old, with_cells("A", 0.1)])
    assert [one.name for one in figures] == ["single_track", "held_out_cells"]
    (said,) = without_held_out_cells([old, with_cells("A", 0.1)])
    assert said.startswith("No places of single cells of old: the reports are of an earlier version")
    assert without_held_out_cells([with_cells("A", 0.1)]) == ()


def test_long_names_of_trainings_stay_inside_the_figure() -> None:
    trainings = [
        with_cells(f"learning rate 0.000{n}, nt-xent, time-and-cell-aware", 0.1 * n) for n in (1, 2, 3, 4)
    ]
    with drawn_figures() as drawn:
        compared_track_figures(trainings)
    for figure in drawn:
        (legend,) = figure.legends
        extent = legend.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1
    assert len(legend_of(drawn[0])) == 4
