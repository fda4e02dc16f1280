"""The page of several trainings: their rows, the gains that are told from 0, and figures of what reports hold."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from cell_assets.evaluation.studies.training_comparison import ReportedTraining, paired_gains
from cell_assets.ledger.records import NumberDraft
from cell_assets.reporting.comparison_page import ComparisonContent, comparison_figures, render_comparison
from cell_assets_tests.evaluation.studies.test_training_comparison import SPLIT, training
from cell_assets_tests.reporting.drawings import (
    band,
    bars,
    dots,
    drawn_figures,
    labels_of,
    legend_of,
    line,
)


def with_curves(one: ReportedTraining) -> ReportedTraining:
    minutes = np.arange(1, 5) * 30.0
    displacement = pd.concat(
        [
            pd.DataFrame(
                {"lag_min": minutes, "mean": speed * minutes, "low": 0.0, "high": 2 * speed * minutes}
            ).assign(space="features", curve=curve)
            for curve, speed in (("displacement", 0.001), ("from_first", 0.002))
        ]
    )
    explained = pd.DataFrame({"direction": [1, 2], "share": [0.8, 0.2]})
    return replace(one, report=replace(one.report, displacement=displacement, explained=explained))


def page(*trainings: ReportedTraining) -> str:
    numbers = paired_gains(trainings, "dynaclr", seed=0, n_resamples=200)
    content = ComparisonContent(
        "T & U", "2 trainings", True, SPLIT, trainings, numbers, comparison_figures(trainings), (), (), {}
    )
    return render_comparison(content)


def test_every_training_has_its_row_and_what_is_told_from_nothing_a_card() -> None:
    made = page(training("A <b>", set(range(6))), training("B", set()), training("C", {0, 1, 2, 3, 4, 6}))
    assert re.findall(r"<tr><td>([^<]+)</td>", made)[:3] == ["A &lt;b&gt;", "B", "C"]
    assert "Simulated data." in made
    # B gains over A in every resample; C errs as often as A does.
    cards = re.findall(r'class="card">.*?</div>', made, re.DOTALL)
    assert len(cards) == 1 and "gain of B over A" in cards[0]


def test_curves_are_drawn_of_those_reports_that_hold_them() -> None:
    first, second = training("A", {0}), training("B", set())
    assert [one.name for one in comparison_figures([first, second])] == ["scores"]
    figures = comparison_figures([first, with_curves(second)])
    assert [one.name for one in figures] == ["scores", "displacement", "explained_variance"]


def stating(one: ReportedTraining, *numbers: NumberDraft) -> ReportedTraining:
    return replace(one, report=replace(one.report, numbers=(*one.report.numbers, *numbers)))


def rows_under(made: str, title: str) -> tuple[list[str], dict[str, list[str]]]:
    """Columns and, by training, values and intervals of one table of the page."""
    table = re.search(rf"<h3>{title}</h3>\s*<table>(.*?)</table>", made, re.DOTALL)
    assert table is not None, title
    columns = re.findall(r'<th class="number">([^<]+)</th>', table[1])
    rows = re.findall(r"<tr><td>([^<]+)</td>(.*?)</tr>", table[1])
    return columns[::2], {name: re.findall(r">([^<>]+)</td>", cells) for name, cells in rows}


def test_false_calls_rank_ratio_and_state_in_other_fovs_stand_beside_each_other() -> None:
    def number(about: str, name: str, value: float, low: float | None = None) -> NumberDraft:
        high = None if low is None else value + 0.05
        return NumberDraft(f"dynaclr/{about}", name, "test FOVs", value, 9, "tracks", low, high)

    first = stating(
        training("A", {0}),
        number("infection_state_confounded", "false_infected_in_mitosis", 0.41, 0.3),
        number("infection_state_confounded", "false_infected_not_in_mitosis", 0.02, 0.01),
        number("infection_state_confounded", "false_infected_in_mitosis_ratio_mCherry", 0.97, 0.9),
        number("temporal_smoothness", "displacement_one_interval", 0.5),
        number("temporal_smoothness", "displacement_ratio_1_to_6", 0.62, 0.6),
        number("feature_rank", "effective_rank", 26.25),
        number("feature_rank", "matrix_rank", 383.0),
        number("smoothness_and_identity", "same_cell", 0.14),
        number("smoothness_and_identity", "state_in_other_fovs_infection_state", 0.93, 0.9),
    )
    second = stating(
        training("B", set()),
        number("infection_state_confounded", "false_infected_in_mitosis", 0.08, 0.03),
        number("feature_rank", "matrix_rank", 125.0),
    )
    made = page(first, second)
    assert rows_under(made, "infection state, false calls") == (
        ["false infected in mitosis", "false infected not in mitosis"],
        {
            "A": ["0.410", "0.300 to 0.460", "0.020", "0.010 to 0.070"],
            "B": ["0.080", "0.030 to 0.130", "–", "–"],
        },
    )
    assert rows_under(made, "steps of features") == (
        ["displacement one interval", "displacement ratio 1 to 6"],
        {"A": ["0.500", "–", "0.620", "0.600 to 0.670"], "B": ["–"] * 4},
    )
    assert rows_under(made, "rank of features")[1] == {
        "A": ["26.250", "–", "383", "–"],
        "B": ["–", "–", "125", "–"],
    }
    columns, rows = rows_under(made, "the same cell, and the state of cells in other FOVs")
    assert columns == ["same cell", "state in other fovs infection state"]
    assert rows["A"] == ["0.140", "–", "0.930", "0.900 to 0.980"]


def test_curves_in_umap_are_drawn_below_those_of_features() -> None:
    one, other = with_curves(training("A", {0})), with_curves(training("B", set()))
    in_umap = one.report.displacement.assign(space="umap", mean=0.6)
    with_umap = replace(
        one, report=replace(one.report, displacement=pd.concat([one.report.displacement, in_umap]))
    )
    plain, both = (
        next(figure for figure in comparison_figures([one, other]) if figure.name == "displacement")
        for one in (one, with_umap)
    )
    heights = [Image.open(io.BytesIO(figure.png)).height for figure in (plain, both)]
    assert heights[1] > 1.7 * heights[0]


def test_each_training_is_drawn_as_its_report_states() -> None:
    first, second = training("A", {0}), with_curves(training("B", set()))
    (number,) = second.report.numbers
    told = replace(number, value=0.9, ci_low=0.8, ci_high=0.95)
    second = replace(second, report=replace(second.report, numbers=(told,)))
    with drawn_figures() as figures:
        comparison_figures([first, second])
    scores, displacement, explained = figures
    (axes,) = scores.axes
    # A states one half without an interval.
    assert dots(axes).tolist() == [[0.5, 0], [0.9, 1]] and bars(axes).tolist() == [[0.8, 0.95, 1]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["A", "B"]
    assert labels_of(axes)[:2] == ("infection state", "balanced accuracy")
    for axes, curve in zip(displacement.axes, ("displacement", "from_first"), strict=True):
        shown = second.report.displacement[second.report.displacement["curve"] == curve]
        assert line(axes, "B").tolist() == shown[["lag_min", "mean"]].to_numpy().tolist()
        assert band(axes.collections[0]).tolist() == shown[["lag_min", "low", "high"]].to_numpy().tolist()
        assert len(axes.lines) == 1  # A's report holds no curve
    assert [labels_of(axes) for axes in displacement.axes] == [
        ("features, between two time points", "minutes apart", "distance, 0 to 2"),
        ("features, from the first", "minutes since the first", "distance, 0 to 2"),
    ]
    assert line(explained.axes[0], "B").tolist() == [[1, 0.8], [2, 1.0]]
    assert legend_of(explained.axes[0]) == ["B"]
